//! The relay in a small, bad world: random sequences of everything that can happen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hold::testing::mk_target;
use hold::{GateId, GateStatus, Manifest, Member, Slot, SlotRecord, TargetUsage, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::{Incarnation, Revision, State, SyncResponse, TargetId};

use crate::Members;
use crate::relay::{Command, Relay, RelayStart, SyncFailure};

/// The first relay of an Envoy that has published nothing yet.
pub(crate) fn mk_start() -> RelayStart {
    RelayStart {
        id: "envoy".to_owned(),
        incarnation: Incarnation::new("i"),
        term: 1,
        manifest: None,
        slots: Vec::new(),
        heartbeat_interval: Duration::from_millis(500),
        silent_after: Duration::from_secs(10),
    }
}

/// Everything that can happen to a relay.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The sync that is on its way is answered.
    Answer {
        instance: u8,
        n: u64,
        full: bool,
        targets: Vec<(u8, State, u64)>,
        removed: Vec<u8>,
        heartbeat_ms: u64,
    },
    /// It fails.
    Fail { status: Option<u16> },
    /// The list of members changes.
    Members { live: u8 },
    /// A gate writes its status.
    GateStatus {
        gate: u8,
        applied: u64,
        slot: u32,
        held: u32,
        idle_ms: Option<u64>,
    },
    /// Ticks go by.
    Tick { ticks: u8 },
    /// Time goes by.
    Advance { ms: u32 },
    /// To when it wants to be called.
    AdvanceToTimeout,
    /// A report is asked for, and answered.
    Report { answered: Option<bool> },
    /// Another relay takes over: now, or as soon as this one has written so many slots of its next publication.
    TakeOver { written: Option<u8> },
}

/// One of them.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![
        Just(State::Asleep),
        Just(State::Waking),
        Just(State::Ready),
        Just(State::Draining),
        Just(State::Failed),
        Just(State::Suspended),
    ];
    let targets = vec((0..6_u8, state, prop_oneof![0..4_u64, any::<u64>()]), 0..5);
    let number = prop_oneof![8 => 0..20_u64, 1 => any::<u64>()];
    let answer = (
        0..2_u8,
        number.clone(),
        any::<bool>(),
        targets,
        vec(0..6_u8, 0..3),
        0..5_000_u64,
    );
    prop_oneof![
        6 => answer.prop_map(|(instance, n, full, targets, removed, heartbeat_ms)| {
            Event::Answer { instance, n, full, targets, removed, heartbeat_ms }
        }),
        2 => prop::option::of(any::<u16>()).prop_map(|status| Event::Fail { status }),
        1 => any::<u8>().prop_map(|live| Event::Members { live }),
        4 => (0..4_u8, number, 0..8_u32, any::<u32>(), any::<Option<u64>>()).prop_map(
            |(gate, applied, slot, held, idle_ms)| Event::GateStatus { gate, applied, slot, held, idle_ms }
        ),
        2 => any::<u8>().prop_map(|ticks| Event::Tick { ticks }),
        3 => (0..20_000_u32).prop_map(|ms| Event::Advance { ms }),
        3 => Just(Event::AdvanceToTimeout),
        3 => any::<Option<bool>>().prop_map(|answered| Event::Report { answered }),
        1 => prop::option::of(0..8_u8).prop_map(|written| Event::TakeOver { written }),
    ]
}

/// Panics where the relay does, or where it does what it must not.
pub(crate) fn check(events: &[Event]) {
    let mut world = World::new();
    for event in events {
        world.step(event);
        world.drain();
    }
}

struct World {
    relay: Relay,
    now: Time,
    term: u64,
    manifest: Manifest,
    slots: BTreeMap<Slot, SlotRecord>,
    members: Vec<Member>,
    beats: BTreeMap<GateId, u64>,
    /// A sync is on its way.
    asked: bool,
    /// The relay ends within its next publication, after so many slots.
    ends_after: Option<u8>,
}

impl World {
    fn new() -> Self {
        Self {
            relay: mk_relay(1, None, Vec::new(), Time::ZERO),
            now: Time::ZERO,
            term: 1,
            manifest: Manifest::default(),
            slots: BTreeMap::new(),
            members: Vec::new(),
            beats: BTreeMap::new(),
            asked: false,
            ends_after: None,
        }
    }

    fn step(&mut self, event: &Event) {
        match event {
            Event::Answer {
                instance,
                n,
                full,
                targets,
                removed,
                heartbeat_ms,
            } => {
                let targets = targets.iter().map(|(which, state, epoch)| {
                    let mut target = mk_target(&format!("ns/{which}"));
                    (target.state, target.epoch) = (*state, *epoch);
                    target
                });
                let response = SyncResponse {
                    revision: Revision {
                        instance: instance.to_string(),
                        n: *n,
                    },
                    full: *full,
                    targets: targets.collect(),
                    removed: removed
                        .iter()
                        .map(|which| TargetId::new(format!("ns/{which}")))
                        .collect(),
                    heartbeat_ms: *heartbeat_ms,
                    forget_after_ms: 60_000,
                };
                self.answer(Ok(response));
            }
            Event::Fail { status } => self.answer(Err(match status {
                Some(status) => SyncFailure::Status(*status),
                None => SyncFailure::Garbled("no JSON".to_owned()),
            })),
            Event::Members { live } => {
                self.members = (0..4)
                    .filter(|n| live >> n & 1 == 1)
                    .map(|n| mk_member(n, live >> 4 & 1 == 1))
                    .collect();
                let members = Members {
                    live: self.members.clone(),
                };
                self.relay.members(self.now, &members);
            }
            Event::GateStatus {
                gate,
                applied,
                slot,
                held,
                idle_ms,
            } => self.status(*gate, *applied, *slot, *held, *idle_ms),
            Event::Tick { ticks } => {
                self.now += Duration::from_millis(100) * u32::from(*ticks);
                self.relay.tick(self.now);
            }
            Event::Advance { ms } => self.advance(self.now + Duration::from_millis(u64::from(*ms))),
            Event::AdvanceToTimeout => {
                if let Some(at) = self.relay.poll_timeout() {
                    self.advance(at.max(self.now));
                }
            }
            Event::Report { answered } => {
                let report = self.relay.poll_report(self.now);
                if let (Some(_), Some(ok)) = (report, answered) {
                    self.relay.report_answered(self.now, *ok);
                }
            }
            Event::TakeOver { written: None } => self.take_over(),
            Event::TakeOver { written } => self.ends_after = *written,
        }
        let _ = self.relay.gauges(self.now);
        for _ in 0..100 {
            if self.relay.poll_warning().is_none() {
                return;
            }
        }
        panic!("warnings must end");
    }

    fn take_over(&mut self) {
        self.term += 1;
        let slots = self.slots.clone().into_iter().collect();
        self.relay = mk_relay(self.term, Some(self.manifest.clone()), slots, self.now);
        self.asked = false;
        let members = Members {
            live: self.members.clone(),
        };
        self.relay.members(self.now, &members);
    }

    fn answer(&mut self, answer: Result<SyncResponse, SyncFailure>) {
        if std::mem::take(&mut self.asked) {
            self.relay.sync_answered(self.now, answer);
        }
    }

    fn status(&mut self, gate: u8, applied: u64, slot: u32, held: u32, idle_ms: Option<u64>) {
        let Some(member) = self.members.get(usize::from(gate)).copied() else {
            return;
        };
        let heartbeat = self.beats.entry(member.id).or_default();
        *heartbeat += 1;
        let entry = TargetUsage {
            slot: Slot(slot),
            held,
            in_flight: 0,
            idle_ms,
            confirmed_epoch: None,
        };
        let status = GateStatus {
            nonce: member.nonce,
            applied,
            heartbeat: *heartbeat,
            entries: vec![entry],
            ..GateStatus::default()
        };
        self.relay.status(self.now, member, status);
    }

    fn advance(&mut self, to: Time) {
        self.now = to;
        self.relay.handle_timeout(self.now);
        self.drain();
        // What is due may be a report, which the shell asks for once it has read the statuses.
        let _ = self.relay.poll_report(self.now);
        let next = self.relay.poll_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "must not spin: {next:?} at {:?}",
            self.now
        );
    }

    fn drain(&mut self) {
        for _ in 0..200 {
            self.relay.published.check();
            let Some(command) = self.relay.poll_command(self.now) else {
                return;
            };
            self.carry_out(command);
        }
        panic!("commands must end");
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Publish { slots, manifest } => {
                assert!(
                    manifest.version >= self.manifest.version,
                    "a version must not go back"
                );
                assert_eq!(manifest.term, self.term, "must be its own term");
                let named: BTreeSet<_> = slots.iter().map(|(slot, _)| *slot).collect();
                assert_eq!(named.len(), slots.len(), "must write each slot once");
                if let Some(written) = self.ends_after.take() {
                    self.slots.extend(slots.into_iter().take(usize::from(written)));
                    return self.take_over();
                }
                for (slot, record) in slots {
                    assert!(
                        slot.0 < manifest.slots,
                        "must be in use: {slot:?} of {}",
                        manifest.slots
                    );
                    self.slots.insert(slot, record);
                }
                assert!(
                    manifest.changes.len() <= Manifest::CHANGES,
                    "changes must be bounded"
                );
                self.manifest = manifest;
                self.check_ids();
            }
            Command::Sync { .. } => {
                assert!(!self.asked, "at most one sync may be on its way");
                self.asked = true;
            }
            Command::ForgetSync => self.asked = false,
            Command::Free(_) | Command::Forget(_) => {}
        }
    }

    /// No target is in two slots.
    fn check_ids(&self) {
        let mut ids = BTreeSet::new();
        for (slot, record) in &self.slots {
            if let Some(target) = &record.target {
                assert!(
                    ids.insert(&target.id),
                    "{:?} is in {slot:?} and before",
                    target.id
                );
            }
        }
    }
}

fn mk_relay(term: u64, manifest: Option<Manifest>, slots: Vec<(Slot, SlotRecord)>, now: Time) -> Relay {
    let start = RelayStart {
        term,
        manifest,
        slots,
        ..mk_start()
    };
    Relay::new(start, now)
}

fn mk_member(n: u32, gate: bool) -> Member {
    Member {
        id: GateId(n),
        nonce: u64::from(n) + 10,
        gate,
    }
}
