//! The whole way on one machine: a real API server and controllers, pods as local processes, the real control plane with
//! the rights it ships with, the real Envoy with the real filter, and a mesh that tells Envoy of endpoints too late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::kube::kubelet::What;
use e2e::kube::{KubeStack, Workload};
use futures_util::future::join_all;
use harness::eventually;
use upstream::Event;

const PATIENCE: Duration = Duration::from_secs(30);
/// Cycles with each lag.
const CYCLES: usize = 10;
/// Of them, those whose requests come while the old pod ends; the others come when it is gone.
const EARLY: usize = 7;
/// Requests of one cycle, each on a connection of its own.
const CALLERS: usize = 4;
/// What a mesh's debounce does.
const LAGS: [u64; 3] = [0, 100, 1000];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_cycles_fail_no_request_and_route_none_to_a_pod_that_goes() {
    let web = Workload::http("web")
        .idle("300ms")
        .annotation("term-delay-ms", "400")
        .upstream(["--start-delay", "50ms"]);
    let stack = KubeStack::builder().workload(web).keep_terminating();
    let stack = stack.control(|control| control.args(["--log", "info"])).start();
    let Some(stack) = stack.await else { return };
    let mut met = 0;
    let mut ids = Vec::new();
    for lag in LAGS {
        stack.eds.set_lag(Duration::from_millis(lag));
        let mut added = Vec::new();
        for cycle in 0..CYCLES {
            if !ids.is_empty() {
                met += usize::from(goes_away(&stack, cycle < EARLY).await);
            }
            let from = ids.len();
            ids.extend(from..from + CALLERS);
            added.push(all_answered(&stack, &ids[from..]).await);
        }
        report(lag, added);
    }
    assert!(
        met >= 10,
        "ten wakes at least must meet the old pod, still in Envoy's file: {met}"
    );
    goes_away(&stack, false).await;
    assert_eq!(stack.replicas("web").await, 0, "must be at zero in the end");
    check_requests(&stack, &ids);
    check_writes(&stack);
}

/// Waits until the pod is on its way out, and if not `early` until it is gone. True if it is in Envoy's file now, and
/// has not gone yet.
async fn goes_away(stack: &KubeStack, early: bool) -> bool {
    eventually("a pod is terminating", PATIENCE, || async {
        !stack.kubelet.terminating().is_empty()
    })
    .await;
    if !early {
        stack.gone("web").await;
        return false;
    }
    let old = stack.kubelet.terminating();
    let ips = old.iter().filter_map(|entry| entry.ip);
    ips.into_iter().any(|ip| stack.eds.in_file(ip))
}

/// Sends one request for each id at once. Each must be answered by the workload. Returns the time from the pod's Ready
/// to the first answer.
async fn all_answered(stack: &KubeStack, ids: &[usize]) -> Duration {
    let calls = ids.iter().map(|id| async move {
        let reply = stack.client("web").get(&format!("/hello?id={id}")).send().await;
        (reply, Instant::now())
    });
    let answers = join_all(calls).await;
    for (reply, _) in &answers {
        assert_eq!(reply.status, 200, "must be answered by the workload: {reply:?}");
    }
    let first = answers.iter().map(|(_, at)| *at).min().expect("a request");
    let journal = stack.kubelet.journal_of("default", "web");
    let ready = journal
        .iter()
        .rfind(|entry| entry.what == What::Ready)
        .expect("a pod that was ready");
    first.saturating_duration_since(ready.at)
}

fn report(lag: u64, mut added: Vec<Duration>) {
    added.sort();
    let ms = |at: usize| added[at].as_secs_f64() * 1e3;
    let (least, median, most) = (ms(0), ms(added.len() / 2), ms(added.len() - 1));
    eprintln!(
        "kube_way: endpoints {lag} ms late: from Ready to the first answer {median:.0} ms (median of {}; {least:.0} to {most:.0})",
        added.len()
    );
}

/// Every request arrived once, none at a pod that was being taken away.
fn check_requests(stack: &KubeStack, ids: &[usize]) {
    let journal = stack.journal("web");
    let mut arrived: Vec<usize> = journal
        .requests()
        .iter()
        .filter_map(|request| request.id.as_ref()?.parse().ok())
        .collect();
    arrived.sort_unstable();
    assert_eq!(arrived, ids, "each request must arrive, and once");
    assert!(
        journal.after_sigterm().is_empty(),
        "none must arrive after SIGTERM: {:?}",
        journal.after_sigterm()
    );

    let downs: Vec<u64> = writes(stack)
        .iter()
        .filter(|(replicas, _)| *replicas == 0)
        .map(|(_, sent_ms)| *sent_ms)
        .collect();
    let mut ready_at = BTreeMap::new();
    let mut pids = BTreeMap::new();
    for entry in stack.kubelet.journal_of("default", "web") {
        match entry.what {
            What::Started { pid } => {
                pids.insert(u32::try_from(pid).expect("a pid"), entry.pod);
            }
            What::Ready => {
                ready_at.insert(entry.pod, entry.unix_ms);
            }
            _ => {}
        }
    }
    let mut looked_at = 0;
    for record in &journal.0 {
        let Event::Request(request) = &record.event else {
            continue;
        };
        let pod = &pids[&record.pid];
        let down = downs.iter().find(|down| **down >= ready_at[pod]);
        let down = down.unwrap_or_else(|| panic!("{pod} was never scaled down"));
        assert!(
            record.unix_us / 1000 <= *down,
            "{pod}: began {} ms after its scale-down: {request:?}",
            record.unix_us / 1000 - down
        );
        looked_at += 1;
    }
    assert!(
        looked_at >= ids.len(),
        "must have looked at every request: {looked_at}"
    );
}

/// Replicas were written 0 → 1 and 1 → 0 in turn, nothing else, and nothing twice.
fn check_writes(stack: &KubeStack) {
    let written: Vec<i32> = writes(stack).iter().map(|(replicas, _)| *replicas).collect();
    let cycles = LAGS.len() * CYCLES;
    let expected: Vec<i32> = (0..cycles).flat_map(|_| [1, 0]).collect();
    assert_eq!(written, expected, "up and down in turn, once each");
}

/// What was written, and when each write came in at the API server. No other client scales here, so every successful write
/// in the audit log is one change.
fn writes(stack: &KubeStack) -> Vec<(i32, u64)> {
    let audit = stack.cluster.audit();
    let sent = audit.scale_writes("default", "web");
    // The first is what it was created with.
    let set = &stack.scales.of("default", "web")[1..];
    assert_eq!(
        sent.len(),
        set.len(),
        "every write must have changed something: {sent:?} {set:?}"
    );
    set.iter()
        .zip(sent)
        .map(|(set, sent)| (set.replicas, sent.received_ms))
        .collect()
}
