//! What facts of a workload and its endpoints amount to.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::failure::Kind;
use crate::observe::ReplicasAt;
use fleet::lifecycle::FailureClass;

const GRACE: Duration = Duration::from_secs(30);

#[test]
fn what_keeps_a_container_from_starting_is_told_with_pod_and_container() {
    let check = |reason: &str, message: &str, kind: Kind, wanted: &str| {
        let pod = mk_pod("a", &[waiting("app", reason, message)]);
        let failure = PodFacts::reduce(&pod).failure.expect(reason);
        assert_eq!(failure.kind, kind, "must know the kind of {reason}");
        assert_eq!(failure.for_life().reason, failure.reason, "must be told as it is");
        assert_eq!(failure.reason, wanted, "must tell {reason} to people");
    };
    let pulled = "Pod a: container app: image reg.example/app:1 cannot be pulled";
    check(
        "ImagePullBackOff",
        "Back-off pulling image \"reg.example/app:1\"",
        Kind::Image,
        pulled,
    );
    check(
        "ErrImagePull",
        "rpc error: code = NotFound desc = failed to pull: reg.example/app:1: not found",
        Kind::Image,
        &format!("{pulled}: not found"),
    );
    check(
        "InvalidImageName",
        "x",
        Kind::Image,
        &format!("{pulled}: its name is not valid"),
    );
    check(
        "ErrImageNeverPull",
        "x",
        Kind::Image,
        &format!("{pulled}: it is not on the node, and its pull policy is Never"),
    );
    check(
        "RegistryUnavailable",
        "x",
        Kind::Image,
        &format!("{pulled}: its registry cannot be reached"),
    );
    check(
        "CreateContainerConfigError",
        "secret \"db\" not found",
        Kind::Create,
        "Pod a: container app: cannot be created: secret \"db\" not found",
    );
    check(
        "RunContainerError",
        "exec: \"nope\": not found",
        Kind::Create,
        "Pod a: container app: cannot be started: exec: \"nope\": not found",
    );
}

#[test]
fn clients_are_told_the_class_alone() {
    use FailureClass::{Command, Config, Crash, Image};
    let no_file = "failed to create containerd task: OCI runtime create failed: exec: \"nope\": executable file not found in $PATH";
    let no_mount = "OCI runtime create failed: error mounting \"/a\" to rootfs at \"/b\": not a directory";
    for (reason, message, class) in [
        ("ErrImagePull", "exec: x", Image),
        ("ImagePullBackOff", "", Image),
        ("InvalidImageName", "", Image),
        ("ErrImageNeverPull", "", Image),
        ("RegistryUnavailable", "", Image),
        ("ImageInspectError", "", Image),
        ("SignatureValidationFailed", "", Image),
        (
            "CreateContainerConfigError",
            "secret \"exec: db\" not found",
            Config,
        ),
        ("CreateContainerError", no_mount, Config),
        ("CreateContainerError", no_file, Command),
        ("PreCreateHookError", "", Config),
        ("RunContainerError", no_mount, Config),
        ("RunContainerError", no_file, Command),
        ("StartError", "crun: open executable: Permission denied", Command),
        ("PreStartHookError", "exec: x", Crash),
        ("PostStartHookError", "", Crash),
        ("CrashLoopBackOff", "back-off 10s", Crash),
    ] {
        let pod = mk_pod("a", &[waiting("app", reason, message)]);
        let failure = PodFacts::reduce(&pod).failure.expect(reason).for_life();
        assert_eq!(failure.class, class, "must be the class of {reason}: {message}");
    }
    for (ended, message, class) in [
        ("Error", no_file, Crash),
        ("OOMKilled", "", Crash),
        ("StartError", no_file, Command),
        ("ContainerCannotRun", no_mount, Config),
    ] {
        let mut container = waiting("app", "CrashLoopBackOff", "back-off 10s");
        container["lastState"] =
            json!({"terminated": {"exitCode": 128, "reason": ended, "message": message}});
        let failure = PodFacts::reduce(&mk_pod("a", &[container])).failure.unwrap();
        assert_eq!(failure.class, class, "must be the class of a crash by {ended}");
    }
}

#[test]
fn every_kind_has_a_class() {
    for (kind, class) in [
        (Kind::KindNotScalable, FailureClass::NotFound),
        (Kind::WorkloadNotFound, FailureClass::NotFound),
        (Kind::Refused, FailureClass::ScaleRefused),
        (Kind::Unreachable, FailureClass::Unreachable),
        (Kind::NoPods, FailureClass::Quota),
        (Kind::Image, FailureClass::Image),
        (Kind::Create, FailureClass::Config),
        (Kind::CrashLoop, FailureClass::Crash),
        (Kind::Unschedulable, FailureClass::Unschedulable),
        (Kind::Deadline, FailureClass::Progress),
    ] {
        assert_eq!(
            Failure::new(kind, "x").for_life().class,
            class,
            "must be the class of {kind:?}"
        );
    }
}

#[test]
fn what_passes_is_no_failure() {
    for reason in ["ContainerCreating", "PodInitializing", ""] {
        let pod = mk_pod("a", &[waiting("app", reason, "")]);
        assert_eq!(
            PodFacts::reduce(&pod).failure,
            None,
            "must not fail for {reason:?}"
        );
    }
    let running = json!({"name": "app", "image": "i", "imageID": "", "ready": false, "restartCount": 4,
        "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1}}});
    let pod = mk_pod("a", &[running]);
    assert_eq!(
        PodFacts::reduce(&pod).failure,
        None,
        "must not fail while it runs"
    );
}

#[test]
fn a_crash_loop_tells_how_it_ends_and_not_what_it_says() {
    let check = |terminated: Value, wanted: &str| {
        let mut container = waiting("app", "CrashLoopBackOff", "back-off 10s");
        container["restartCount"] = json!(3);
        container["lastState"] = json!({ "terminated": terminated });
        let failure = PodFacts::reduce(&mk_pod("a", &[container])).failure.unwrap();
        assert_eq!(failure.kind, Kind::CrashLoop, "must be a crash loop");
        let wanted = format!("Pod a: container app: it ends again and again: {wanted}, 3 restarts");
        assert_eq!(failure.reason, wanted, "must tell how it ends, and no more");
    };
    check(
        json!({"exitCode": 2, "reason": "Error", "message": "password is hunter2"}),
        "exit code 2",
    );
    check(
        json!({"exitCode": 137, "reason": "OOMKilled"}),
        "OOMKilled (exit code 137)",
    );
    check(json!({"exitCode": 0, "reason": "Completed"}), "exit code 0");
    check(json!({"exitCode": 139, "signal": 11}), "signal 11");
}

#[test]
fn init_containers_count() {
    let mut pod = mk_pod("a", &[waiting("app", "PodInitializing", "")]);
    let init = serde_json::from_value(waiting("migrate", "CreateContainerError", "no such volume")).unwrap();
    pod.status.as_mut().unwrap().init_container_statuses = Some(vec![init]);
    let failure = PodFacts::reduce(&pod).failure.unwrap();
    assert!(
        failure.reason.contains("container migrate"),
        "must name the init container"
    );
}

#[test]
fn a_pod_that_no_node_takes_fails_after_the_grace() {
    let facts = unschedulable("a", "2026-01-01T00:00:10Z");
    let check = |now: &str| of_workload(&mk_workload(&json!({})), &[&facts], at(now), GRACE);
    let early = check("2026-01-01T00:00:39Z");
    assert_eq!(early.failure, None, "must not fail within the grace");
    assert_eq!(
        early.look_again,
        Some(at("2026-01-01T00:00:40Z")),
        "must say when to look again"
    );
    let late = check("2026-01-01T00:00:40Z");
    let reason = late.failure.unwrap().reason;
    assert_eq!(
        reason, "Pod a: no node takes it: 0/3 nodes are available",
        "must say why"
    );
    assert_eq!(late.look_again, None, "must not look again for it");
}

#[test]
fn a_workload_fails_only_if_no_pod_may_come_up() {
    let bad = |name| PodFacts::reduce(&mk_pod(name, &[waiting("app", "ErrImagePull", "")]));
    let good = PodFacts::reduce(&mk_pod("c", &[waiting("app", "ContainerCreating", "")]));
    assert_eq!(
        judge(&[&bad("a"), &good]),
        None,
        "must not fail while one may come up"
    );
    assert!(
        judge(&[&bad("b"), &bad("a")]).unwrap().starts_with("Pod a:"),
        "must name the first of several"
    );
    let late = unschedulable("d", "2026-01-01T00:00:00Z");
    assert_eq!(
        judge(&[&bad("a"), &late]),
        None,
        "must not fail within the grace of another"
    );
    let long = unschedulable("d", "2025-01-01T00:00:00Z");
    assert!(
        judge(&[&long, &bad("a")]).unwrap().contains("image"),
        "must tell the image before the nodes"
    );
    assert_eq!(judge(&[]), None, "must not fail without Pods");
}

#[test]
fn pods_that_are_leaving_or_of_another_template_do_not_count() {
    let bad = |change: fn(&mut PodFacts)| {
        let mut facts = PodFacts::reduce(&mk_pod("a", &[waiting("app", "ErrImagePull", "")]));
        change(&mut facts);
        facts
    };
    assert!(judge(&[&bad(|_| {})]).is_some(), "must fail as it is");
    assert_eq!(
        judge(&[&bad(|pod| pod.terminating = true)]),
        None,
        "must not count what terminates"
    );
    assert_eq!(
        judge(&[&bad(|pod| pod.finished = true)]),
        None,
        "must not count what has ended"
    );
    let mut newer = PodFacts::reduce(&mk_pod("b", &[waiting("app", "ContainerCreating", "")]));
    newer.created = Some(at("2026-01-01T00:00:05Z"));
    newer.template.1 = "h2".to_owned();
    assert_eq!(
        judge(&[&bad(|_| {}), &newer]),
        None,
        "must not count the older template"
    );
    newer.terminating = true;
    assert!(
        judge(&[&bad(|_| {}), &newer]).is_some(),
        "must go by what is there to stay"
    );
}

#[test]
fn a_quota_is_told_while_there_is_no_pod() {
    let condition = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"web-1-x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"});
    let told = |status: Value| mk_workload(&status).failure;
    let failure = told(json!({"observedGeneration": 2, "conditions": [condition]})).unwrap();
    assert_eq!(failure.kind, Kind::NoPods, "must know the kind");
    assert_eq!(failure.class, FailureClass::Quota, "must know a quota");
    let policy = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"web-1-x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true"});
    let class = told(json!({"observedGeneration": 2, "conditions": [policy]})).map(|failure| failure.class);
    assert_eq!(class, Some(FailureClass::ScaleRefused), "must know a policy");
    let wanted = "no Pod can be created: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0";
    assert_eq!(failure.reason, wanted, "must give the quota's words");
    let some = told(json!({"observedGeneration": 2, "replicas": 1, "conditions": [condition]}));
    assert_eq!(some, None, "must not fail while one Pod is there");
    let stale = told(json!({"observedGeneration": 1, "conditions": [condition]}));
    assert_eq!(stale, None, "must not take what was said of an older spec");
    let deleting = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedDelete"});
    assert_eq!(
        told(json!({"conditions": [deleting]})),
        None,
        "must not care about deletions"
    );
}

#[test]
fn the_progress_deadline_is_told_last() {
    let condition = json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "ReplicaSet \"web-1\" has timed out progressing."});
    let workload = mk_workload(&json!({"observedGeneration": 2, "replicas": 1, "conditions": [condition]}));
    let crash = PodFacts::reduce(&mk_pod("a", &[waiting("app", "CrashLoopBackOff", "")]));
    let told = |pods: &[&PodFacts]| of_workload(&workload, pods, at("2026-01-01T00:01:00Z"), GRACE).failure;
    assert_eq!(
        told(&[]).unwrap().kind,
        Kind::Deadline,
        "must tell it where nothing else is known"
    );
    assert_eq!(
        told(&[&crash]).unwrap().kind,
        Kind::CrashLoop,
        "must tell the cause instead"
    );
    let moving = json!({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"});
    assert_eq!(
        mk_workload(&json!({"conditions": [moving]})).failure,
        None,
        "must not fail while it moves"
    );
}

fn judge(pods: &[&PodFacts]) -> Option<String> {
    let workload = mk_workload(&json!({}));
    let verdict = of_workload(&workload, pods, at("2026-01-01T00:00:20Z"), GRACE);
    verdict.failure.map(|failure| failure.reason)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn mk_workload(status: &Value) -> Workload {
    let object =
        json!({"metadata": {"name": "web", "uid": "u", "generation": 2}, "spec": {}, "status": status});
    Workload::reduce(&serde_json::from_value(object).unwrap(), ReplicasAt::Spec)
}

fn mk_pod(name: &str, containers: &[Value]) -> Pod {
    let pod = json!({
        "metadata": {
            "name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"pod-template-hash": "h1"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}],
        },
        "spec": {"containers": [{"name": "app", "image": "reg.example/app:1"}]},
        "status": {"phase": "Pending", "containerStatuses": containers},
    });
    serde_json::from_value(pod).unwrap()
}

fn unschedulable(name: &str, since: &str) -> PodFacts {
    let mut pod = mk_pod(name, &[]);
    let condition = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "lastTransitionTime": since, "message": "0/3 nodes are available"}]);
    pod.status.as_mut().unwrap().conditions = serde_json::from_value(condition).unwrap();
    PodFacts::reduce(&pod)
}

fn waiting(name: &str, reason: &str, message: &str) -> Value {
    json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}}})
}
