//! The stand-ins for a Kubernetes cluster do what they say: else the tests on them prove nothing.

use e2e::kube::Cluster;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_was_stopped_has_kept_its_data_and_its_audit_log() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster
        .apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}")
        .await;
    let maps = Api::<ConfigMap>::namespaced(cluster.admin(), "default");

    cluster.stop_api_server();
    assert!(maps.get("a").await.is_err(), "nobody must answer meanwhile");
    cluster.start_api_server().await;

    let map = maps.get("a").await.unwrap();
    assert_eq!(map.data.unwrap()["k"], "v", "the data must still be there");
    let audit = cluster.audit();
    let writes: Vec<_> = audit
        .of("admin")
        .into_iter()
        .filter(|request| request.is_write())
        .collect();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(
        (writes[0].verb.as_str(), writes[0].what().as_str()),
        ("patch", "configmaps")
    );
    assert_eq!(
        writes[0].body.as_ref().unwrap()["data"]["k"],
        "v",
        "a write must be recorded with its body"
    );
    let last = audit.requests.last().unwrap();
    assert_eq!(
        (last.verb.as_str(), last.name.as_str()),
        ("get", "a"),
        "both lives must be in the log"
    );
}
