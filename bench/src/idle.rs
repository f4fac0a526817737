//! `idle`: one Envoy that knows many targets and has no traffic.

use std::time::{Duration, Instant};

use harness::Envoy;

use crate::args::Size;
use crate::calm::Calm;
use crate::envoys::{self, Cpu};
use crate::report::Report;
use crate::{manual, proc, rounds};

/// How long the relay lets a poll wait, and how often it reports when there is nothing new (the control plane's default).
const POLL: Duration = Duration::from_secs(25);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The most that Holdfast may add to what Envoy takes by itself.
const ADDED_MAX: f64 = 0.25;

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let targets = size.pick(10_000, 500);
    let control = manual::start(dir.path(), targets).await;
    let ours = envoys::with_filter(&control, dir.path(), "ours", targets).await;
    let plain = envoys::without_filter(&control, dir.path(), "plain").await;
    // The first reports, and V8's compilation in the background, are no part of what comes then.
    tokio::time::sleep(size.pick(Duration::from_secs(8), Duration::from_millis(500))).await;

    let period = size.pick(Duration::from_secs(20), Duration::from_secs(1));
    let before = Calls::of(&ours).await;
    let begun = Instant::now();
    let mut shares = [Shares::default(), Shares::default()];
    let mut calm = Calm::default();
    for round in 0..size.rounds() {
        let envoys = [&ours, &plain];
        // What the machine is like in this round, before any program is looked at.
        calm.look(size);
        let mut before = [None, None];
        // Both are idle at the same time: what else the machine does, it does to both.
        for variant in rounds::order(round, 2) {
            before[variant] = Some(Looked::at(envoys[variant]));
        }
        tokio::time::sleep(period).await;
        for variant in rounds::order(round, 2) {
            let before = before[variant].take().expect("looked at in the same order");
            shares[variant].push(&before, &Looked::at(envoys[variant]));
        }
    }
    let after = Calls::of(&ours).await;
    let seconds = begun.elapsed().as_secs_f64();

    let [ours_share, plain_share] = &shares;
    // Both were idle at the same time on the same machine, so what they differ by is Holdfast's.
    let added: Vec<f64> = ours_share
        .all
        .iter()
        .zip(&plain_share.all)
        .map(|(ours, plain)| ours - plain)
        .collect();
    let added = report.figure("what Holdfast adds", CORE, &added);
    report.at_most(
        format!("CPU that Holdfast adds to an idle Envoy, {targets} targets"),
        ADDED_MAX,
        CORE,
        added.median,
    );
    report.figure("Envoy with Holdfast", CORE, &ours_share.all);
    at_most_due(report, "polls begun", after.syncs - before.syncs, seconds, POLL);
    at_most_due(
        report,
        "heartbeats",
        after.reports - before.reports,
        seconds,
        HEARTBEAT,
    );
    report.at_most("polls open at a time", 1.0, "polls", after.active as f64);
    report.figure("its main thread, with the relay", CORE, &ours_share.main);
    report.figure("its two workers together", CORE, &ours_share.workers);
    report.figure("Envoy without any filter", CORE, &plain_share.all);
    report.figure("its main thread", CORE, &plain_share.main);
    report.figure("its two workers together", CORE, &plain_share.workers);
    report.figure(
        "Envoy with Holdfast, how often a thread woke up",
        "wake-ups/s",
        &ours_share.wakeups,
    );
    report.figure(
        "Envoy without any filter, how often a thread woke up",
        "wake-ups/s",
        &plain_share.wakeups,
    );
    calm.report(report);
    Ok(())
}

const CORE: &str = "% of a core";

/// What an Envoy took up to a moment.
struct Looked {
    cpu: Cpu,
    wakeups: u64,
    at: Instant,
}

impl Looked {
    fn at(envoy: &Envoy) -> Self {
        Self {
            cpu: Cpu::of(envoy),
            wakeups: proc::wakeups(envoy.process().pid()),
            at: Instant::now(),
        }
    }
}

/// Of each round: in percent of a core, and wake-ups in a second.
#[derive(Default)]
struct Shares {
    all: Vec<f64>,
    main: Vec<f64>,
    workers: Vec<f64>,
    wakeups: Vec<f64>,
}

impl Shares {
    fn push(&mut self, before: &Looked, after: &Looked) {
        let seconds = (after.at - before.at).as_secs_f64();
        let percent = |cpu: Duration| 100.0 * cpu.as_secs_f64() / seconds;
        let cpu = after.cpu.since(before.cpu);
        self.all.push(percent(cpu.all));
        self.main.push(percent(cpu.main));
        self.workers.push(percent(cpu.workers));
        self.wakeups
            .push((after.wakeups - before.wakeups) as f64 / seconds);
    }
}

/// Calls to the control plane so far.
struct Calls {
    /// Answered.
    syncs: u64,
    /// Answered.
    reports: u64,
    /// On their way now.
    active: u64,
}

impl Calls {
    async fn of(envoy: &Envoy) -> Self {
        let requests = envoy.stat("cluster.holdfast.upstream_rq_total").await;
        let syncs = envoy.stat("wasmcustom.holdfast.syncs_total.outcome=ok").await;
        let reports = envoy.stat("wasmcustom.holdfast.reports_total.outcome=ok").await;
        let active = envoy.stat("cluster.holdfast.upstream_rq_active").await;
        assert_eq!(
            requests,
            syncs + reports + active,
            "every call must be a sync or a report that is answered"
        );
        assert!(syncs > 0 && reports > 0, "must have synced and reported");
        Self {
            syncs,
            reports,
            active,
        }
    }
}

/// One at the beginning of the time that was looked at, and one for each period since.
fn at_most_due(report: &mut Report, what: &str, calls: u64, seconds: f64, every: Duration) {
    let due = (seconds / every.as_secs_f64()).floor() + 1.0;
    let what = format!("{what} in {seconds:.0} s: one for each {} s", every.as_secs());
    report.at_most(what, due, "calls", calls as f64);
}
