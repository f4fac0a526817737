//! The stand-ins for a Kubernetes cluster do what they say: else the tests on them prove nothing.

use std::time::Duration;

use e2e::kube::kubelet::What;
use e2e::kube::{Cluster, Eds, Follow, KubeStack, Kubelet, Workload};
use harness::{Client, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

const WITHIN: Duration = Duration::from_secs(20);
const LAG: Duration = Duration::from_millis(500);

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
    assert!(maps.get("a").await.is_err(), "no server must answer meanwhile");
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
    let reads: Vec<_> = audit
        .of("admin")
        .into_iter()
        .filter(|request| request.what() == "configmaps" && request.verb == "get")
        .collect();
    assert_eq!(reads.len(), 1, "both lives must be in the log: {reads:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_runs_as_local_processes_and_its_end_is_a_pods_end() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let kubelet = Kubelet::start(&cluster).await;
    cluster.apply(&deployment("web", "upstream", "")).await;
    let eds = Eds::start(&cluster, LAG, vec![Follow::new("web", "default", "web")]).await;

    scale(&cluster, "web", 1).await;

    let address = eventually("an endpoint is in the file", WITHIN, || async {
        eds.addresses("web").first().copied()
    })
    .await;
    assert!(address.ip().is_loopback(), "{address}");
    let reply = Client::at(address, "web").get("/").send().await;
    assert_eq!(reply.status, 200, "the pod must answer at its IP: {reply:?}");

    scale(&cluster, "web", 0).await;

    eventually("the process has been told to end", WITHIN, || async {
        kubelet.count("default", "web", |what| *what == What::Sigterm) == 1
    })
    .await;
    assert!(eds.in_file(address.ip()), "the file must lag behind");
    eventually("the pod is gone", WITHIN, || async {
        kubelet.terminating().is_empty()
    })
    .await;
    assert_eq!(kubelet.running(), 0, "its process must be gone before it");
    eventually("the file is empty", WITHIN, || async {
        !eds.in_file(address.ip())
    })
    .await;

    let life: Vec<What> = kubelet
        .journal_of("default", "web")
        .into_iter()
        .map(|entry| entry.what)
        .collect();
    let [
        What::Bound,
        What::Started { .. },
        What::Ready,
        What::Terminating,
        What::Sigterm,
        rest @ ..,
    ] = &life[..]
    else {
        panic!("{life:?}");
    };
    assert!(rest.contains(&What::Exited(Some(0))), "{life:?}");
    assert_eq!(rest.last(), Some(&What::Deleted), "{life:?}");
    for change in &eds.timeline()[1..] {
        let lag = Duration::from_millis(change.written_ms - change.seen_ms);
        assert!(
            lag >= LAG,
            "must be written {LAG:?} after it was seen: {change:?}"
        );
        assert!(lag < LAG * 2, "must not be written much later: {change:?}");
    }
    let audit = cluster.audit();
    let written: Vec<_> = audit
        .scale_writes("default", "web")
        .into_iter()
        .map(|request| (request.user.as_str(), request.replicas()))
        .collect();
    assert_eq!(
        written,
        [("admin", Some(1)), ("admin", Some(0))],
        "every write must be in the log"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_is_reported_as_a_kubelet_does() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let _kubelet = Kubelet::start(&cluster).await;
    let upstream = "upstream";
    let from_map = "env: [{name: A, valueFrom: {configMapKeyRef: {name: none, key: a}}}]";
    for (name, image, more) in [
        ("image", "example.com/missing:1", ""),
        ("crash", upstream, "command: ['false']"),
        ("config", upstream, from_map),
    ] {
        cluster.apply(&deployment(name, image, more)).await;
        scale(&cluster, name, 1).await;
    }
    let unschedulable = deployment("room", upstream, "").replace(
        "annotations: {",
        "annotations: {e2e.holdfast.dev/unschedulable: 'true', ",
    );
    cluster.apply(&unschedulable).await;
    scale(&cluster, "room", 1).await;
    let never = deployment("never", upstream, "").replace(
        "annotations: {",
        "annotations: {e2e.holdfast.dev/never-ready: 'true', ",
    );
    cluster.apply(&never).await;
    scale(&cluster, "never", 1).await;

    let pods = Api::<Pod>::namespaced(cluster.admin(), "default");
    for (name, reason) in [
        ("image", "ImagePullBackOff"),
        ("crash", "CrashLoopBackOff"),
        ("config", "CreateContainerConfigError"),
        ("room", "Unschedulable"),
    ] {
        eventually(&format!("{name} reports {reason}"), WITHIN, || async {
            reasons(&pods, name).await.contains(&reason.to_owned())
        })
        .await;
    }
    eventually("the one that is never ready runs", WITHIN, || async {
        reasons(&pods, "never")
            .await
            .contains(&"ContainersNotReady".to_owned())
    })
    .await;
    let config_map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: none}, data: {a: b}}";
    cluster.apply(config_map).await;
    eventually("it starts once its config map is there", WITHIN, || async {
        reasons(&pods, "config").await.is_empty()
    })
    .await;
}

/// Reasons for not being ready: of the conditions, and of the container that waits.
async fn reasons(pods: &Api<Pod>, name: &str) -> Vec<String> {
    let list = pods
        .list(&ListParams::default().labels(&format!("app={name}")))
        .await
        .unwrap();
    let status = list
        .items
        .into_iter()
        .find_map(|pod| pod.status)
        .unwrap_or_default();
    let waiting = status
        .container_statuses
        .into_iter()
        .flatten()
        .filter_map(|container| container.state?.waiting?.reason);
    let conditions = status
        .conditions
        .into_iter()
        .flatten()
        .filter_map(|condition| condition.reason);
    waiting.chain(conditions).collect()
}

async fn scale(cluster: &Cluster, name: &str, replicas: u32) {
    let api = Api::<Deployment>::namespaced(cluster.admin(), "default");
    let patch = json!({"spec": {"replicas": replicas}});
    api.patch_scale(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

fn deployment(name: &str, image: &str, more: &str) -> String {
    let more = if more.is_empty() { "stdin: false" } else { more };
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 0
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata:
      labels: {{app: {name}}}
      annotations: {{e2e.holdfast.dev/probe-period-ms: '50', e2e.holdfast.dev/term-delay-ms: '100'}}
    spec:
      containers:
        - name: main
          image: {image}
          args: [--http, '0.0.0.0:8080', --grpc, '$(POD_IP):0']
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /, port: http}}}}
          {more}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_go_together() {
    let workload = Workload::http("web").idle("500ms");
    let stack = KubeStack::builder().workload(workload).start().await;
    let Some(stack) = stack else { return };

    let reply = stack.client("web").get("/").send().await;

    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.held().is_some(), "it must have been held: {reply:?}");
    stack.wait_for("web", "asleep").await;
    stack.gone("web").await;
    assert_eq!(stack.kubelet.running(), 0, "no process must be left");
}

/// The control plane's own Deployment, as it ships: its Secret, its service account, its probe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_may_mount_a_secret_and_use_its_service_account() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let base = harness::binaries::root().join("kubernetes/base");
    cluster.apply_folder(&base, |_| true).await;
    let kubelet = Kubelet::start(&cluster).await;
    let name = e2e::kube::ACCOUNT;
    eventually("its pods are bound", WITHIN, || async {
        kubelet.count(e2e::kube::NAMESPACE, name, |what| *what == What::Bound) == 2
    })
    .await;
    let started = |what: &What| matches!(what, What::Started { .. });
    assert_eq!(
        kubelet.count(e2e::kube::NAMESPACE, name, started),
        0,
        "must wait for the Secret"
    );

    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: holdfast-token, namespace: holdfast-system}, stringData: {token: t, operator-token: o}}";
    cluster.apply(secret).await;

    eventually("the replica that leads is ready", WITHIN * 2, || async {
        kubelet.count(e2e::kube::NAMESPACE, name, |what| *what == What::Ready) == 1
    })
    .await;
    let user = format!("system:serviceaccount:{}:{name}", e2e::kube::NAMESPACE);
    assert!(
        !cluster.audit().of(&user).is_empty(),
        "it must act as its service account"
    );
}
