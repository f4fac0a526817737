//! Envoy or its listener ends: no crash, and nothing that is gone blocks a sleep.

use std::time::Duration;

use harness::{Stack, Target, both_relays};
use serde_json::json;

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn envoy_ends_well_at_sigterm(stack: StackBuilder) {
        let stack = stack.target(Target::http("web")).start().await;
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200);

        let ended = stack.envoy.process().stop(SECOND * 10);

        assert!(ended.success(), "must not crash: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_taken_away_blocks_no_sleep() {
    let stack = Stack::builder().target(Target::http("web").idle("2s"));
    let mut stack = stack
        .control(|control| control.args(["--lease-duration", "200ms", "--heartbeat", "500ms"]))
        .envoy(|envoy| envoy.lds().args(["--drain-time-s", "1"]))
        .start()
        .await;
    assert_eq!(stack.client("web").get("/hello").send().await.status, 200);

    stack
        .envoy
        .reload(|envoy| envoy.patch("/static_resources/listeners", json!([])))
        .await;

    // The singleton lives on and speaks for an Envoy without gates.
    stack.control.wait_for("web", "asleep").await;
    assert!(
        stack.envoy.process().stop(SECOND * 10).success(),
        "must not crash"
    );
}
