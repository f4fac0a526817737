//! The real API server takes every manifest, with the real definitions of the systems that they are for, and keeps every
//! field of it.

use e2e::kube::{Cluster, assets};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, DynamicObject, GroupVersionKind, PostParams};
use kube::discovery::{Scope, pinned_kind};
use serde_json::{Value, json};

use super::tree::{self, Object};

/// Kinds whose definitions are not in `../shared/crds`: the real Envoy Gateway took them, by hand.
const WITHOUT_DEFINITION: [&str; 2] = ["EnvoyProxy", "BackendTrafficPolicy"];

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_manifest() {
    let Some(definitions) = assets::definitions_or_skip() else {
        return;
    };
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.install_crds(&definitions).await;
    for folder in tree::folders() {
        let objects = tree::render(folder);
        let (known, unknown): (Vec<_>, Vec<_>) = objects
            .iter()
            .partition(|object| !WITHOUT_DEFINITION.contains(&object.kind()));
        for object in known {
            let sent = for_this_server(object);
            cluster
                .try_apply(&sent.0.to_string())
                .await
                .unwrap_or_else(|error| panic!("{folder}: {}: {error:#}", object.title()));
            if object.kind() != "CustomResourceDefinition" {
                let stored = get(&cluster, &sent).await;
                let lost = lost(&sent.0, &stored);
                assert!(
                    lost.is_empty(),
                    "{folder}: {}: must keep {lost:?}",
                    object.title()
                );
            }
        }
        for object in unknown {
            let refusal = cluster.try_apply(&object.0.to_string()).await;
            assert!(
                refusal.is_err(),
                "{}: its definition is there now: check it",
                object.kind()
            );
        }
    }
    refuses_what_is_wrong(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_may_do_what_it_does_and_no_more() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    for object in tree::render(tree::BASE) {
        cluster.apply(&for_this_server(&object).0.to_string()).await;
    }
    let may = [
        "list services",
        "watch endpointslices.discovery.k8s.io",
        "watch httproutes.gateway.networking.k8s.io",
        "watch grpcroutes.gateway.networking.k8s.io",
        "watch referencegrants.gateway.networking.k8s.io",
        "watch scaletargets.holdfast.dev",
        "patch scaletargets.holdfast.dev/status",
        "watch deployments.apps",
        "watch statefulsets.apps",
        "update deployments.apps/scale",
        "update statefulsets.apps/scale",
        "list pods",
        "create events.events.k8s.io",
    ];
    let may_not = [
        "get secrets",
        "list configmaps",
        "create configmaps",
        "get pods",
        "delete pods",
        "create pods",
        "patch scaletargets.holdfast.dev",
        "delete scaletargets.holdfast.dev",
        "update deployments.apps",
        "patch deployments.apps",
        "patch services",
        "patch events.events.k8s.io",
        "create leases.coordination.k8s.io",
        "get widgets.example.com",
        "update widgets.example.com/scale",
    ];
    for question in may {
        assert!(
            allowed(&cluster, question, "shop", "").await,
            "must be allowed to {question}"
        );
    }
    for question in may_not {
        assert!(
            !allowed(&cluster, question, "shop", "").await,
            "must not be allowed to {question}"
        );
    }
    let (lease, home) = ("holdfast-control-plane", "holdfast-system");
    for verb in ["get", "update", "create"] {
        let question = format!("{verb} leases.coordination.k8s.io");
        assert!(
            allowed(&cluster, &question, home, lease).await,
            "must be allowed to {question} of its own"
        );
    }
    let other = allowed(&cluster, "update leases.coordination.k8s.io", home, "another").await;
    assert!(!other, "must not touch another lease");
    for verb in ["get", "update", "create"] {
        let question = format!("{verb} configmaps");
        assert!(
            allowed(&cluster, &question, home, "holdfast-control-plane-proxies").await,
            "must be allowed to {question} of its own"
        );
    }
    let other = allowed(&cluster, "get configmaps", home, "another").await;
    assert!(!other, "must not read another ConfigMap");

    let rules = json!([
        {"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["example.com"], "resources": ["widgets/scale"], "verbs": ["get", "update"]},
    ]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "widgets", "labels": {"holdfast.dev/aggregate-to-control-plane": "true"}},
        "rules": rules,
    });
    cluster.apply(&role.to_string()).await;
    let within = std::time::Duration::from_secs(20);
    harness::eventually("a labelled role adds a kind", within, || async {
        allowed(&cluster, "update widgets.example.com/scale", "shop", "")
            .await
            .then_some(())
    })
    .await;
    for object in tree::render(tree::BASE) {
        cluster.apply(&for_this_server(&object).0.to_string()).await;
    }
    let still = allowed(&cluster, "update widgets.example.com/scale", "shop", "").await;
    assert!(still, "applying the base again must not take the kind away");
}

/// What newer servers take as it stands, and 1.20 does not: it has PodDisruptionBudgets in `policy/v1beta1` only, with the
/// same fields, and takes an empty string in a custom resource for null.
pub(crate) fn for_this_server(object: &Object) -> Object {
    let mut object = object.clone();
    if object.kind() == "PodDisruptionBudget" {
        object.0["apiVersion"] = "policy/v1beta1".into();
    }
    if let Some(group) = object.0.pointer_mut("/spec/infrastructure/parametersRef/group")
        && *group == ""
    {
        *group = "core".into();
    }
    object
}

/// What this test is worth: a wrong value and an unknown field are found.
async fn refuses_what_is_wrong(cluster: &Cluster) {
    let mut plugin = tree::find(
        &tree::render("overlays/istio"),
        "WasmPlugin",
        "holdfast-gateway",
        "holdfast",
    )
    .clone();
    plugin.0["spec"]["phase"] = "LATE".into();
    let refusal = cluster.try_apply(&plugin.0.to_string()).await.unwrap_err();
    assert!(
        format!("{refusal:#}").contains("phase"),
        "must name the field: {refusal:#}"
    );
    let sent = json!({"spec": {"a": 1, "list": [{"b": "x"}]}});
    assert!(lost(&sent, &json!({"spec": {"a": 1, "list": [{"b": "x", "c": 2}]}})).is_empty());
    assert_eq!(
        lost(&sent, &json!({"spec": {"a": 1, "list": [{}]}})),
        ["/spec/list/0/b"]
    );
}

async fn get(cluster: &Cluster, object: &Object) -> Value {
    let api_version = object.text("/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, object.kind());
    let (resource, capabilities) = pinned_kind(&cluster.admin(), &kind).await.unwrap();
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(cluster.admin(), &resource),
        Scope::Namespaced => Api::namespaced_with(cluster.admin(), object.namespace(), &resource),
    };
    serde_json::to_value(api.get(object.name()).await.unwrap()).unwrap()
}

/// Pointers to what was sent and is not stored.
fn lost(sent: &Value, stored: &Value) -> Vec<String> {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(stored)) => sent
            .iter()
            .flat_map(|(key, value)| under(key, lost(value, stored.get(key).unwrap_or(&Value::Null))))
            .collect(),
        (Value::Array(sent), Value::Array(stored)) if sent.len() == stored.len() => sent
            .iter()
            .zip(stored)
            .enumerate()
            .flat_map(|(index, (sent, stored))| under(&index.to_string(), lost(sent, stored)))
            .collect(),
        (sent, stored) if sent == stored => Vec::new(),
        _ => vec![String::new()],
    }
}

fn under(key: &str, pointers: Vec<String>) -> Vec<String> {
    pointers
        .into_iter()
        .map(|pointer| format!("/{key}{pointer}"))
        .collect()
}

/// May the control plane's account do it? `question`: verb, and resource as `RESOURCE.GROUP/SUBRESOURCE`.
async fn allowed(cluster: &Cluster, question: &str, namespace: &str, name: &str) -> bool {
    let (verb, resource) = question.split_once(' ').unwrap();
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let text = |text: &str| Some(text.to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: text("system:serviceaccount:holdfast-system:holdfast-control-plane"),
            resource_attributes: Some(ResourceAttributes {
                verb: text(verb),
                group: text(group),
                resource: text(resource),
                subresource: text(subresource),
                namespace: text(namespace),
                name: text(name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::<SubjectAccessReview>::all(cluster.admin());
    let answer = reviews.create(&PostParams::default(), &review).await.unwrap();
    answer.status.unwrap().allowed
}
