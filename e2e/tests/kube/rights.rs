//! Least privilege: the control plane runs with the rights of `kubernetes/base`, is never refused, and uses each of them.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::kube::audit::Request;
use e2e::kube::{ACCOUNT, KubeStack, NAMESPACE, Workload};
use harness::{binaries, eventually};
use serde::Deserialize;
use serde_json::Value;

const WITHIN: Duration = Duration::from_secs(30);

/// A verb on a resource (`group/resource/subresource`).
type Right = (String, String);

const STATEFUL: &str = "
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store, namespace: default}
spec:
  replicas: 0
  serviceName: store
  selector: {matchLabels: {app: store}}
  template:
    metadata:
      labels: {app: store}
      annotations: {e2e.holdfast.dev/probe-period-ms: '20'}
    spec:
      containers:
        - name: main
          image: upstream
          args: [--http, '$(POD_IP):8080', --grpc, '$(POD_IP):8081']
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: default}
spec:
  selector: {app: store}
  ports: [{name: main, port: 80, targetPort: 8080}]
---
apiVersion: holdfast.dev/v1alpha1
kind: ScaleTarget
metadata: {name: store, namespace: default}
spec:
  workload: {apiVersion: apps/v1, kind: StatefulSet, name: store}
  service: {name: store}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_right_is_used_and_none_is_missing() {
    let stack = KubeStack::builder()
        .workload(Workload::http("web").idle("300ms"))
        .apply(STATEFUL)
        .gateway_api()
        .start()
        .await;
    let Some(stack) = stack else { return };

    let woken = stack.control().wake("store").await;
    assert_eq!(woken.status, 202, "{woken:?}");
    stack.wait_for("store", "ready").await;
    for _ in 0..3 {
        let reply = stack.client("web").get("/").send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        stack.wait_for("web", "asleep").await;
    }

    // The audit log tells of a watch when it ends.
    stack.control().kill();
    let granted = granted();
    assert!(granted.len() > 20, "must have read the roles: {granted:?}");
    eventually("its watches have ended", WITHIN, || async {
        used(&stack).contains(&("watch".to_owned(), "holdfast.dev/scaletargets".to_owned()))
    })
    .await;
    let used = used(&stack);
    let unused: Vec<_> = granted.difference(&used).collect();
    assert!(
        unused.is_empty(),
        "must not be granted what is not used: {unused:?}"
    );
    let audit = stack.cluster.audit();
    let refused: Vec<_> = audit
        .of_service_account(NAMESPACE, ACCOUNT)
        .into_iter()
        .filter(|request| request.code == 403)
        .map(|request| (&request.verb, request.what(), &request.uri))
        .collect();
    assert!(
        refused.is_empty(),
        "must not ask for what it may not: {refused:?}"
    );
}

/// What the control plane has done so far.
fn used(stack: &KubeStack) -> BTreeSet<Right> {
    let audit = stack.cluster.audit();
    let requests = audit.of_service_account(NAMESPACE, ACCOUNT).into_iter();
    requests
        .map(|request| (request.verb.clone(), resource(request)))
        .collect()
}

fn resource(request: &Request) -> String {
    format!("{}/{}", request.group, request.what())
}

/// What the roles of `kubernetes/base` allow.
fn granted() -> BTreeSet<Right> {
    let mut granted = BTreeSet::new();
    for file in ["clusterrole.yaml", "role.yaml"] {
        let text = std::fs::read_to_string(binaries::root().join("kubernetes/base").join(file)).unwrap();
        for document in serde_norway::Deserializer::from_str(&text) {
            let document = Value::deserialize(document).unwrap();
            for rule in document["rules"].as_array().into_iter().flatten() {
                for (group, resource, verb) in each(rule) {
                    granted.insert((verb, format!("{group}/{resource}")));
                }
            }
        }
    }
    granted
}

fn each(rule: &Value) -> Vec<(String, String, String)> {
    let texts = |field: &str| -> Vec<String> {
        let list = rule[field].as_array().expect("a list").iter();
        list.map(|text| text.as_str().expect("a text").to_owned())
            .collect()
    };
    let (groups, resources, verbs) = (texts("apiGroups"), texts("resources"), texts("verbs"));
    let mut all = Vec::new();
    for group in &groups {
        for resource in &resources {
            for verb in &verbs {
                all.push((group.clone(), resource.clone(), verb.clone()));
            }
        }
    }
    all
}
