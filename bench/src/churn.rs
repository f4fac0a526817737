//! `churn`: what a change costs a worker and the relay.

use std::time::Duration;

use anyhow::ensure;
use harness::{Control, Envoy, eventually};

use crate::args::Size;
use crate::calm::Calm;
use crate::envoys::{self, Cpu};
use crate::manual::{self, Person};
use crate::report::Report;
use crate::{host_calls, rounds};

/// Turned on, one after the other, then off again; then the next so many.
const GROUP: usize = 50;
/// From one change to the next: 100 a second.
const GAP: Duration = Duration::from_millis(10);
/// After the last change: the gates' next tick is over.
const LAST: Duration = Duration::from_millis(150);

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let numbers = [size.pick(10_000, 1_000), 100];
    let mut worlds = Vec::new();
    for targets in numbers {
        worlds.push(World::start(dir.path(), targets).await?);
    }
    let changes = size.pick(1_000, 100);
    // Of the few one group is all that there is.
    let variants = [(0, Groups::Next), (1, Groups::First), (0, Groups::First)];
    let mut costs = variants.map(|_| Costs::default());
    for world in &mut worlds {
        // The first changes are on V8's slow path.
        world.change(2 * GROUP, Groups::First).await?;
    }
    let mut calm = Calm::default();
    // Two pairs differ by more than what is looked for.
    for round in 0..2 * size.rounds() {
        calm.look(size);
        for variant in rounds::order(round, variants.len()) {
            let (world, groups) = variants[variant];
            let cpu = worlds[world].change(changes, groups).await?;
            costs[variant].push(cpu, changes);
        }
    }

    let [many, few, same] = &costs;
    let of_many = format!("{} targets", numbers[0]);
    let of_few = format!("{} targets", numbers[1]);
    let of_same = format!("the same {GROUP} of {} targets", numbers[0]);
    for (costs, targets) in [(many, &of_many), (same, &of_same), (few, &of_few)] {
        let per = |what: &str| format!("{what}, CPU for a change, {targets}");
        report.figure(per("a worker"), US, &costs.worker);
        report.figure(per("the main thread, with the relay"), US, &costs.relay);
    }
    for (many, targets) in [(many, of_many), (same, of_same)] {
        let of = |what: &str| format!("{what}: {targets} to {}, pair by pair", numbers[1]);
        for (what, many, few) in [
            ("a worker", &many.worker, &few.worker),
            ("the relay", &many.relay, &few.relay),
        ] {
            let ratio = report.ratio(of(what), many, few);
            report.at_most(of(what), 1.1, "ratio", ratio.median);
        }
    }
    count(report, numbers)?;
    calm.report(report);
    report.note(format!(
        "{changes} changes in each round, 100 a second: groups of {GROUP} targets are turned on one by one, then off one by one; \
         where it says so, always the same group. The CPU for a change includes the ticks of the time it took."
    ));
    Ok(())
}

/// What does not depend on the machine.
fn count(report: &mut Report, [many, few]: [usize; 2]) -> anyhow::Result<()> {
    let [of_many, of_few] = [host_calls::of_a_change(many)?, host_calls::of_a_change(few)?];
    for (what, unit, at_many, at_few) in [
        ("host calls", "calls", of_many.calls, of_few.calls),
        ("shared data", "bytes", of_many.bytes, of_few.bytes),
    ] {
        for (targets, counted) in [(many, at_many), (few, at_few)] {
            let what = format!("{what} of a change, a gate and the relay, {targets} targets");
            report.figure(what, unit, &[counted]);
        }
        let ratio = at_many / at_few;
        report.at_most(
            format!("{what} of a change: {many} targets to {few}"),
            1.05,
            "ratio",
            ratio,
        );
    }
    Ok(())
}

const US: &str = "µs";

/// Which targets change.
#[derive(Clone, Copy)]
enum Groups {
    /// One group after the other.
    Next,
    /// The first, again and again.
    First,
}

/// A control plane and an Envoy.
struct World {
    control: Control,
    envoy: Envoy,
    person: Person,
    targets: usize,
    /// How many changes there were.
    done: usize,
}

impl World {
    async fn start(dir: &std::path::Path, targets: usize) -> anyhow::Result<Self> {
        let control = manual::start(dir, targets).await;
        let envoy = envoys::with_filter(&control, dir, &format!("envoy-{targets}"), targets).await;
        let person = Person::of(&control).await?;
        Ok(Self {
            control,
            envoy,
            person,
            targets,
            done: 0,
        })
    }

    /// So many changes, 100 a second, until every gate has applied them. Returns the CPU that it took.
    async fn change(&mut self, changes: usize, groups: Groups) -> anyhow::Result<Cpu> {
        ensure!(
            changes.is_multiple_of(2 * GROUP),
            "what is turned on must be turned off"
        );
        self.applied().await;
        let before = Cpu::of(&self.envoy);
        let mut ticks = tokio::time::interval(GAP);
        for _ in 0..changes {
            ticks.tick().await;
            let target = self.next(groups);
            self.person.toggle(target).await?;
        }
        tokio::time::sleep(LAST).await;
        let cpu = Cpu::of(&self.envoy).since(before);
        self.applied().await;
        let taken = self.envoy.stat("wasmcustom.holdfast.targets_ready").await;
        ensure!(taken == 0, "all must be off again: {taken} are on");
        Ok(cpu)
    }

    /// The target that changes next: the groups lie all over the targets.
    fn next(&mut self, which: Groups) -> usize {
        let groups = (self.targets - 1) / GROUP;
        let groups = groups.max(1);
        let group = match which {
            Groups::Next => self.done / (2 * GROUP) % groups,
            Groups::First => 0,
        };
        let place = self.done % GROUP;
        self.done += 1;
        group + place * groups
    }

    /// Waits until the control plane has heard that every gate has applied every change.
    async fn applied(&self) {
        let off = self.done / (2 * GROUP) * GROUP;
        let on = self.done - off;
        // The first publication has all targets. A target that is turned on is waking for no time, and then ready.
        let newest = 1 + 2 * on + off;
        let client = self.control.client();
        eventually(
            "every gate has applied every change",
            Duration::from_secs(10),
            || async {
                let reply = client.get("/v1/proxies").send().await.json();
                reply["proxies"][0]["applied"] == newest
            },
        )
        .await;
    }
}

/// Of each round, for one change, in µs.
#[derive(Default)]
struct Costs {
    worker: Vec<f64>,
    relay: Vec<f64>,
}

impl Costs {
    fn push(&mut self, cpu: Cpu, changes: usize) {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / changes as f64;
        self.worker.push(each(cpu.workers) / 2.0);
        self.relay.push(each(cpu.main));
    }
}
