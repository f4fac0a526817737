//! The relay against statuses and answers, as facts.
//! One scenario, two gates and a relay, serves all of them.

mod arrivals;
mod gates;
mod loss;
mod polls;
mod release;
mod reports;
mod shown;
mod slots;
mod written;

use std::time::Duration;

use hold::testing::mk_target;
use hold::{GateId, GateStatus, Manifest, Member, Slot, SlotRecord, TargetUsage, Time, UnreachedCluster};
use protocol::{Report, Revision, State, SyncRequest, SyncResponse, Target, TargetId};

use crate::Members;
use crate::relay::model::mk_start;
use crate::relay::{Command, Relay, RelayStart, SyncFailure};

const A: Member = Member {
    id: GateId(1),
    nonce: 11,
    gate: true,
};
const B: Member = Member {
    id: GateId(2),
    nonce: 12,
    gate: true,
};
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Two gates, one relay, and the shared data between them.
struct Scenario {
    relay: Relay,
    now: Time,
    manifest: Manifest,
    slots: Vec<(Slot, SlotRecord)>,
    syncs: Vec<SyncRequest>,
    freed: Vec<Member>,
    forgotten: Vec<Member>,
    given_up: usize,
    heartbeat: u64,
    unreached: Vec<UnreachedCluster>,
}

impl Scenario {
    fn new() -> Self {
        Self::with(mk_start(), Time::new(Duration::from_secs(1)))
    }

    fn with(start: RelayStart, now: Time) -> Self {
        let mut this = Self {
            relay: Relay::new(start, now),
            now,
            manifest: Manifest::default(),
            slots: Vec::new(),
            syncs: Vec::new(),
            freed: Vec::new(),
            forgotten: Vec::new(),
            given_up: 0,
            heartbeat: 0,
            unreached: Vec::new(),
        };
        this.relay.members(now, &Members { live: vec![A, B] });
        this
    }

    /// A tenth of a second passes.
    fn tick(&mut self) {
        self.now += Duration::from_millis(100);
        self.relay.tick(self.now);
    }

    /// Carries out every command. What is published is left in `manifest` and `slots`.
    fn run(&mut self) {
        self.relay.handle_timeout(self.now);
        self.relay.published.check();
        while let Some(command) = self.relay.poll_command(self.now) {
            match command {
                Command::Publish { slots, manifest } => {
                    for (slot, record) in slots {
                        self.slots.retain(|(other, _)| *other != slot);
                        self.slots.push((slot, record));
                    }
                    self.manifest = manifest;
                }
                Command::ForgetSync => self.given_up += 1,
                Command::Sync { request } => self.syncs.push(request),
                Command::Free(member) => self.freed.push(member),
                Command::Forget(member) => self.forgotten.push(member),
            }
        }
    }

    fn snapshot(&mut self, n: u64, targets: Vec<Target>) {
        self.snapshot_of("cp", n, targets);
    }

    fn snapshot_of(&mut self, instance: &str, n: u64, targets: Vec<Target>) {
        let response = SyncResponse {
            revision: Revision {
                instance: instance.to_owned(),
                n,
            },
            full: true,
            targets,
            removed: Vec::new(),
            heartbeat_ms: HEARTBEAT.as_millis() as u64,
            forget_after_ms: 60_000,
        };
        self.relay.sync_answered(self.now, Ok(response));
        self.run();
    }

    fn status(&mut self, member: Member, applied: u64, entries: Vec<TargetUsage>) {
        self.heartbeat += 1;
        self.relay.status(
            self.now,
            member,
            GateStatus {
                nonce: member.nonce,
                applied,
                heartbeat: self.heartbeat,
                entries,
                unreached: self.unreached.clone(),
            },
        );
        self.run();
    }

    fn report(&mut self) -> Option<Report> {
        let report = self.relay.poll_report(self.now);
        if report.is_some() {
            self.relay.report_answered(self.now, true);
        }
        report
    }

    /// The next report, which `instance` takes.
    fn taken(&mut self, instance: &str) -> Report {
        self.later();
        let report = self.report().expect("must report");
        self.relay.taken_by(self.now, instance);
        self.run();
        report
    }

    /// Past whatever keeps reports apart.
    fn later(&mut self) {
        self.now += HEARTBEAT;
    }

    fn slot(&self, id: &str) -> Slot {
        let mut all = self.slots.iter();
        let is = |record: &SlotRecord| {
            record
                .target
                .as_ref()
                .is_some_and(|target| target.id.as_str() == id)
        };
        all.find(|(_, record)| is(record)).unwrap().0
    }

    fn record(&self, id: &str) -> &SlotRecord {
        let is = |record: &SlotRecord| {
            record
                .target
                .as_ref()
                .is_some_and(|target| target.id == TargetId::new(id))
        };
        self.slots
            .iter()
            .map(|(_, record)| record)
            .find(|record| is(record))
            .expect("must be published")
    }
}

fn revision(n: u64) -> Revision {
    Revision {
        instance: "cp".to_owned(),
        n,
    }
}

fn target(id: &str, state: State) -> Target {
    Target {
        state,
        epoch: 1,
        ready_endpoints: 1,
        ..mk_target(id)
    }
}

fn held(slot: u32, held: u32) -> TargetUsage {
    TargetUsage {
        slot: Slot(slot),
        held,
        in_flight: 0,
        idle_ms: Some(0),
        confirmed_epoch: None,
    }
}

fn answer_of(instance: &str, n: u64, full: bool, targets: Vec<Target>) -> SyncResponse {
    SyncResponse {
        revision: Revision {
            instance: instance.to_owned(),
            n,
        },
        full,
        targets,
        removed: Vec::new(),
        heartbeat_ms: 1_000,
        forget_after_ms: 60_000,
    }
}
