//! A `ScaleTarget` is given another name, which the API knows only as another object beside or after the first: clients of
//! the workload do not notice, and the new name governs afterwards.

use std::time::Duration;

use e2e::kube::{KubeStack, Workload};
use harness::{WebSocket, eventually, holds_for};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ObjectMeta, PostParams};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(30);

/// Which of the two steps is seen first.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Both names are there for a while, as with `kubectl apply --prune` or Helm.
    NewFirst,
    /// For a while there is neither.
    OldFirst,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_renamed_goes_on_under_its_streams() {
    goes_on_under_its_streams(Order::NewFirst).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_removed_and_comes_by_another_name_goes_on_under_its_streams() {
    goes_on_under_its_streams(Order::OldFirst).await;
}

async fn goes_on_under_its_streams(order: Order) {
    let web = Workload::http("web").idle("500ms");
    let Some(stack) = KubeStack::builder().workload(web).start().await else {
        return;
    };
    let authority = stack.workload("web").authority();
    let mut socket = WebSocket::open(stack.envoy.port(), &authority, "/ws")
        .await
        .unwrap();
    assert_eq!(socket.echo("one").await.unwrap(), "one");
    let slow = stack.client("web").get("/slow?delay=3s").spawn();
    eventually("both are known to be in flight", PATIENCE, || async {
        stack.control().target("web").await["in_flight"] == 2
    })
    .await;

    rename(&stack, order).await;

    // What is never asked for is never put to sleep.
    let reply = stack.client("web").get("/hello").send().await;
    assert_eq!(reply.status, 200, "{order:?}: must go on serving: {reply:?}");
    holds_for("it is up", SECOND * 4, || async {
        stack.replicas("web").await == 1
    })
    .await;
    assert_eq!(slow.reply().await.status, 200, "{order:?}: must be answered");
    assert_eq!(
        socket.echo("two").await.unwrap(),
        "two",
        "{order:?}: must not be cut"
    );
    assert_eq!(
        stack.journal("web").starts(),
        1,
        "{order:?}: must be the same pod"
    );

    socket.close().await.unwrap();
    stack.wait_for("shop", "asleep").await;
    let reply = stack.client("web").get("/hello").send().await;
    assert_eq!(
        reply.status, 200,
        "{order:?}: must be woken by its new name: {reply:?}"
    );
    stack.wait_for("shop", "ready").await;
    let former = stack
        .control()
        .client()
        .get("/v1/targets/default/web")
        .send()
        .await;
    assert_eq!(former.status, 404, "{order:?}: must be gone: {former:?}");
    let set: Vec<_> = stack
        .scales
        .of("default", "web")
        .iter()
        .map(|one| one.replicas)
        .collect();
    assert_eq!(set, [0, 1, 0, 1], "{order:?}: must be scaled for nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_while_its_target_is_renamed_is_answered() {
    is_answered(Order::NewFirst).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_while_its_target_is_removed_and_comes_by_another_name_is_answered() {
    is_answered(Order::OldFirst).await;
}

async fn is_answered(order: Order) {
    let web = Workload::http("web").upstream(["--start-delay", "6s"]);
    let Some(stack) = KubeStack::builder().workload(web).start().await else {
        return;
    };
    let held = stack.client("web").get("/hello").spawn();
    eventually("it is held and on its way up", PATIENCE, || async {
        let web = stack.control().target("web").await;
        web["state"] == "waking" && web["held"] == 1
    })
    .await;

    rename(&stack, order).await;
    assert!(!held.is_finished(), "{order:?}: must be held all the time");

    let reply = held.reply().await;
    assert_eq!(reply.status, 200, "{order:?}: must be answered: {reply:?}");
    stack.wait_for("shop", "ready").await;
    assert_eq!(
        stack.journal("web").starts(),
        1,
        "{order:?}: must be the start that was under way"
    );
    let set: Vec<_> = stack
        .scales
        .of("default", "web")
        .iter()
        .map(|one| one.replicas)
        .collect();
    assert_eq!(set, [0, 1], "{order:?}: must be scaled once");
}

/// `web` becomes `shop`. Each step is seen by the control plane before the next is taken, and the last before this returns.
async fn rename(stack: &KubeStack, order: Order) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("holdfast.dev", "v1alpha1", "ScaleTarget"));
    let targets: Api<DynamicObject> = Api::namespaced_with(stack.cluster.admin(), "default", &resource);
    let mut shop = targets.get("web").await.unwrap();
    shop.metadata = ObjectMeta {
        name: Some("shop".to_owned()),
        ..ObjectMeta::default()
    };
    shop.data.as_object_mut().unwrap().remove("status");
    let create = async {
        targets.create(&PostParams::default(), &shop).await.unwrap();
        eventually("the new name is known", PATIENCE, || async {
            status_of(stack, "shop").await == 200
        })
        .await;
    };
    let delete = async {
        targets.delete("web", &DeleteParams::default()).await.unwrap();
        eventually("the removal is known", PATIENCE, || async {
            let known = stack
                .control()
                .client()
                .get("/v1/targets/default/web")
                .send()
                .await;
            known.status == 404 || known.text().contains("\"Retiring\"")
        })
        .await;
    };
    match order {
        Order::NewFirst => {
            create.await;
            delete.await;
        }
        Order::OldFirst => {
            delete.await;
            create.await;
        }
    }
    eventually("there is the new name alone", PATIENCE, || async {
        status_of(stack, "web").await == 404 && status_of(stack, "shop").await == 200
    })
    .await;
}

async fn status_of(stack: &KubeStack, name: &str) -> u16 {
    let path = format!("/v1/targets/default/{name}");
    stack.control().client().get(&path).send().await.status
}
