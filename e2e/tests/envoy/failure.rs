//! A workload that cannot start, and one that dies: no client waits in vain, and no request is sent to what is not there.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Pending, Stack, Target, both_relays, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn clients_that_wait_are_told_why_it_cannot_start(stack: StackBuilder) {
        let crash = ["--crash", "--crash-message", "no such database", "--start-delay", "500ms"];
        let stack = stack
            .target(Target::http("web").upstream(crash))
            .control(|control| control.args(["--retry-initial", "30s", "--retry-max", "30s"]))
            .start()
            .await;
        let client = stack.client("web");

        let waiting: Vec<_> = (0..10).map(|_| client.get("/hello").spawn()).collect();
        let told = join_all(waiting.into_iter().map(Pending::reply)).await;
        let later = client.get("/hello").send().await;

        for reply in told.iter().chain([&later]) {
            assert_eq!(reply.status, 503, "{reply:?}");
            let detail = reply.problem().detail.expect("must say why");
            assert!(detail.contains("no such database"), "must give the workload's own reason: {detail}");
            assert!(reply.header("retry-after").is_some(), "must say when to come back: {reply:?}");
        }
        assert!(told.iter().all(|reply| reply.held().is_some()), "they must have been held");
        assert!(told.iter().all(|reply| reply.took < SECOND * 10), "and told as soon as it is known");
        assert_eq!(later.held(), None, "a client that comes later must be told at once: {later:?}");
        assert_eq!(stack.journal("web").starts(), 1, "and must not start it before the back-off is over");
    }

    async fn clients_are_told_the_class_of_a_failure_and_none_of_its_words(stack: StackBuilder) {
        let crash = ["--crash", "--crash-message", "postgres://app:s3cret@db/prod"];
        let stack = stack
            .target(Target::http("web").upstream(crash))
            .envoy(|envoy| envoy.setting("answers", serde_json::json!({"server_timing": false})))
            .control(|control| control.args(["--retry-initial", "30s", "--retry-max", "30s"]))
            .start()
            .await;

        let told = stack.client("web").get("/hello").send().await;

        let problem = told.problem();
        assert_eq!((told.status, problem.detail.as_deref()), (503, Some("crash")), "{told:?}");
        assert_eq!(problem.target, None, "must not name the target");
        assert!(!told.text().contains("s3cret"), "must not pass words of the workload on: {told:?}");
        assert!(told.header("server-timing").is_none(), "must not say how long it waited: {told:?}");
        let target = stack.control.target("web").await;
        assert!(target.to_string().contains("s3cret"), "must be there for people: {target}");
    }

    async fn a_later_request_wakes_it_when_the_cause_is_gone(stack: StackBuilder) {
        let dir = tempfile::tempdir().unwrap();
        let cause = dir.path().join("cause");
        std::fs::write(&cause, "").unwrap();
        let crash = ["--crash-while-exists", cause.to_str().unwrap()];
        let stack = stack
            .target(Target::http("web").upstream(crash))
            .control(|control| control.args(["--retry-initial", "300ms", "--retry-max", "300ms"]))
            .start()
            .await;
        assert_eq!(stack.client("web").get("/hello").send().await.status, 503, "it cannot start yet");

        std::fs::remove_file(&cause).unwrap();

        eventually("a later request is answered", SECOND * 10, || async {
            stack.client("web").get("/hello").send().await.status == 200
        })
        .await;
    }

    async fn a_process_that_dies_is_waited_for(stack: StackBuilder) {
        let stack = stack.target(Target::http("web").upstream(["--start-delay", "3s"])).start().await;
        let first = stack.client("web").get("/hello").send().await;
        let pid = first.header("x-upstream-pid").expect("it must say which process it is").parse().unwrap();

        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        unready(&stack).await;
        let client = stack.client("web");
        let calls: Vec<_> = (0..20).map(|_| client.get("/hello").spawn()).collect();

        for reply in join_all(calls.into_iter().map(Pending::reply)).await {
            assert_eq!(reply.status, 200, "must wait for the next process: {reply:?}");
            assert!(reply.held().is_some(), "must not be passed into what is gone: {reply:?}");
            assert_ne!(reply.header("x-upstream-pid"), first.header("x-upstream-pid"));
        }
        assert_eq!(stack.journal("web").starts(), 2, "it must have been started once more");
    }
}

/// Envoy knows that nothing is ready: the relay has published it, and a request is held.
async fn unready(stack: &Stack) {
    eventually("Envoy knows that it is gone", SECOND * 5, || async {
        stack.envoy.stat("wasmcustom.holdfast.targets_ready").await == 0
    })
    .await;
    eventually("a gate holds", SECOND * 5, || async {
        let probe = stack.client("web").get("/hello").spawn();
        let held = stack.held("web").await > 0;
        probe.leave().await;
        held
    })
    .await;
}
