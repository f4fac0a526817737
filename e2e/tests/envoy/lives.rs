//! The life of a target where it meets what people do: starts that outlast every client's patience, and documents that are renamed,
//! removed and put back under open streams.

use std::time::Duration;

use harness::{ControlBuilder, Stack, StackBuilder, Target, eventually, holds_for};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_takes_longer_than_anybody_waits_ends_in_ready() {
    let slow = Target::http("web").upstream(["--start-delay", "3s"]);
    let stack = mk_stack([slow.spec("hold.timeout", "300ms").idle("300ms")]).await;

    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 504, "must give up long before it is up: {reply:?}");
    let mut events = stack.control.events();
    assert!(events.next("ready", PATIENCE).await, "must be up in the end");

    let before = events.seen.iter().take_while(|event| event.event != "ready");
    let stops = before.filter(|event| event.event == "stopping").count();
    assert_eq!(
        stops, 0,
        "no client waited for longer than idle.after, and it must have gone on all the same"
    );
    assert_eq!(stack.journal("web").starts(), 1, "must be started once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_renamed_goes_on_under_its_streams() {
    let stack = mk_stack([Target::http("web").idle("500ms")]).await;
    let mut socket = stack.websocket("web").await.unwrap();
    assert_eq!(socket.echo("one").await.unwrap(), "one");

    stack
        .control
        .write_targets(&renamed(stack.target("web").document(), "shop"));
    eventually("it has its name", PATIENCE, || async {
        stack.control.log().contains("\"renamed\"")
    })
    .await;
    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 200, "must go on serving: {reply:?}");
    holds_for("it is up under its name", SECOND * 3, || async {
        matches!(stack.control.state("shop").await.as_str(), "ready" | "draining")
    })
    .await;
    assert_eq!(socket.echo("two").await.unwrap(), "two", "must not be cut");
    assert_eq!(stack.journal("web").starts(), 1, "must be the same process");

    socket.close().await.unwrap();
    stack.control.wait_for("shop", "asleep").await;
    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 200, "must be woken under its name: {reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_while_its_target_is_renamed_is_answered() {
    let slow = Target::http("web").upstream(["--start-delay", "2s"]);
    let stack = mk_stack([slow]).await;
    let held = stack.client("web").get("/").spawn();
    eventually("it is held and on its way up", PATIENCE, || async {
        stack.control.state("web").await == "waking" && stack.envoy_holds().await == 1
    })
    .await;
    stack
        .control
        .write_targets(&renamed(stack.target("web").document(), "shop"));
    let reply = held.reply().await;
    assert_eq!(
        reply.status, 200,
        "must not be let go to what is not up: {reply:?}"
    );
    assert!(
        stack.control.log().contains("\"renamed\""),
        "must have been renamed meanwhile"
    );
    assert_eq!(
        stack.journal("web").starts(),
        1,
        "must be the start that was under way"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_older_than_its_target_is_not_cut_by_the_first_sleep() {
    let both = [Target::http("web").idle("500ms"), Target::http("other")];
    let stack = mk_stack(both).await;
    assert_eq!(stack.client("web").get("/").send().await.status, 200);
    let (web, other) = (stack.target("web").document(), stack.target("other").document());
    stack.control.write_targets(&other.to_string());
    eventually("web is let go while it is up", PATIENCE, || async {
        stack.control.log().contains("\"dropped\"")
    })
    .await;
    eventually("Envoy knows one target", PATIENCE, || async {
        stack.envoy.stat("wasmcustom.holdfast.targets").await == 1
    })
    .await;
    let mut socket = stack.websocket("web").await.unwrap();
    assert_eq!(socket.echo("one").await.unwrap(), "one");

    stack.control.write_targets(&format!("{web}\n---\n{other}"));
    eventually("web is known again", PATIENCE, || async {
        let reply = stack.control.client().get("/v1/targets/default/web").send().await;
        reply.status == 200
    })
    .await;
    stack.control.wait_for("web", "ready").await;
    eventually("Envoy knows both", PATIENCE, || async {
        stack.envoy.stat("wasmcustom.holdfast.targets").await == 2
    })
    .await;
    // Only what has been matched is ever put to sleep.
    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    holds_for("it is up", SECOND * 3, || async {
        matches!(stack.control.state("web").await.as_str(), "ready" | "draining")
    })
    .await;
    assert_eq!(socket.echo("two").await.unwrap(), "two", "must not be cut");
    socket.close().await.unwrap();
    stack.control.wait_for("web", "asleep").await;
}

async fn mk_stack<const N: usize>(targets: [Target; N]) -> Stack {
    let quick = [
        "--log-format",
        "json",
        "--heartbeat",
        "200ms",
        "--lease-duration",
        "50ms",
    ];
    let stack = targets.into_iter().fold(Stack::builder(), StackBuilder::target);
    stack
        .control(move |control: ControlBuilder| control.args(quick))
        .start()
        .await
}

fn renamed(mut document: Value, name: &str) -> String {
    document["metadata"]["name"] = json!(name);
    document.to_string()
}
