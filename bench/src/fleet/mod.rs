//! `fleet`: the control plane with many targets and many proxies.

mod judge;
mod proxy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use harness::Control;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::args::Size;
use crate::manual::{self, Person};
use crate::report::Report;
use crate::{proc, spread};
use judge::Judge;
use proxy::{Proxy, Synced};

/// From the last proxy told to the next change: all of them poll again.
const PAUSE: Duration = Duration::from_millis(40);
/// The control plane's default.
const HEARTBEAT: Duration = Duration::from_secs(5);
const MIB: f64 = 1024.0 * 1024.0;

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let targets = size.pick(10_000, 500);
    let proxies = size.pick(200, 20);
    let control = manual::start(dir.path(), targets).await;
    let pid = control.process().pid();
    let alone = proc::resident(pid);
    let mut judge = join(&control, targets, proxies, report).await?;
    let snapshots = proc::resident_peak(pid);
    // Reports of the join, and the control plane's own digestion of it.
    tokio::time::sleep(size.pick(Duration::from_secs(2), Duration::from_millis(100))).await;

    let mut person = Person::of(&control).await?;
    let mut unused = 0..targets - 1;
    let (mut idle, mut single, mut busy, mut many, mut answers) = (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..size.rounds() {
        // Until every proxy has reported what it has applied, something happens.
        tokio::time::sleep(size.pick(Duration::from_millis(1_500), Duration::from_millis(100))).await;
        let heard = control.metric("holdfast_reports_total", &[]).await;
        let period = size.pick(Duration::from_secs(10), Duration::from_millis(500));
        idle.push(idle_cpu(pid, period).await);
        let heartbeats = control.metric("holdfast_reports_total", &[]).await - heard;
        let due = proxies as u64 * (period.as_secs() / HEARTBEAT.as_secs());
        ensure!(
            heartbeats >= due as f64,
            "{heartbeats} heartbeats of {due} in {period:?}"
        );

        for target in unused.by_ref().take(size.pick(40, 5)) {
            judge.expect(target, Instant::now());
            person.toggle(target).await?;
            single.extend(judge.settle().await?.lags);
            tokio::time::sleep(PAUSE).await;
        }

        let load: Vec<usize> = unused.by_ref().take(size.pick(1_000, 50)).collect();
        let (cpu, begun) = (proc::cpu(pid), Instant::now());
        hundred_a_second(&mut judge, &mut person, &load).await?;
        let verdict = judge.settle().await?;
        busy.push(percent(proc::cpu(pid) - cpu, begun.elapsed()));
        ensure!(verdict.lags.len() == load.len(), "every change must be told");
        answers.push(verdict.answers as f64 / load.len() as f64);
        many.extend(verdict.lags);
    }

    let what = format!("one change, {proxies} proxies");
    report.at_most(
        format!("{what}: from its request to the last proxy told, 99th percentile"),
        50.0,
        "ms",
        spread::percentile(&single, 0.99),
    );
    let resident = proc::resident(pid) as f64 / MIB;
    let peak = proc::resident_peak(pid) as f64 / MIB;
    report.at_most(
        format!("memory of the control plane after all of this, {targets} targets"),
        100.0,
        "MiB",
        resident,
    );
    report.at_most("the most memory that it had", 100.0, "MiB", peak);
    let idle = report.figure("its CPU while nothing happens", "% of a core", &idle);
    report.at_most("its CPU while nothing happens", 1.0, "% of a core", idle.median);
    report.figure(what, "ms", &single);
    report.figure("its CPU at 100 changes a second", "% of a core", &busy);
    report.figure(
        "100 changes a second: from a change's request to the last proxy told",
        "ms",
        &many,
    );
    report.figure(
        "the same, 99th percentile",
        "ms",
        &[spread::percentile(&many, 0.99)],
    );
    report.figure("answers to polls for each of them", "answers", &answers);
    report.figure("memory before the first proxy", "MiB", &[alone as f64 / MIB]);
    report.figure(
        "most memory up to the last first snapshot",
        "MiB",
        &[snapshots as f64 / MIB],
    );
    report.note(format!(
        "A change turns one target on (`POST /set-scaled-to-zero`), each another one: {} alone, {} at 100 a second. \
         The load program runs on the same cores as the control plane.",
        single.len(),
        many.len()
    ));
    Ok(())
}

/// All proxies join: the first alone, then all others at once.
async fn join(
    control: &Control,
    targets: usize,
    proxies: usize,
    report: &mut Report,
) -> anyhow::Result<Judge> {
    let port = control.port();
    let (told, inbox) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let first = Proxy::connect(port, 0).await?.sync_first().await?;
    report.figure("first snapshot of the first proxy", "ms", &[ms(begun.elapsed())]);
    let (first, snapshot, response) = first;
    ensure!(
        response.targets.len() == targets,
        "a snapshot must have every target"
    );

    let response = Arc::new(response);
    let mut waiting = Vec::new();
    for number in 1..proxies {
        waiting.push(Proxy::connect(port, number).await?);
    }
    let begun = Instant::now();
    let mut syncs = JoinSet::new();
    for proxy in waiting {
        let (snapshot, response) = (snapshot.clone(), Arc::clone(&response));
        syncs.spawn(async move { proxy.sync_like(&snapshot, &response).await });
    }
    let mut synced: Vec<Synced> = vec![first];
    while let Some(one) = syncs.join_next().await {
        synced.push(one??);
    }
    report.figure(
        format!(
            "first snapshots of {} more at once, {} bytes each",
            proxies - 1,
            snapshot.len()
        ),
        "ms",
        &[ms(begun.elapsed())],
    );
    let running = synced.into_iter().map(|one| one.run(told.clone())).collect();
    Ok(Judge::new(inbox, running))
}

async fn idle_cpu(pid: i32, period: Duration) -> f64 {
    let (cpu, begun) = (proc::cpu(pid), Instant::now());
    tokio::time::sleep(period).await;
    percent(proc::cpu(pid) - cpu, begun.elapsed())
}

/// One change every 10 ms, whether the one before has been told or not. A change counts from when it was due.
async fn hundred_a_second(judge: &mut Judge, person: &mut Person, targets: &[usize]) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    for target in targets {
        let due = ticks.tick().await;
        judge.expect(*target, due.into_std());
        person.toggle(*target).await?;
        judge.take_in()?;
    }
    Ok(())
}

fn percent(cpu: Duration, of: Duration) -> f64 {
    100.0 * cpu.as_secs_f64() / of.as_secs_f64()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
