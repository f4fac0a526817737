//! A request to a workload that sleeps: it waits inside Envoy, wakes the workload once, and is answered.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Target, both_relays, eventually, holds_for};

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn a_get_wakes_the_workload_and_says_how_long_it_waited(stack: StackBuilder) {
        let stack = stack.target(Target::http("web").upstream(["--start-delay", "300ms"])).start().await;

        // One connection, so one worker: another one would hold its first request until its own confirm is answered.
        let client = stack.client("web").http2().await;

        let reply = client.get("/hello").send().await;

        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.text(), "hello from web\n", "the workload must have answered");
        let held = reply.held().expect("the answer to a held request must say how long it was held");
        assert!(held >= Duration::from_millis(300) && held <= reply.took, "must be the time of the hold: {held:?}");
        assert_eq!(stack.journal("web").starts(), 1, "one request must cause one start");
        let again = client.get("/hello").send().await;
        assert_eq!((again.status, again.held()), (200, None), "a warm request must not be held");
    }

    async fn two_hundred_at_once_cause_one_start(stack: StackBuilder) {
        let stack = stack.target(Target::http("web").upstream(["--start-delay", "300ms"])).start().await;
        let client = stack.client("web");

        let calls: Vec<_> = (0..200).map(|id| client.get(&format!("/hello?id={id}")).spawn()).collect();
        let replies = join_all(calls.into_iter().map(harness::Pending::reply)).await;

        assert!(replies.iter().all(|reply| reply.status == 200), "every one must be answered by the workload");
        let journal = stack.journal("web");
        assert_eq!(journal.starts(), 1, "all of them together must cause one start");
        let mut ids: Vec<_> = journal.requests().iter().filter_map(|request| request.id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), journal.requests().len()), (200, 200), "each must arrive exactly once");
    }

    async fn one_poll_is_open_for_each_envoy(stack: StackBuilder) {
        let stack = stack.target(Target::http("web")).start().await;

        assert_eq!(stack.client("web").get("/hello").send().await.status, 200);

        eventually("one poll is open", SECOND * 5, || async { stack.open_polls().await == 1 }).await;
        // Between two polls there may be none for a moment.
        holds_for("at most one poll is open", SECOND * 2, || async { stack.open_polls().await <= 1 }).await;
    }
}
