//! Holdfast goes away in parts or as a whole, and nothing is left behind that does not work: what sleeps is woken, what is
//! up stays up, and what another client does with a workload stands.

use std::time::Duration;

use e2e::kube::{ACCOUNT, FLEETS, KubeStack, NAMESPACE, Workload};
use harness::{Client, eventually, holds_for};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const CHANGES_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_while_it_sleeps_is_woken_and_the_rest_outlives_the_control_plane() {
    let stack = KubeStack::builder()
        .workload(Workload::http("removed").spec("replicas.wake", 2))
        .workload(Workload::http("undone"))
        .workload(Workload::http("kept"))
        .start()
        .await;
    let Some(stack) = stack else { return };

    let now = DeleteParams::default();
    let deployments = Api::<Deployment>::namespaced(stack.cluster.admin(), "default");
    deployments.delete("undone", &now).await.unwrap();
    for name in ["removed", "undone"] {
        targets(&stack).delete(name, &now).await.unwrap();
        eventually(&format!("{name} is let go"), CHANGES_WITHIN, || async {
            let log = stack.control().log();
            log.lines()
                .any(|line| line.contains("\"dropped\"") && line.contains(&format!("default/{name}")))
        })
        .await;
    }
    assert_eq!(
        writes(&stack, "undone"),
        0,
        "there must be nothing to wake without a workload"
    );
    assert_eq!(writes(&stack, "removed"), 1, "must be woken once");
    assert_eq!(
        stack.replicas("removed").await,
        2,
        "must be woken as its document said"
    );
    let reply = stack.client("removed").get("/").send().await;
    assert_eq!((reply.status, reply.held()), (200, None), "must pass: {reply:?}");

    let reply = stack.client("kept").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    stack.control().kill();
    eventually("Envoy's metrics tell that it is gone", CHANGES_WITHIN, || async {
        let reply = stack.client("kept").get("/").send().await;
        assert_eq!(reply.status, 200, "what is up must go on: {reply:?}");
        stack.envoy.stat("wasmcustom.holdfast.control_plane_up").await == 0
    })
    .await;
    for name in ["kept", "removed"] {
        let reply = stack.client(name).get("/").send().await;
        assert_eq!(
            (reply.status, reply.held()),
            (200, None),
            "{name} must go on: {reply:?}"
        );
    }
    assert_eq!(stack.replicas("kept").await, 1, "must be left as it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_do_with_a_workload_stands() {
    let host = "first.example.com";
    let stack = KubeStack::builder()
        .workload(Workload::http("bypassed").deployment("replicas", 1).idle("300ms"))
        .workload(Workload::http("used").deployment("replicas", 1).idle("300ms"))
        .workload(Workload::http("by-hand"))
        .workload(
            Workload::http("misnamed")
                .deployment("replicas", 1)
                .spec("workload.name", "no-such-thing")
                .idle("300ms"),
        )
        .workload(
            Workload::http("first")
                .cluster_name("elsewhere")
                .spec("match.hosts", json!([host])),
        )
        .workload(Workload::http("second").spec("match.hosts", json!([host])))
        .start()
        .await;
    let Some(stack) = stack else { return };

    never_asleep_if_never_matched(&stack).await;
    up_whichever_control_plane_runs(&stack).await;
    scaled_by_hand(&stack).await;
    the_older_of_two_keeps_the_key(&stack).await;
}

async fn never_asleep_if_never_matched(stack: &KubeStack) {
    for name in ["bypassed", "used"] {
        stack.wait_for(name, "ready").await;
    }
    let cluster = "outbound|80||bypassed.default.svc.cluster.local";
    let address = eventually("the pod is an endpoint", CHANGES_WITHIN, || async {
        stack.eds.addresses(cluster).first().copied()
    })
    .await;
    let past_envoy = Client::at(address, "bypassed");
    let reply = stack.client("used").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    stack.wait_for("used", "asleep").await;

    holds_for("it is up and serves", SECOND * 3, || async {
        past_envoy.get("/").send().await.status == 200 && stack.replicas("bypassed").await == 1
    })
    .await;

    let shown = stack.control().target("bypassed").await;
    assert!(
        condition(&shown, "NeverMatched").is_some(),
        "must say so: {shown}"
    );
    says(stack, "bypassed", "NeverMatched", "another way").await;
    let reply = stack.client("bypassed").get("/").send().await;
    assert_eq!((reply.status, reply.held()), (200, None), "must pass: {reply:?}");
    stack.wait_for("bypassed", "asleep").await;
    says_no_more(stack, "bypassed", "NeverMatched").await;
}

async fn up_whichever_control_plane_runs(stack: &KubeStack) {
    stack.wait_for("misnamed", "ready").await;
    says(stack, "misnamed", "WorkloadNotFound", "no-such-thing").await;
    let reply = stack.client("misnamed").get("/").send().await;
    assert_eq!((reply.status, reply.held()), (200, None), "must pass: {reply:?}");
    holds_for("it is ready", SECOND, || async {
        stack.control().state("misnamed").await == "ready"
    })
    .await;
}

async fn scaled_by_hand(stack: &KubeStack) {
    stack.scale("by-hand", 5).await;
    eventually("it is ready with five", CHANGES_WITHIN, || async {
        let target = stack.control().target("by-hand").await;
        target["state"] == "ready" && target["ready_endpoints"] == 5
    })
    .await;
    let reply = stack.client("by-hand").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");

    // What was held or came in just before would be demand.
    eventually(
        "the control plane knows that it is not in use",
        CHANGES_WITHIN,
        || async {
            let target = stack.control().target("by-hand").await;
            let quiet = target["idle_ms"].as_u64().is_some_and(|idle| idle > 300);
            quiet && target["held"] == 0 && target["in_flight"] == 0
        },
    )
    .await;

    stack.scale("by-hand", 0).await;
    stack.wait_for("by-hand", "asleep").await;
    stack.gone("by-hand").await;
    assert_eq!(
        writes(stack, "by-hand"),
        0,
        "must leave alone what others have set"
    );

    let reply = stack.client("by-hand").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.held().is_some(), "must have been held: {reply:?}");
    assert_eq!(
        (writes(stack, "by-hand"), stack.replicas("by-hand").await),
        (1, 1),
        "must be woken"
    );
}

async fn the_older_of_two_keeps_the_key(stack: &KubeStack) {
    let shown = stack.control().target("second").await;
    let message = condition(&shown, "KeyConflict").unwrap_or_else(|| panic!("must say so: {shown}"));
    assert!(
        message.contains("default/first"),
        "must name the first: {message}"
    );
    assert!(
        message.contains("first.example.com"),
        "must name the key: {message}"
    );
    says(stack, "second", "KeyConflict", "default/first").await;
    let first = stack.control().target("first").await;
    assert_eq!(
        condition(&first, "KeyConflict"),
        None,
        "the first must not be blamed"
    );

    let reply = stack.client("first").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.held().is_some(), "must be held by the first: {reply:?}");
    assert_eq!(stack.replicas("second").await, 0, "must not wake the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_custom_kind_is_scaled_and_a_routes_host_is_a_key() {
    let stack = KubeStack::builder()
        .gateway_api()
        .apply(FLEETS)
        .apply(BOATS)
        .apply(ROUTE)
        .workload(
            Workload::http("boats")
                .spec(
                    "workload",
                    json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": "boats"}),
                )
                .idle("500ms"),
        )
        .workload(Workload::http("routed").cluster_name("named-by-no-target"))
        .start()
        .await;
    let Some(stack) = stack else { return };
    let controller = tokio::spawn(play_controller(stack.cluster.admin()));

    let reply = stack.client("boats").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.held().is_some(), "must have been held: {reply:?}");
    stack.wait_for("boats", "asleep").await;
    let audit = stack.cluster.audit();
    // A write that met the controller's was refused, and repeated.
    let sizes: Vec<_> = audit
        .of_service_account(NAMESPACE, ACCOUNT)
        .into_iter()
        .filter(|request| request.is_write() && request.what() == "fleets/scale" && request.code != 409)
        .map(|request| (request.replicas(), request.code))
        .collect();
    assert_eq!(
        sizes,
        [(Some(1), 200), (Some(0), 200)],
        "must be woken and put to sleep, once each"
    );
    stack.gone("boats").await;

    let shown = stack.control().target("routed").await;
    let hosts = shown["hosts"].as_array().unwrap();
    assert!(
        hosts.contains(&json!("routed.example.com")),
        "must be derived from the route: {shown}"
    );
    let reply = stack.client("routed").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.held().is_some(), "must be found by its host: {reply:?}");
    controller.abort();
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: routed}
spec:
  parentRefs: [{name: gateway}]
  hostnames: [routed.example.com]
  rules: [{backendRefs: [{name: routed, port: 80}]}]
";

/// One object of [`FLEETS`], and the right to scale it.
const BOATS: &str = "
apiVersion: example.com/v1
kind: Fleet
metadata: {name: boats}
spec: {size: 0}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: fleets
  labels: {holdfast.dev/aggregate-to-control-plane: 'true'}
rules:
  - {apiGroups: [example.com], resources: [fleets], verbs: [get, list, watch]}
  - {apiGroups: [example.com], resources: [fleets/scale], verbs: [get, update]}
";

/// What a controller of the custom kind does: its Deployment has as many replicas as the fleet has boats. Until the API
/// server is gone.
async fn play_controller(client: kube::Client) -> kube::Result<()> {
    let fleet = resource("example.com", "v1", "Fleet");
    let fleets: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &fleet);
    let deployments = Api::<Deployment>::namespaced(client, "default");
    let params = PatchParams::default();
    let mut last = None;
    loop {
        let size = fleets.get("boats").await?.data["spec"]["size"].clone();
        if last.as_ref() != Some(&size) {
            let replicas = Patch::Merge(json!({"spec": {"replicas": size}}));
            deployments.patch("boats", &params, &replicas).await?;
            let status = Patch::Merge(json!({"status": {"size": size, "selector": "app=boats"}}));
            fleets.patch_status("boats", &params, &status).await?;
            last = Some(size);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How often the control plane has written a workload's replicas.
fn writes(stack: &KubeStack, name: &str) -> usize {
    let audit = stack.cluster.audit();
    let writes = audit.scale_writes("default", name);
    let ours = format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
    writes.iter().filter(|request| request.user == ours).count()
}

/// The message of a condition in what `GET /v1/targets/..` or the resource's status shows.
fn condition(shown: &Value, kind: &str) -> Option<String> {
    let conditions = shown["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(found["message"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the resource itself has the condition, with `word` in its message.
async fn says(stack: &KubeStack, name: &str, kind: &str, word: &str) {
    eventually(
        &format!("the status of {name} has {kind}"),
        CHANGES_WITHIN,
        || async {
            let target = stack.scale_target(name).await;
            condition(&target["status"], kind).is_some_and(|message| message.contains(word))
        },
    )
    .await;
}

async fn says_no_more(stack: &KubeStack, name: &str, kind: &str) {
    eventually(
        &format!("the status of {name} no longer has {kind}"),
        CHANGES_WITHIN,
        || async { condition(&stack.scale_target(name).await["status"], kind).is_none() },
    )
    .await;
}

fn targets(stack: &KubeStack) -> Api<DynamicObject> {
    let resource = resource("holdfast.dev", "v1alpha1", "ScaleTarget");
    Api::namespaced_with(stack.cluster.admin(), "default", &resource)
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}
