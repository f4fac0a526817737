//! Two replicas of the control plane behind the real Envoy: the active one is killed, stopped and rolled out while
//! requests are held. Another takes over in time; no request is lost or answered twice, and nothing is put to sleep too
//! early.

mod calls;
mod cut_off;
mod kept;
mod replicas;

use std::time::{Duration, Instant};

use e2e::kube::audit::Request;
use e2e::kube::{KubeStackBuilder, Workload};
use harness::eventually;
use nix::sys::signal::Signal;

use calls::{Load, all_answered, check_arrived_once, hold};
use kept::{Kept, open_poll};
use replicas::{Ha, WITHIN, two_replicas};

/// What machine and harness add to a time that a test measures.
const SLACK: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);
/// Requests that are held at once.
const CALLERS: usize = 20;
/// Until a proxy gives up a report that is not answered (`control_plane.timeout`): the next one goes to the new leader.
/// A poll that is not answered is kept for half a minute.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Handed over so often in a roll-out.
const HANDOVERS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_its_target_starts() {
    let lease = SECOND * 2;
    let web = slow_start("web", "3s");
    let Some(ha) = Ha::start(two_replicas("2s").workload(web)).await else {
        return;
    };
    let (old, next) = ha.pair().await;
    let held = hold(&ha.stack, "web", 0..CALLERS);
    eventually("it is scaled up", WITHIN, || async {
        ha.stack.replicas("web").await == 1
    })
    .await;
    eventually("it is known", WITHIN, || async { ha.count(old, "scaled") == 1 }).await;

    let killed = Instant::now();
    ha.control(old).kill();
    ha.leads(next).await;
    check_in_time(killed, lease);

    all_answered(held).await;
    check_arrived_once(&ha.stack, "web", CALLERS);
    assert_eq!(
        ha.count(next, "ready"),
        1,
        "must be the replica that sees it ready"
    );
    assert_eq!(ha.replicas_set("web"), [0, 1], "must be scaled up once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_it_has_written_anything() {
    let lease = SECOND * 2;
    let Some(ha) = Ha::start(two_replicas("2s").workload(Workload::http("web").idle("30s"))).await else {
        return;
    };
    let (old, next) = ha.pair().await;
    ha.stack.cluster.freeze_api_server();
    let held = hold(&ha.stack, "web", 0..CALLERS);
    eventually("it has heard of the demand", WITHIN, || async {
        ha.count(old, "waking") == 1
    })
    .await;

    let killed = Instant::now();
    ha.control(old).kill();
    ha.stack.cluster.thaw_api_server();
    ha.leads(next).await;
    check_in_time(killed, lease);

    all_answered(held).await;
    check_arrived_once(&ha.stack, "web", CALLERS);
    assert_eq!(ha.replicas_set("web"), [0, 1], "must be scaled up once");
    let writers = ha.writes("scale");
    let expected = [ha.user(next)];
    assert_eq!(
        writers.iter().map(|write| &write.user).collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>(),
        "only the new one must have written"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_is_obeyed_by_no_proxy_and_may_lead_again() {
    let lease = SECOND;
    let web = slow_start("web", "2s").idle("500ms");
    let Some(mut ha) = Ha::start(two_replicas("1s").workload(web)).await else {
        return;
    };
    let (old, next) = ha.pair().await;
    let mut kept = Kept::open(ha.control(old).port());
    let held = hold(&ha.stack, "web", 0..CALLERS);
    eventually("it is scaled up", WITHIN, || async {
        ha.stack.replicas("web").await == 1
    })
    .await;

    // The next news is that it is ready.
    let poll = open_poll(&ha.control(old).client()).await;
    eventually("it is open beside Envoy's", WITHIN, || async {
        ha.control(old).metric("holdfast_open_polls", &[]).await >= 2.0
    })
    .await;

    let stopped = Instant::now();
    ha.control(old).freeze();
    ha.leads(next).await;
    check_in_time(stopped, lease);
    all_answered(held).await;
    println!(
        "all answered {:?} after the stop; the target takes 2 s to start",
        stopped.elapsed()
    );
    assert!(
        stopped.elapsed() < lease + lease / 3 + REPORT_TIMEOUT + SLACK,
        "must not wait for a poll that the stopped one keeps: {:?}",
        stopped.elapsed()
    );
    check_arrived_once(&ha.stack, "web", CALLERS);

    // Asked while it stands still, so it is the first thing that it finds when it goes on.
    kept.ask();
    ha.control(old).thaw();
    kept.check_turned_away();
    assert_eq!(poll.reply().await.status, 503, "its open poll must end");
    eventually("it stands by", WITHIN, || async { ha.count(old, "standby") >= 2 }).await;
    assert_eq!(ha.count(old, "lease_lost"), 1, "must have lost it once");
    assert!(!ha.control(old).is_ready().await, "must not be ready");

    // A whole turn of the target, in which the new one writes all that there is to write.
    ha.control(next).wait_for("web", "asleep").await;
    let reply = ha.stack.client("web").get("/hello?id=20").send().await;
    assert_eq!(reply.status, 200, "must be woken by the new one: {reply:?}");
    let since = ha.last(next, "elected").unix_ms;
    let late: Vec<_> = ha
        .all_writes()
        .into_iter()
        .filter(|write| write.received_ms > since)
        .collect();
    let of = |n: usize| {
        late.iter()
            .filter(|write| write.user == ha.user(n))
            .map(Request::what)
            .collect::<Vec<_>>()
    };
    assert!(
        of(next).contains(&"deployments/scale".to_owned()),
        "the new one must have written: {:?}",
        of(next)
    );
    assert_eq!(
        of(old),
        Vec::<String>::new(),
        "the old one must write nothing any more"
    );

    ha.control(next).kill();
    ha.leads(old).await;
    let reply = ha.stack.client("web").get("/hello?id=21").send().await;
    assert_eq!(
        reply.status, 200,
        "must be answered under the old one's second turn: {reply:?}"
    );
    assert_eq!(ha.count(old, "elected"), 2, "must have been elected anew");
    check_arrived_once(&ha.stack, "web", CALLERS + 2);
    ha.restart(next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_takes_over_puts_nothing_to_sleep_too_early() {
    let lease_ms = 1000;
    let idle = [("short", 800), ("long", 4000)];
    let workloads = idle.map(|(name, ms)| Workload::http(name).idle(&format!("{ms}ms")));
    let builder = workloads
        .into_iter()
        .fold(two_replicas("1s"), KubeStackBuilder::workload);
    let Some(ha) = Ha::start(builder).await else {
        return;
    };
    let (old, next) = ha.pair().await;
    for (name, _) in idle.iter().rev() {
        let reply = ha.stack.client(name).get("/hello").send().await;
        assert_eq!(reply.status, 200, "{name} must be up: {reply:?}");
    }

    ha.control(old).kill();
    ha.leads(next).await;

    for (name, idle_ms) in idle {
        ha.control(next).wait_for(name, "asleep").await;
        let target = format!("default/{name}");
        let drains = ha.events(next, "draining");
        let drain = drains.iter().find(|event| event.target == target);
        let drain = drain.unwrap_or_else(|| panic!("{name} must fall asleep by a drain: {drains:?}"));
        let after = drain.unix_ms - ha.last(next, "elected").unix_ms;
        println!(
            "{name} (idle {idle_ms} ms): its drain began {after} ms after the election, {} ms after it led",
            drain.unix_ms - ha.last(next, "leading").unix_ms
        );
        let earliest = idle_ms.max(2 * lease_ms);
        assert!(
            after >= earliest,
            "{name} must not begin to drain before {earliest} ms: {after} ms"
        );
        assert_eq!(
            ha.replicas_set(name),
            [0, 1, 0],
            "{name} must go up and down once"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_handovers_of_a_roll_out_fail_no_request() {
    let builder = two_replicas("15s")
        .workload(Workload::http("web").idle("60s"))
        .workload(slow_start("nap", "100ms").idle("60s"));
    let Some(mut ha) = Ha::start(builder).await else {
        return;
    };
    all_answered(hold(&ha.stack, "web", 0..1)).await;
    let load = Load::start(ha.stack.client("web"), 1);
    let mut slowest = Duration::ZERO;
    for round in 0..HANDOVERS {
        let (old, next) = ha.pair().await;
        let held = hold(&ha.stack, "nap", round * 5..(round + 1) * 5);
        if round % 2 == 0 {
            eventually("it wakes it", WITHIN, || async {
                ha.stack.replicas("nap").await == 1
            })
            .await;
        }
        let ended = Instant::now();
        ha.control(old).process().signal(Signal::SIGTERM);
        ha.leads(next).await;
        slowest = slowest.max(ended.elapsed());
        all_answered(held).await;
        ha.restart(old).await;
        eventually("it is known to be unused", WITHIN, || async {
            let nap = ha.control(next).target("nap").await;
            nap["idle_ms"].as_u64().is_some_and(|idle| idle >= 300)
        })
        .await;
        // As a person does: by itself it would not within two leases.
        ha.stack.scale("nap", 0).await;
        ha.control(next).wait_for("nap", "asleep").await;
    }
    let (replies, sent) = load.end().await;
    println!(
        "{sent} requests over {HANDOVERS} handovers, the slowest of which took {slowest:?}, by a lease of 15 s"
    );
    assert!(
        slowest < SECOND * 2 + SLACK,
        "must not wait for the lease to run out: {slowest:?}"
    );
    for reply in &replies {
        assert_eq!(reply.status, 200, "no request must fail: {reply:?}");
    }
    check_arrived_once(&ha.stack, "web", sent + 1);
    check_arrived_once(&ha.stack, "nap", HANDOVERS * 5);
}

fn slow_start(name: &str, delay: &str) -> Workload {
    Workload::http(name)
        .idle("30s")
        .upstream(["--start-delay", delay])
}

/// The last renewal is a third of a lease old at most, and a candidate waits for a whole one from when it saw it.
fn check_in_time(since: Instant, lease: Duration) {
    let took = since.elapsed();
    println!("taken over in {took:?}, by a lease of {lease:?}");
    assert!(
        took < lease + lease / 3 + SLACK,
        "must be taken over within the lease: {took:?}"
    );
}
