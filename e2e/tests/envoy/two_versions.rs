//! Two versions of the module under one `vm_id`, as an upgrade leaves them side by side: what the older one has let through is
//! neither cut nor forgotten, and no workload sleeps under it.

use std::time::Duration;

use harness::{Door, Target, binaries, both_relays, eventually, holds_for};

const SECOND: Duration = Duration::from_secs(1);

both_relays! {
    async fn what_the_older_one_holds_and_streams_outlasts_the_upgrade(stack: StackBuilder) {
        let (cold, door) = Door::before(Target::http("cold"));
        let mut stack = stack
            .target(Target::http("web").idle("1s"))
            .target(cold)
            .envoy(|envoy| envoy.lds().args(["--drain-time-s", "120"]))
            .control(|control| control.args(["--lease-duration", "200ms", "--heartbeat", "500ms"]))
            .start()
            .await;
        let mut socket = stack.websocket("web").await.unwrap();
        let held = stack.client("cold").get("/hello").spawn();
        eventually("it is held", SECOND * 10, || async { stack.held("cold").await == 1 }).await;

        stack.envoy.reload(|envoy| envoy.wasm(&binaries::wasm_next())).await;

        // Both speak for the Envoy, each for its own requests.
        eventually("the newer one holds as well", SECOND * 20, || async {
            let call = stack.client("cold").get("/hello").spawn();
            eventually("it is held", SECOND * 10, || async { stack.held("cold").await > 1 }).await;
            call.leave().await;
            stack.open_polls().await == 2
        })
        .await;
        // Longer than it takes to be taken for dead.
        holds_for("web is up under the older one's stream", SECOND * 13, || async {
            stack.control.state("web").await == "ready"
        })
        .await;
        assert_eq!(stack.control.sleep("web").await.status, 409, "must count as in use");
        let log = stack.envoy.log();
        assert!(!log.contains("has gone silent"), "neither may take the other's gates for dead");
        assert_eq!(socket.echo("still here").await.unwrap(), "still here", "must stay open");
        let _open = door.open().await;
        assert_eq!(held.reply().await.status, 200, "a request that the older one held must be answered");
        socket.close().await.unwrap();
        stack.control.wait_for("web", "asleep").await;
        assert_eq!(stack.client("web").get("/hello").send().await.status, 200, "must wake again");
        let journal = stack.journal("web");
        assert_eq!(journal.after_sigterm().len(), 0, "no request may have been cut");
    }
}
