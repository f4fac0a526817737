//! A workload that cannot start in a cluster: clients that wait are told why within a second of the API server's knowing
//! it, people find the same with `kubectl describe`, and nothing need be restarted once the cause is gone.

use std::future::Future;
use std::process::Command;
use std::time::Duration;

use e2e::kube::kubelet::What;
use e2e::kube::{FLEETS, KubeStack, Workload, assets};
use futures_util::{StreamExt as _, future};
use harness::skip::skip;
use harness::{Reply, eventually, unix_ms};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

/// From the condition at the API server to the answer at the client.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// The API server writes the time of a transition in whole seconds.
const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);
/// A controller that was refused waits longer and longer before it tries again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

/// No Pod with a request for anything, so that it is met by one workload alone.
const QUOTA: &str = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: nothing-more}
spec: {hard: {pods: '0'}, scopes: [NotBestEffort]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_wait_are_told_why_within_a_second() {
    let settings = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]);
    let stack = KubeStack::builder()
        .workload(Workload::http("image").container("image", "example.com/missing:1"))
        .workload(Workload::http("crash").container("command", json!(["false"])))
        .workload(Workload::http("create").container("env", settings))
        .workload(Workload::http("quota").container("resources", json!({"requests": {"cpu": "1"}})))
        .workload(Workload::http("room").annotation("unschedulable", "true"))
        .workload(
            Workload::http("stuck")
                .annotation("never-ready", "true")
                .deployment("progressDeadlineSeconds", 1),
        )
        .workload(Workload::http("gone").annotation("never-ready", "true"))
        .workload(Workload::http("nowhere").spec("workload.name", "elsewhere"))
        .workload(Workload::http("unknown").spec("workload.kind", "Nope"))
        .workload(Workload::http("unscalable").spec("workload.kind", "DaemonSet"))
        .workload(Workload::http("forbidden").spec(
            "workload",
            json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": "boats"}),
        ))
        // The control plane was not given the right to read these.
        .apply(FLEETS)
        .apply(QUOTA)
        .control(|control| control.args(["--unschedulable-grace", "2s"]))
        .start()
        .await;
    let Some(stack) = stack else { return };
    let pods = || Api::<Pod>::namespaced(stack.cluster.admin(), "default");
    let deployments = || Api::<Deployment>::namespaced(stack.cluster.admin(), "default");

    let waits = written(&stack, pods(), "image", |pod| waits_with(pod, "ErrImagePull"));
    check(
        &stack,
        "image",
        &["example.com/missing:1 cannot be pulled"],
        waits,
    )
    .await;

    let waits = written(&stack, pods(), "crash", |pod| waits_with(pod, "CrashLoopBackOff"));
    check(&stack, "crash", &["ends again and again", "exit code 1"], waits).await;

    let waits = written(&stack, pods(), "create", |pod| {
        waits_with(pod, "CreateContainerConfigError")
    });
    check(&stack, "create", &["cannot be created", "settings"], waits).await;

    let refused = written(&stack, deployments(), "quota", |one| {
        has_condition(one, "ReplicaFailure", "True")
    });
    let says = ["no Pod can be created", "exceeded quota: nothing-more"];
    check(&stack, "quota", &says, refused).await;

    let over = async {
        let since = written(&stack, pods(), "room", is_unschedulable).await;
        since + millis(GRACE)
    };
    let (told, over) = check(&stack, "room", &["no node takes it", "Insufficient cpu"], over).await;
    assert!(
        told + millis(SECOND) >= over,
        "must wait for the grace time: told {} ms before its end",
        over - told
    );

    let late = async {
        runs(&stack, "stuck").await;
        roll(&deployments(), "stuck").await;
        let is_late = |one: &Deployment| has_condition(one, "Progressing", "False");
        written(&stack, deployments(), "stuck", is_late).await
    };
    check(
        &stack,
        "stuck",
        &["no progress within its progress deadline"],
        late,
    )
    .await;

    let deleted = async {
        runs(&stack, "gone").await;
        let at = unix_ms();
        let now = DeleteParams::default();
        deployments().delete("gone", &now).await.unwrap();
        at
    };
    check(&stack, "gone", &["there is no Deployment", "gone"], deleted).await;

    // What is so from the beginning: there is nothing to wait for.
    for (name, says) in [
        ("nowhere", ["there is no Deployment", "elsewhere"]),
        ("unknown", ["the API server knows no Nope", "apps/v1"]),
        ("unscalable", ["DaemonSet of apps/v1", "no scale subresource"]),
        (
            "forbidden",
            ["example.com/v1 Fleet may not be read", "cannot list resource"],
        ),
    ] {
        let asked = unix_ms();
        check(&stack, name, &says, future::ready(asked)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_recovers_by_itself_once_the_cause_is_gone() {
    let settings = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "a"}}}]);
    let stack = KubeStack::builder()
        .workload(Workload::http("create").container("env", settings))
        .workload(Workload::http("quota").container("resources", json!({"requests": {"cpu": "1"}})))
        .workload(Workload::http("gone"))
        .apply(QUOTA)
        .start()
        .await;
    let Some(stack) = stack else { return };
    let deployments = Api::<Deployment>::namespaced(stack.cluster.admin(), "default");
    let mut gone = deployments.get("gone").await.unwrap();
    deployments
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    let refused = ["create", "quota", "gone"].map(|name| async {
        let reply = stack.client(name).get("/").send().await;
        assert_eq!(reply.status, 503, "must not start yet: {reply:?}");
    });
    future::join_all(refused).await;

    let quotas = Api::<ResourceQuota>::namespaced(stack.cluster.admin(), "default");
    quotas
        .delete("nothing-more", &DeleteParams::default())
        .await
        .unwrap();
    let settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a: b}}";
    stack.cluster.apply(settings).await;
    gone.metadata.resource_version = None;
    gone.metadata.uid = None;
    deployments.create(&PostParams::default(), &gone).await.unwrap();

    let answered = ["create", "quota", "gone"].map(|name| {
        let what = format!("{name} is answered");
        let stack = &stack;
        async move {
            eventually(&what, RECOVERS_WITHIN, || async {
                stack.client(name).get("/").send().await.status == 200
            })
            .await;
        }
    });
    future::join_all(answered).await;
}

/// A request is held until `condition`, whose time it returns, and told `says` within a second; later ones at once;
/// people too. Returns when it was told, and the condition's time.
async fn check(
    stack: &KubeStack,
    name: &str,
    says: &[&str],
    condition: impl Future<Output = u64>,
) -> (u64, u64) {
    let answer = async {
        let reply = stack.client(name).get("/").send().await;
        (reply, unix_ms())
    };
    let ((reply, told), since) = future::join(answer, condition).await;

    let detail = detail(&reply);
    for word in says {
        assert!(detail.contains(word), "{name}: must say {word:?}: {detail}");
    }
    assert!(reply.held().is_some(), "{name}: must have been held: {reply:?}");
    let delay = Duration::from_millis(told.saturating_sub(since));
    eprintln!("{name}: told after {delay:?}: {detail}");
    assert!(
        delay <= TOLD_WITHIN,
        "{name}: must be told in time, not after {delay:?}"
    );

    let target = stack.control().target(name).await;
    assert_eq!(target["state"], "failed", "{name}: {target}");
    let later = stack.client(name).get("/").send().await;
    assert_eq!(later.status, 503, "{name}: must be refused: {later:?}");
    describe(stack, name, says).await;
    (told, since)
}

/// What the client is told. Panics if it is not told as it should be.
fn detail(reply: &Reply) -> String {
    assert_eq!(reply.status, 503, "{reply:?}");
    let again = reply
        .header("retry-after")
        .and_then(|after| after.parse::<u64>().ok());
    assert!(again.is_some(), "must say when to come back: {reply:?}");
    reply.problem().detail.expect("must say why")
}

/// `kubectl describe` shows people the same words.
async fn describe(stack: &KubeStack, name: &str, says: &[&str]) {
    let kubectl = assets::find_or_skip().unwrap().join("kubectl");
    if !kubectl.is_file() {
        skip("no kubectl beside the API server");
        return;
    }
    eventually(
        &format!("kubectl describe shows why {name} failed"),
        SECOND * 10,
        || async {
            let out = Command::new(&kubectl)
                .arg("--kubeconfig")
                .arg(stack.cluster.admin_kubeconfig())
                .args(["describe", "scaletarget", name])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&out.stdout);
            let (status, events) = text.split_once("Events:").unwrap_or((&text, ""));
            let shows = |part: &str| says.iter().all(|word| part.contains(word));
            out.status.success() && shows(status) && shows(events)
        },
    )
    .await;
}

/// When the API server took in what made an object with label `app: name` satisfy `is`: the write before the first
/// sight of it. A write's time is when the request came in, so it is never later than the truth.
async fn written<K>(stack: &KubeStack, api: Api<K>, name: &str, is: impl Fn(&K) -> bool) -> u64
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let only = if K::kind(&()) == "Pod" {
        watcher::Config::default().labels(&format!("app={name}"))
    } else {
        watcher::Config::default().fields(&format!("metadata.name={name}"))
    };
    let mut events = watcher(api, only).boxed();
    let object = loop {
        match events.next().await.expect("a watch does not end") {
            Ok(Event::Apply(object) | Event::InitApply(object)) if is(&object) => break object,
            _ => {}
        }
    };
    let seen = unix_ms();
    let (plural, name) = (K::plural(&()), object.meta().name.clone());
    eventually("the write is in the audit log", SECOND * 5, || async {
        let audit = stack.cluster.audit();
        let mut writes = audit.requests.iter().rev().filter(|request| {
            request.is_write() && request.resource == plural && Some(&request.name) == name.as_ref()
        });
        let write = writes.find(|request| request.subresource == "status" && request.received_ms <= seen);
        write.map(|write| write.received_ms)
    })
    .await
}

/// Waits until a process of the workload runs.
async fn runs(stack: &KubeStack, name: &str) {
    eventually(&format!("a pod of {name} runs"), SECOND * 20, || async {
        let started = |what: &What| matches!(what, What::Started { .. });
        stack.kubelet.count("default", name, started) > 0
    })
    .await;
}

/// Begins a rollout: only one that is under way has a deadline, for Kubernetes takes what is at zero for complete.
async fn roll(deployments: &Api<Deployment>, name: &str) {
    let version = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    deployments
        .patch(name, &PatchParams::default(), &Patch::Merge(version))
        .await
        .unwrap();
}

fn waits_with(pod: &Pod, reason: &str) -> bool {
    let containers = pod
        .status
        .iter()
        .filter_map(|status| status.container_statuses.as_ref())
        .flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    waiting
        .filter_map(|waiting| waiting.reason.as_deref())
        .any(|there| there == reason)
}

fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|one| one.type_ == "PodScheduled" && one.status == "False")
    })
}

fn has_condition(deployment: &Deployment, kind: &str, status: &str) -> bool {
    let conditions = deployment
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|one| one.type_ == kind && one.status == status)
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
