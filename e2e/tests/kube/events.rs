//! What `kubectl describe` shows of a target's history.

use std::time::Duration;

use e2e::kube::{KubeStack, Workload};
use harness::eventually;
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_targets_history_is_told_by_events() {
    let stack = KubeStack::builder()
        .workload(Workload::http("web").idle("500ms"))
        .workload(Workload::http("broken").container("image", "missing"))
        .start()
        .await;
    let Some(stack) = stack else { return };

    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let woken = event(&stack, "web", "Woken").await;
    let text = woken.message.unwrap();
    assert!(
        text.starts_with("woken by proxy ") && text.contains(", ready after "),
        "must say by which host and how long it took: {text}"
    );
    let sleep = event(&stack, "web", "PutToSleep").await;
    assert_eq!(
        sleep.message.as_deref(),
        Some("no request has used it for its idle time; requests are held from now on"),
        "must say why"
    );
    assert_eq!(
        sleep.type_.as_deref(),
        Some("Normal"),
        "must be nothing to worry about"
    );

    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    eventually("the second sleep has an Event of its own", WITHIN, || async {
        events(&stack, "web", "PutToSleep").await.len() == 2
    })
    .await;

    let reply = stack.client("broken").get("/").send().await;
    assert_eq!(reply.status, 503, "{reply:?}");
    let failed = event(&stack, "broken", "Failed").await;
    assert_eq!(failed.type_.as_deref(), Some("Warning"), "must be a warning");
    let text = failed.message.unwrap();
    assert!(
        text.contains("Image") || text.contains("image"),
        "must say why: {text}"
    );

    let metric = stack
        .leader()
        .await
        .metric("holdfast_events_total", &["outcome=\"written\""])
        .await;
    assert!(metric >= 3.0, "must be counted: {metric}");
}

/// Waits for one.
async fn event(stack: &KubeStack, target: &str, reason: &str) -> Event {
    eventually(&format!("{target} has an Event {reason}"), WITHIN, || async {
        events(stack, target, reason).await.into_iter().next()
    })
    .await
}

/// All there are, as `kubectl describe` looks for them: by the object's uid.
async fn events(stack: &KubeStack, target: &str, reason: &str) -> Vec<Event> {
    let object = stack.scale_target(target).await;
    let uid = object["metadata"]["uid"].as_str().unwrap();
    let events = Api::<Event>::namespaced(stack.cluster.admin(), &stack.workload(target).namespace);
    let of_target = ListParams::default().fields(&format!("involvedObject.uid={uid}"));
    let mut found = events.list(&of_target).await.unwrap().items;
    found.retain(|event| event.reason.as_deref() == Some(reason));
    found
}
