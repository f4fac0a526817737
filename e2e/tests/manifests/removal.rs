//! The scripts that change a cluster, run against the real API server: the token is made once and copied, and the removal
//! leaves every workload awake and nothing of ours behind.

use std::collections::BTreeMap;

use e2e::kube::{Cluster, assets};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::json;

use super::accepted::for_this_server;
use super::kubectl::{self, said};
use super::tree;

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_made_once_and_copied_to_the_gateways() {
    let Some(kubectl) = kubectl::find_or_skip() else {
        return;
    };
    let Some(definitions) = assets::definitions_or_skip() else {
        return;
    };
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.install_crds(&definitions).await;
    apply(&cluster, &["base", "overlays/istio"]).await;
    cluster.create_namespace("mine").await;
    let kubeconfig = cluster.admin_kubeconfig();
    said(&mut kubectl::script(&kubectl, &kubeconfig, "token.sh", &["mine"]));
    let token = token(&cluster, "holdfast-system").await;
    assert_eq!(token.len(), 64, "must be 32 bytes in hexadecimal");
    assert!(
        token.iter().all(u8::is_ascii_hexdigit),
        "must be fit for a header"
    );
    for namespace in ["holdfast-gateway", "mine"] {
        assert_eq!(self::token(&cluster, namespace).await, token, "{namespace}");
    }
    let operators = secret(&cluster, "holdfast-system").await["operator-token"]
        .0
        .clone();
    assert_eq!(operators.len(), 64, "must be 32 bytes in hexadecimal");
    assert_ne!(operators, token, "must be another for people");
    assert!(
        !secret(&cluster, "mine").await.contains_key("operator-token"),
        "must not be copied to gateways"
    );
    said(&mut kubectl::script(&kubectl, &kubeconfig, "token.sh", &[]));
    let kept = secret(&cluster, "holdfast-system").await;
    assert_eq!(
        (&kept["token"].0, &kept["operator-token"].0),
        (&token, &operators),
        "must keep those that are there"
    );
    // As it is changed while both are good.
    let new = format!("{}\nfe{}", String::from_utf8(token).unwrap(), "d".repeat(62));
    let secrets = Api::<Secret>::namespaced(cluster.admin(), "holdfast-system");
    let patch = Patch::Merge(json!({"stringData": {"token": new}}));
    secrets
        .patch("holdfast-token", &PatchParams::default(), &patch)
        .await
        .unwrap();
    said(&mut kubectl::script(&kubectl, &kubeconfig, "token.sh", &[]));
    assert_eq!(
        String::from_utf8(self::token(&cluster, "holdfast-gateway").await).unwrap(),
        format!("fe{}", "d".repeat(62)),
        "must copy the newer one to gateways"
    );
    assert_eq!(
        self::token(&cluster, "holdfast-system").await,
        new.as_bytes(),
        "must keep both here"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_removal_wakes_what_sleeps_and_leaves_nothing() {
    let Some(kubectl) = kubectl::find_or_skip() else {
        return;
    };
    let Some(definitions) = assets::definitions_or_skip() else {
        return;
    };
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.install_crds(&definitions).await;
    apply(&cluster, &["base", "overlays/istio", "demo"]).await;
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), "holdfast-demo");
    let patch = |replicas: u32| json!({"spec": {"replicas": replicas}});
    for (name, replicas) in [("web", 0), ("echo", 5)] {
        let patch = Patch::Merge(patch(replicas));
        deployments
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
    let mut target = tree::find(&tree::render("demo"), "ScaleTarget", "holdfast-demo", "web").clone();
    target.0["spec"]["replicas"] = json!({"wake": 2});
    cluster.apply(&target.0.to_string()).await;

    let kubeconfig = cluster.admin_kubeconfig();
    let words = said(&mut kubectl::script(&kubectl, &kubeconfig, "uninstall.sh", &[]));

    let replicas = async |name: &str| deployments.get(name).await.unwrap().spec.unwrap().replicas;
    assert_eq!(
        replicas("web").await,
        Some(2),
        "must be woken with its replicas.wake: {words}"
    );
    assert_eq!(
        replicas("echo").await,
        Some(5),
        "must stay as it was set: {words}"
    );
    let client = cluster.admin();
    for path in [
        "/apis/holdfast.dev/v1alpha1",
        "/api/v1/namespaces/holdfast-system",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/holdfast-control-plane",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/holdfast-control-plane-kinds",
        "/apis/extensions.istio.io/v1alpha1/namespaces/holdfast-gateway/wasmplugins/holdfast",
        "/apis/networking.istio.io/v1alpha3/namespaces/holdfast-gateway/envoyfilters/holdfast",
    ] {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let answer = client.request_text(request).await;
        assert!(
            matches!(&answer, Err(kube::Error::Api(status)) if status.code == 404),
            "{path} must be gone"
        );
    }
    let gateway = "/apis/gateway.networking.k8s.io/v1/namespaces/holdfast-gateway/gateways/holdfast";
    let request = http::Request::get(gateway).body(Vec::new()).unwrap();
    client
        .request::<DynamicObject>(request)
        .await
        .expect("the gateway must go on routing");
    said(&mut kubectl::script(&kubectl, &kubeconfig, "uninstall.sh", &[]));
}

async fn apply(cluster: &Cluster, folders: &[&str]) {
    for folder in folders {
        for object in tree::render(folder) {
            cluster.apply(&for_this_server(&object).0.to_string()).await;
        }
    }
}

async fn token(cluster: &Cluster, namespace: &str) -> Vec<u8> {
    secret(cluster, namespace).await["token"].0.clone()
}

async fn secret(cluster: &Cluster, namespace: &str) -> BTreeMap<String, ByteString> {
    let secrets = Api::<Secret>::namespaced(cluster.admin(), namespace);
    secrets.get("holdfast-token").await.unwrap().data.unwrap()
}
