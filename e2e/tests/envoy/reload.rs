//! Envoy's listeners are reloaded with another configuration of the plugin: old and new live side by side until the old
//! connections are gone, and nothing is forgotten.

use std::time::Duration;

use harness::{Door, EnvoyBuilder, Pending, Stack, StackBuilder, Target, both_relays, eventually, holds_for};

const SECOND: Duration = Duration::from_secs(1);
/// Envoy replaces only the filter chain if nothing else has changed, else the whole listener.
const CHAINS: &str = "listener_manager.total_filter_chains_draining";
const LISTENERS: &str = "listener_manager.total_listeners_draining";

both_relays! {
    async fn held_requests_and_streams_outlast_a_reload(stack: StackBuilder) {
        let (cold, door) = Door::before(Target::http("cold"));
        let mut stack = reloadable(stack, cold, "60").await;
        let mut socket = stack.websocket("web").await.unwrap();
        let mut events = stack.client("web").get("/events?period=50ms").open().await.unwrap();
        let (many, one) = (stack.client("cold"), stack.client("cold").http2().await);
        let mut held: Vec<Pending> = [&many, &one, &many, &one].map(|client| client.get("/hello").spawn()).into();
        eventually("four are held", SECOND * 5, || async { stack.held("cold").await == 4 }).await;

        reload(&mut stack, |envoy| envoy).await;

        for _ in 0..20 {
            assert_eq!(stack.client("web").get("/hello").send().await.status, 200, "new connections must be served");
        }
        held.push(many.get("/hello").spawn());
        eventually("a fifth is held", SECOND * 5, || async { stack.held("cold").await == 5 }).await;
        let sixth = many.get("/hello").send().await;
        assert_eq!(sixth.status, 503, "the new bound must count those of before: {sixth:?}");
        assert_eq!(sixth.problem().kind, "urn:holdfast:envoy-requests");
        assert_eq!(socket.echo("still here").await.unwrap(), "still here", "streams must stay open");
        assert!(events.chunk().await.unwrap().is_some(), "events must go on");
        let _open = door.open().await;
        for call in held {
            let reply = call.reply().await;
            assert_eq!(reply.status, 200, "a held request must be answered: {reply:?}");
            assert!(reply.held().is_some(), "and told how long it waited: {reply:?}");
        }
        assert_eq!(stack.journal("cold").starts(), 1, "a reload must cause no second start");
    }

    async fn a_sleep_waits_for_the_streams_of_before(stack: StackBuilder) {
        let mut stack = reloadable(stack, Target::http("cold"), "60").await;
        let mut socket = stack.websocket("web").await.unwrap();
        let mut events = stack.client("web").get("/events?period=50ms").open().await.unwrap();

        reload(&mut stack, |envoy| envoy).await;

        for _ in 0..4 {
            assert_eq!(stack.client("web").get("/hello").send().await.status, 200, "new connections must be served");
        }
        // Three times `idle.after`.
        holds_for("web is up", SECOND * 3, || async { stack.control.state("web").await == "ready" }).await;
        assert_eq!(stack.control.sleep("web").await.status, 409, "must count as in use");
        assert_eq!(socket.echo("still here").await.unwrap(), "still here", "streams must stay open");
        assert!(events.chunk().await.unwrap().is_some(), "events must go on");
        drop(events);
        holds_for("web is up", SECOND * 2, || async { stack.control.state("web").await == "ready" }).await;
        socket.close().await.unwrap();
        stack.control.wait_for("web", "asleep").await;
        let journal = stack.journal("web");
        assert_eq!((journal.starts(), journal.after_sigterm().len()), (1, 0), "must have slept once, and well");
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200, "must wake again");
    }

    async fn what_the_drain_time_cuts_off_is_gone(stack: StackBuilder) {
        let (cold, door) = Door::before(Target::http("cold"));
        let mut stack = reloadable(stack, cold, "2").await;
        let mut socket = stack.websocket("web").await.unwrap();
        let (many, one) = (stack.client("cold"), stack.client("cold").http2().await);
        let held = [&many, &one].map(|client| client.get("/hello").spawn());
        eventually("both are held", SECOND * 5, || async { stack.held("cold").await == 2 }).await;

        // Something of the listener itself, so that it is replaced.
        let limit = "/static_resources/listeners/0/per_connection_buffer_limit_bytes";
        reload(&mut stack, |envoy| envoy.patch(limit, 65_536)).await;

        let drained = || async { stack.envoy.stat(LISTENERS).await == 0 };
        eventually("the drain time is over", SECOND * 10, drained).await;
        for call in held {
            assert!(call.try_reply().await.is_err(), "Envoy must have closed the old connections");
        }
        assert!(socket.echo("still here").await.is_err(), "and the old streams");
        eventually("their places are free", SECOND * 5, || async { stack.held("cold").await == 0 }).await;
        eventually("Envoy's gauge is back at 0", SECOND * 5, || async { stack.envoy_holds().await == 0 }).await;
        eventually("one poll is open", SECOND * 5, || async { stack.open_polls().await == 1 }).await;
        stack.control.wait_for("web", "asleep").await;
        let call = many.get("/hello").spawn();
        eventually("the new ones hold", SECOND * 5, || async { stack.held("cold").await == 1 }).await;
        let _open = door.open().await;
        assert_eq!(call.reply().await.status, 200, "and release");
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200, "and wake what fell asleep");
    }
}

/// `web`, which is up and falls asleep after a second, and `cold`.
async fn reloadable(stack: StackBuilder, cold: Target, drain_time: &'static str) -> Stack {
    let stack = stack
        .target(Target::http("web").idle("1s"))
        .target(cold)
        .envoy(move |envoy| envoy.lds().args(["--drain-time-s", drain_time]))
        .control(|control| control.args(["--lease-duration", "200ms", "--heartbeat", "500ms"]))
        .start()
        .await;
    assert_eq!(stack.client("web").get("/hello").send().await.status, 200);
    stack
}

/// Another plugin configuration. Returns when new connections meet it.
async fn reload(stack: &mut Stack, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) {
    stack
        .envoy
        .reload(|envoy| change(envoy.setting("limits.requests", 5)))
        .await;
    let draining = || async { stack.envoy.stat(CHAINS).await + stack.envoy.stat(LISTENERS).await == 1 };
    eventually("the old listener drains", SECOND * 10, draining).await;
}
