//! A thousand targets: what the control plane asks of the API server at its start, in the steady state and for one wake,
//! and how much memory it takes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use e2e::kube::audit::Request;
use e2e::kube::{ACCOUNT, Audit, KubeStack, NAMESPACE, Workload};
use harness::{Control, eventually, holds_for};

/// Beside the one that is woken.
const OTHERS: usize = 999;
/// Of the status of each, after the start: fifty a second.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
const STEADY: Duration = Duration::from_secs(10);
/// Resident, in MiB. Measured: below half of it.
const MEMORY: u64 = 128;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_targets_cost_a_start_and_then_nothing_but_watches() {
    let stack = KubeStack::builder()
        .workload(Workload::http("web").idle("1h"))
        .apply(&others())
        // Where it is not installed it is looked for every 30 s.
        .gateway_api()
        // As it ships: what is renewed every third of a second would hide what else is asked.
        .lease("15s")
        .heartbeat("5s")
        .start();
    let Some(stack) = stack.await else { return };
    let leader = stack.leader().await;
    let mut audit = stack.cluster.audit();

    eventually("every target has its status", TOLD_WITHIN, || async {
        leader
            .metric("holdfast_status_writes_total", &["outcome=\"ok\""])
            .await
            >= (OTHERS + 1) as f64
            && leader.metric("holdfast_status_writes_waiting", &[]).await == 0.0
    })
    .await;
    audit.read();
    let start = count(requests(&audit, 0));
    let ready_in = ready_in(&audit, leader);
    report(&format!("start, published in {ready_in} ms"), &start, leader);
    assert_eq!(
        start.get("patch scaletargets/status"),
        Some(&(OTHERS + 1)),
        "each status must be written once; more often: {:#?}",
        written_again(&audit)
    );
    for (what, times) in &start {
        assert!(
            *times <= 20 || what == "patch scaletargets/status",
            "nothing else must be asked for each target: {what} {times} times"
        );
    }

    let known = audit.requests.len();
    holds_for("nothing waits to be written", STEADY, || async {
        leader.metric("holdfast_status_writes_waiting", &[]).await == 0.0
    })
    .await;
    audit.read();
    let steady = count(requests(&audit, known));
    report("steady state, 10 s", &steady, leader);
    let other: Vec<_> = steady
        .keys()
        .filter(|what| !what.starts_with("watch ") && !what.ends_with(" leases"))
        .collect();
    assert!(other.is_empty(), "nothing but watches and the lease: {other:?}");
    assert!(
        steady.values().sum::<usize>() < 30,
        "what is asked must not grow with the targets: {steady:?}"
    );

    let known = audit.requests.len();
    let reply = stack.client("web").get("/").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let held = reply.held().expect("it must have been held");
    eventually("its status is written", TOLD_WITHIN, || async {
        stack.scale_target("web").await["status"]["state"] == "Ready"
    })
    .await;
    audit.read();
    let wake = count(requests(&audit, known));
    report(&format!("one wake, held for {held:?}"), &wake, leader);
    assert_eq!(
        wake.get("update deployments/scale"),
        Some(&1),
        "must be scaled once"
    );
    assert!(
        wake.values().sum::<usize>() < 40,
        "one wake must not stir the others: {wake:?}"
    );

    assert!(
        memory(leader, "VmHWM") < MEMORY,
        "must not take more than {MEMORY} MiB at its peak"
    );
}

/// Deployments at zero, each with a Service and a target. The Services have no addresses of their own.
fn others() -> String {
    let mut yaml = String::new();
    for n in 0..OTHERS {
        let name = format!("n{n:03}");
        write!(
            yaml,
            "---
{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 0, selector: {{matchLabels: {{app: {name}}}}},
  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: main, image: upstream}}]}}}}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: None, selector: {{app: {name}}}, ports: [{{port: 80}}]}}}}
---
{{apiVersion: holdfast.dev/v1alpha1, kind: ScaleTarget, metadata: {{name: {name}}},
  spec: {{workload: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}, service: {{name: {name}}}}}}}
"
        )
        .unwrap();
    }
    yaml
}

/// The control plane's own requests, from the `known`th on.
fn requests(audit: &Audit, known: usize) -> impl Iterator<Item = &Request> {
    let user = format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}");
    audit.requests[known..]
        .iter()
        .filter(move |request| request.user == user)
}

/// Writes of statuses that had been written before.
fn written_again(audit: &Audit) -> Vec<&Request> {
    let mut seen = std::collections::BTreeSet::new();
    requests(audit, 0)
        .filter(|request| request.verb == "patch" && request.subresource == "status")
        .filter(|request| !seen.insert(&request.name))
        .collect()
}

/// From the first request to the last target published, in ms.
fn ready_in(audit: &Audit, leader: &Control) -> u64 {
    let began = requests(audit, 0).map(|request| request.received_ms).min();
    let published = leader.events().seen.into_iter();
    let published = published.filter(|event| event.event == "published");
    published.map(|event| event.unix_ms).max().unwrap() - began.unwrap()
}

fn count<'a>(requests: impl Iterator<Item = &'a Request>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts
            .entry(format!("{} {}", request.verb, request.what()))
            .or_default() += 1;
    }
    counts
}

/// Said whether or not the test fails: it is what is quoted.
fn report(phase: &str, counts: &BTreeMap<String, usize>, control: &Control) {
    let sum: usize = counts.values().sum();
    let (now, peak) = (memory(control, "VmRSS"), memory(control, "VmHWM"));
    println!("{phase}: {sum} requests {counts:?}; memory {now} MiB, at its peak {peak} MiB");
}

/// A line of the process's status, in MiB.
fn memory(control: &Control, field: &str) -> u64 {
    let path = format!("/proc/{}/status", control.process().pid());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib.div_ceil(1024)
}
