//! An autoscaler or a person scales the same workload: what they set stands, nothing is lost and nothing written twice,
//! not even when the API server goes away in between.

use std::time::Duration;

use e2e::kube::{ACCOUNT, KubeStack, NAMESPACE, Workload};
use harness::eventually;

const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_autoscaler_sets_stands_and_nothing_is_written_twice() {
    let web = Workload::http("web")
        .idle("1s")
        .upstream(["--start-delay", "1500ms"]);
    let stack = KubeStack::builder()
        .workload(web)
        .control(|control| control.args(["--test-delay", "draining=1500ms"]))
        .start()
        .await;
    let Some(stack) = stack else { return };

    a_wake_in_flight_leaves_the_autoscalers_number(&stack).await;
    a_scale_during_a_drain_ends_it_and_stands(&stack).await;
    the_api_server_goes_away_and_comes_back(&stack).await;

    let set: Vec<i32> = stack
        .scales
        .of("default", "web")
        .iter()
        .map(|one| one.replicas)
        .collect();
    assert_eq!(set, [0, 1, 3, 5, 0, 1], "every change there was, ours and theirs");
    assert_eq!(ours(&stack), 3, "up, down, and up again: each written once");
}

async fn a_wake_in_flight_leaves_the_autoscalers_number(stack: &KubeStack) {
    let call = stack.client("web").get("/?id=1").spawn();
    eventually("it is being woken", WITHIN, || async {
        stack.replicas("web").await == 1
    })
    .await;
    stack.scale("web", 3).await;
    assert!(!call.is_finished(), "the wake must still be in flight");
    let reply = call.reply().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(stack.replicas("web").await, 3, "must never be lowered");
}

async fn a_scale_during_a_drain_ends_it_and_stands(stack: &KubeStack) {
    stack.wait_for("web", "draining").await;
    stack.scale("web", 5).await;
    stack.wait_for("web", "ready").await;
    assert_eq!(stack.replicas("web").await, 5, "must stand");
    assert_eq!(ours(stack), 1, "only the wake may have been written");
    // It is idle, so the next drain ends at zero, from five.
    stack.wait_for("web", "asleep").await;
    stack.gone("web").await;
}

async fn the_api_server_goes_away_and_comes_back(stack: &KubeStack) {
    stack.cluster.stop_api_server();
    let call = stack.client("web").get("/?id=2").spawn();
    eventually("Envoy holds it", WITHIN, || async {
        stack.envoy.holds().await == 1
    })
    .await;
    stack.cluster.start_api_server().await;
    let reply = call.reply().await;
    assert_eq!(reply.status, 200, "must not be lost: {reply:?}");
    assert!(reply.held().is_some(), "must have been held: {reply:?}");
}

/// Successful writes of the control plane to the scale of `web`.
fn ours(stack: &KubeStack) -> usize {
    let account = format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
    let audit = stack.cluster.audit();
    let writes = audit.scale_writes("default", "web");
    writes.iter().filter(|write| write.user == account).count()
}
