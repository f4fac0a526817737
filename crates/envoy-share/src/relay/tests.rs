//! The relay against statuses and answers, as facts.
//!
//! Long because one scenario serves many short tests.

mod written;

use std::time::Duration;

use hold::testing::mk_target;
use hold::{GateId, GateStatus, Manifest, Member, Slot, SlotRecord, TargetUsage, Time, UnreachedCluster};
use protocol::{Report, Revision, State, SyncRequest, SyncResponse, Target, TargetId};

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

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

#[test]
fn nothing_is_reported_before_the_first_sync() {
    let mut s = Scenario::new();
    s.run();
    assert_eq!(s.syncs.len(), 1, "must ask at once");
    s.later();
    assert_eq!(s.report(), None);
    s.snapshot(1, vec![target("a", State::Asleep)]);
    assert!(
        s.report().is_some(),
        "must report once it is known to the control plane"
    );
}

#[test]
fn applied_is_what_every_gate_has_applied() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let version = s.manifest.version;
    s.status(A, version, vec![]);
    assert_eq!(
        s.report().unwrap().applied,
        None,
        "must not speak for a gate that has not applied it"
    );
    s.status(B, version, vec![]);
    s.later();
    assert_eq!(s.report().unwrap().applied, Some(revision(1)));
}

#[test]
fn a_confirmed_drain_is_reported_at_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert!(s.report().is_some());
    s.snapshot(2, vec![target("a", State::Draining)]);
    s.status(A, s.manifest.version, vec![]);
    assert_eq!(s.report(), None, "one gate has not yet applied the drain");
    s.status(B, s.manifest.version, vec![]);
    assert_eq!(
        s.report().expect("must be reported at once").applied,
        Some(revision(2))
    );
}

#[test]
fn demand_is_reported_at_once_and_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert!(s.report().is_some());
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    let report = s.report().expect("demand must be reported at once");
    assert_eq!(report.targets[&TargetId::new("a")].held, 1);
    for more in 2..100 {
        s.status(A, s.manifest.version, vec![held(0, more)]);
        assert_eq!(s.report(), None, "more of the same is no news");
    }
}

#[test]
fn a_lost_report_is_repeated() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    assert!(s.relay.poll_report(s.now).is_some());
    assert_eq!(s.relay.poll_report(s.now), None, "only one may be on its way");
    s.relay.report_answered(s.now, false);
    s.now += Duration::from_millis(200);
    let again = s.report().expect("must be repeated before the next heartbeat");
    assert_eq!(again.targets[&TargetId::new("a")].held, 1);
}

#[test]
fn the_release_is_split_by_what_the_gates_hold() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Waking)]);
    s.status(A, s.manifest.version, vec![held(0, 30)]);
    s.status(B, s.manifest.version, vec![held(0, 10)]);
    s.snapshot(2, vec![target("a", State::Ready)]);
    let record = s.record("a");
    assert_eq!(record.shares, [(A.id, 75), (B.id, 25)]);
    assert_eq!(record.prober, Some(A.id), "one of them must ask first");
    assert_eq!(record.confirmed_epoch, None);
}

#[test]
fn a_yes_lets_every_gate_ask() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    s.status(
        B,
        s.manifest.version,
        vec![TargetUsage {
            confirmed_epoch: Some(1),
            ..held(0, 0)
        }],
    );
    assert_eq!(s.record("a").confirmed_epoch, Some(1));
}

#[test]
fn the_prober_is_replaced_when_it_holds_nothing_more() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    assert_eq!(s.record("a").prober, Some(A.id));
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![held(0, 1)]);
    assert_eq!(s.record("a").prober, Some(B.id));
}

#[test]
fn the_prober_is_replaced_when_its_vm_has_died() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Waking)]);
    s.status(A, s.manifest.version, vec![held(0, 30)]);
    s.status(B, s.manifest.version, vec![held(0, 1)]);
    for _ in 0..=10 {
        s.tick();
    }
    s.status(B, s.manifest.version, vec![held(0, 1)]);
    s.snapshot(2, vec![target("a", State::Ready)]);
    assert_eq!(
        s.record("a").prober,
        Some(B.id),
        "a dead gate must not be waited for"
    );
}

#[test]
fn a_gate_is_notified_until_it_has_missed_two_heartbeats() {
    for entries in [vec![held(0, 1)], vec![]] {
        let mut s = Scenario::new();
        s.snapshot(1, vec![target("a", State::Asleep)]);
        s.status(A, s.manifest.version, vec![]);
        s.status(A, s.manifest.version, entries);
        for tick in 0..=10 {
            assert_eq!(s.relay.gates_to_notify(), [A], "after {tick} ticks");
            s.tick();
        }
        assert_eq!(s.relay.gates_to_notify(), [], "a dead VM must not be notified");
    }
}

#[test]
fn a_process_that_was_stopped_finds_no_gate_dead() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    for _ in 0..3 {
        s.now += Duration::from_secs(3600);
        s.relay.tick(s.now);
        s.run();
    }
    assert_eq!(s.freed, [], "its status has had no time to be written");
}

#[test]
fn only_what_a_row_says_anew_is_news() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    let version = s.manifest.version;
    s.status(A, version, vec![held(0, 1)]);
    assert!(s.relay.take_news());
    let older = TargetUsage {
        idle_ms: Some(7000),
        ..held(0, 1)
    };
    s.status(A, version, vec![older]);
    assert!(!s.relay.take_news(), "a heartbeat is no news, nor is an age");
    s.status(A, version, vec![held(0, 2)]);
    assert!(s.relay.take_news());
    s.status(A, version, vec![]);
    assert!(s.relay.take_news());
    s.status(A, version + 1, vec![]);
    assert!(s.relay.take_news());
    assert!(!s.relay.take_news());
}

#[test]
fn a_drain_that_cannot_have_been_seen_confirmed_is_taken_back_when_the_control_plane_is_lost() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.report();
    s.snapshot(2, vec![target("a", State::Draining)]);
    s.status(A, s.manifest.version, vec![]);
    s.now += HEARTBEAT * 3;
    s.relay.sync_answered(s.now, Err(SyncFailure::Unreachable));
    s.run();
    assert!(
        s.manifest.lost,
        "three heartbeats without a word must count as loss"
    );
    assert_eq!(s.record("a").target.as_ref().unwrap().state, State::Ready);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.later();
    assert_eq!(
        s.report().and_then(|report| report.applied),
        None,
        "must not confirm what it has taken back"
    );
    s.now += HEARTBEAT;
    s.run();
    assert_eq!(s.syncs.last().unwrap().since, None, "must ask for a new snapshot");
}

#[test]
fn a_confirmed_drain_holds_while_the_control_plane_is_lost() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Draining)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert_eq!(s.relay.poll_report(s.now).unwrap().applied, Some(revision(1)));
    s.now += HEARTBEAT * 3;
    s.relay.report_answered(s.now, false);
    s.run();
    assert!(s.manifest.lost);
    assert_eq!(
        s.record("a").target.as_ref().unwrap().state,
        State::Draining,
        "it may be stopping right now"
    );
}

#[test]
fn a_silent_gate_is_freed_at_once_and_blocks_by_what_it_had_in_flight() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let version = s.manifest.version;
    s.status(
        A,
        version,
        vec![TargetUsage {
            in_flight: 2,
            ..held(0, 3)
        }],
    );
    s.status(B, version, vec![]);
    for _ in 0..100 {
        s.tick();
        s.relay.sync_answered(s.now, Err(SyncFailure::Status(503)));
        s.status(B, version, vec![]);
    }
    s.run();
    assert_eq!(s.freed, [A]);
    let usage = s.report().unwrap().targets[&TargetId::new("a")];
    assert_eq!((usage.held, usage.in_flight), (0, 2));
    s.now += Duration::from_secs(60);
    s.relay.tick(s.now);
    s.run();
    assert_eq!(s.forgotten, [A]);
}

#[test]
fn a_new_relay_writes_every_slot_again() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Asleep)]);
    let start = RelayStart {
        term: 2,
        manifest: Some(s.manifest.clone()),
        slots: s.slots.clone(),
        ..mk_start()
    };
    let mut heir = Scenario::with(start, Time::new(Duration::from_secs(9)));
    heir.run();
    assert_eq!(
        heir.slots.len(),
        2,
        "so that whatever the former relay still writes fails"
    );
    assert!(heir.manifest.version > s.manifest.version && heir.manifest.term == 2);
    assert!(heir.manifest.known, "gates must not fall back to knowing nothing");
    heir.status(A, heir.manifest.version, vec![held(1, 1)]);
    assert!(
        heir.report().is_some(),
        "must report at once: its first poll may stay open for long"
    );
}

#[test]
fn slots_are_used_again_and_old_rows_do_not_speak_for_the_new_tenant() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let old = s.manifest.version;
    s.snapshot(2, vec![target("b", State::Asleep)]);
    assert_eq!(s.manifest.slots, 1, "the freed slot must be used again");
    s.status(A, old, vec![held(0, 5)]);
    s.later();
    assert!(
        s.report().unwrap().targets.is_empty(),
        "the status speaks of the former tenant"
    );
}

#[test]
fn a_long_list_of_changes_is_cut_between_versions() {
    let mut s = Scenario::new();
    s.snapshot(
        1,
        (0..300)
            .map(|n| target(&format!("t{n}"), State::Asleep))
            .collect(),
    );
    assert!(s.manifest.changes.len() <= Manifest::CHANGES);
    assert_eq!(
        s.manifest.floor, s.manifest.version,
        "a gate that knows nothing must read everything"
    );
}

#[test]
fn an_answer_to_a_poll_from_before_the_loss_confirms_nothing() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Asleep)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.snapshot(2, vec![target("a", State::Draining), target("b", State::Asleep)]);
    s.now += HEARTBEAT * 3;
    s.run();
    assert_eq!(
        s.record("a").target.as_ref().unwrap().state,
        State::Ready,
        "the drain must have been taken back"
    );
    let delta = SyncResponse {
        revision: revision(3),
        full: false,
        targets: vec![target("b", State::Waking)],
        removed: Vec::new(),
        heartbeat_ms: 1_000,
        forget_after_ms: 60_000,
    };
    s.relay.sync_answered(s.now, Ok(delta));
    s.run();
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    s.later();
    assert_eq!(
        s.report().unwrap().applied,
        None,
        "the gates let it pass: nothing may say that they hold"
    );
    assert_eq!(
        s.syncs.last().unwrap().since,
        None,
        "must ask for a full snapshot"
    );
}

#[test]
fn what_was_ready_needs_no_confirm_when_another_control_plane_takes_over() {
    let epoch = |epoch, state| Target {
        epoch,
        ..target("a", state)
    };
    let found = |found, epoch| Target {
        found,
        epoch,
        ..target("a", State::Ready)
    };
    let cases = [
        (State::Ready, true, true, "must go on passing"),
        (
            State::Ready,
            false,
            false,
            "somebody may have set zero, and it came up since, in the first epoch of the successor",
        ),
        (State::Asleep, true, false, "it has come up since"),
        (
            State::Draining,
            true,
            false,
            "the drain may have been carried out and it may have come up since",
        ),
    ];
    for (before, as_found, preconfirmed_epoch, why) in cases {
        let mut s = Scenario::new();
        s.snapshot(1, vec![]);
        s.snapshot(2, vec![epoch(7, before)]);
        s.snapshot_of("successor", 1, vec![found(as_found, 1)]);
        assert_eq!(
            s.record("a").preconfirmed_epoch,
            preconfirmed_epoch.then_some(1),
            "{why}"
        );
        s.snapshot_of("successor", 2, vec![found(false, 2)]);
        assert_ne!(
            s.record("a").preconfirmed_epoch,
            Some(2),
            "must be confirmed when it comes up again"
        );
    }
}

#[test]
fn what_goes_on_under_another_name_keeps_its_place_and_is_confirmed_anew() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Asleep)]);
    let slot = s.slot("a");
    assert_eq!(
        s.record("a").preconfirmed_epoch,
        Some(1),
        "must be preconfirmed_epoch at first"
    );
    let renamed = Target {
        clusters: vec!["a".to_owned()],
        ..target("z", State::Ready)
    };
    s.snapshot(2, vec![renamed, target("b", State::Asleep)]);
    assert_eq!(s.slot("z"), slot, "must keep its place: its requests are in it");
    assert_eq!(s.record("z").preconfirmed_epoch, None, "must be confirmed anew");
    s.snapshot(3, vec![target("y", State::Asleep), target("b", State::Asleep)]);
    let of_z = s.slots.iter().filter(|(_, record)| {
        record
            .target
            .as_ref()
            .is_some_and(|target| target.id.as_str() == "z")
    });
    assert_eq!(of_z.count(), 0, "must be gone: others have other keys");
}

#[test]
fn one_that_has_waited_without_keys_takes_the_place_of_whoever_had_them() {
    let mut s = Scenario::new();
    let beside = |clusters: &[&str]| Target {
        clusters: clusters.iter().map(|key| (*key).to_owned()).collect(),
        ..target("z", State::Asleep)
    };
    s.snapshot(1, vec![target("a", State::Waking), beside(&[])]);
    let slot = s.slot("a");
    let own = s.slot("z");
    s.snapshot(2, vec![beside(&["a"])]);
    assert_eq!(s.slot("z"), slot, "must have its place: its requests are in it");
    let left = s
        .slots
        .iter()
        .find(|(at, _)| *at == own)
        .map(|(_, record)| record);
    assert!(
        left.is_some_and(|record| record.target.is_none()),
        "must have left its own: {left:?}"
    );

    let other = target("b", State::Asleep);
    s.snapshot(3, vec![beside(&["a"]), other]);
    s.snapshot(4, vec![beside(&["b"])]);
    assert_eq!(
        s.slot("z"),
        slot,
        "one with requests of its own must stay where they are"
    );
}

#[test]
fn an_heir_keeps_a_drain_that_may_have_been_confirmed() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Draining)]);
    let start = RelayStart {
        term: 2,
        manifest: Some(s.manifest.clone()),
        slots: s.slots.clone(),
        ..mk_start()
    };
    let mut heir = Scenario::with(start, Time::new(Duration::from_secs(9)));
    heir.run();
    heir.now += HEARTBEAT * 3;
    heir.run();
    assert!(heir.manifest.lost);
    assert_eq!(heir.record("a").target.as_ref().unwrap().state, State::Draining);
}

#[test]
fn an_heir_rings_only_gates_that_it_has_seen_to_beat() {
    let mut s = Scenario::new();
    s.status(A, 0, vec![]);
    assert_eq!(s.relay.gates_to_notify(), [], "the status may be a dead gate's");
    s.status(A, 0, vec![]);
    assert_eq!(s.relay.gates_to_notify(), [A]);
}

#[test]
fn a_poll_that_hangs_at_a_former_leader_is_asked_anew() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    let asked = s.syncs.len();
    s.later();
    s.relay.taken_by(s.now, "cp");
    s.run();
    assert_eq!(s.syncs.len(), asked, "must wait on where it is waited rightly");
    s.relay.taken_by(s.now, "next");
    s.run();
    assert_eq!(
        (s.syncs.len(), s.given_up),
        (asked + 1, 1),
        "must give the poll up and ask again"
    );
    s.later();
    s.relay.taken_by(s.now, "next");
    s.run();
    assert_eq!(
        s.syncs.len(),
        asked + 1,
        "must leave the new one the time that a snapshot takes"
    );
    s.snapshot_of("next", 1, vec![target("a", State::Waking)]);
    s.later();
    s.relay.taken_by(s.now, "next");
    s.run();
    assert_eq!(s.given_up, 1, "must not give up what waits at the successor");
    assert_eq!(s.record("a").target.as_ref().unwrap().state, State::Waking);
}

#[test]
fn a_successor_is_told_of_arrivals_from_long_before_and_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Ready)]);
    for _ in 0..2 {
        s.status(A, s.manifest.version, vec![held(0, 0)]);
        s.status(B, s.manifest.version, vec![held(1, 0)]);
    }
    s.taken("cp");
    s.taken("cp");
    let asked = s.now.before(HEARTBEAT * 2);
    s.now += Duration::from_secs(300);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert!(
        s.taken("cp").targets.is_empty(),
        "must be no news to one who knows"
    );

    s.now += HEARTBEAT;
    assert!(s.taken("next").targets.is_empty(), "cannot know yet who takes it");
    s.snapshot_of(
        "next",
        1,
        vec![
            target("a", State::Ready),
            Target {
                hosts: vec!["other".to_owned()],
                ..target("b", State::Ready)
            },
        ],
    );
    s.now += HEARTBEAT;
    let told = s.taken("next").targets;
    let ages: Vec<_> = told
        .iter()
        .map(|(id, usage)| (id.clone(), usage.idle_ms))
        .collect();
    let age = s.now.since(asked).as_millis() as u64;
    assert_eq!(
        ages,
        [(TargetId::new("a"), Some(age))],
        "must tell of all that still have their keys"
    );
    s.now += HEARTBEAT;
    assert!(s.taken("next").targets.is_empty(), "must tell it once");
}

#[test]
fn shares_stay_until_endpoints_or_pace_change_or_the_target_is_not_ready() {
    let ready = || Target {
        ready_endpoints: 2,
        ..target("a", State::Ready)
    };
    let mut renamed = ready();
    renamed.hosts.push("a.example.com".to_owned());
    let mut faster = ready();
    faster.release.concurrency_per_endpoint = 120;
    let mut more = ready();
    more.ready_endpoints = 3;
    let mut fewer = ready();
    fewer.ready_endpoints = 1;
    let shares = |a, b| vec![(A.id, a), (B.id, b)];
    let cases = [
        (renamed, shares(150, 50), "its keys say nothing about its pace"),
        (faster, shares(216, 24), "must be split anew at the new pace"),
        (
            more,
            shares(270, 30),
            "must be split anew over the endpoints there are",
        ),
        (fewer, shares(90, 10), "must not release more than they take"),
        (target("a", State::Asleep), vec![], "nothing is released"),
    ];
    for (next, expected, why) in cases {
        let mut s = Scenario::new();
        s.snapshot(1, vec![ready()]);
        s.status(A, s.manifest.version, vec![held(0, 30)]);
        s.snapshot(2, vec![target("a", State::Waking)]);
        s.status(B, s.manifest.version, vec![held(0, 10)]);
        s.snapshot(3, vec![ready()]);
        assert_eq!(s.record("a").shares, shares(150, 50));
        // So that another split would be another.
        s.status(A, s.manifest.version, vec![held(0, 45)]);
        s.status(B, s.manifest.version, vec![held(0, 5)]);
        assert_eq!(
            s.record("a").shares,
            shares(150, 50),
            "must stay while it is about fair"
        );
        s.snapshot(4, vec![next]);
        assert_eq!(s.record("a").shares, expected, "{why}");
    }
}

#[test]
fn an_arrival_is_told_until_the_control_plane_has_surely_heard_of_it() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let arrived = |age: Duration| TargetUsage {
        idle_ms: Some(age.as_millis() as u64),
        ..held(0, 0)
    };
    s.status(A, s.manifest.version, vec![]);
    s.status(A, s.manifest.version, vec![arrived(Duration::ZERO)]);
    // No report gets through for half a minute, in which the status stays as it is.
    let half_a_minute = Duration::from_secs(30);
    let since = s.now;
    while s.now < since + half_a_minute {
        s.now += HEARTBEAT;
        if s.relay.poll_report(s.now).is_some() {
            s.relay.report_answered(s.now, false);
        }
    }
    let told = |s: &mut Scenario| {
        let usage = s
            .report()
            .and_then(|report| report.targets.get(&TargetId::new("a")).copied());
        usage.and_then(|usage| usage.idle_ms)
    };
    s.now += HEARTBEAT;
    let age = s.now.since(since).as_millis() as u64;
    assert_eq!(told(&mut s), Some(age), "nobody has heard of it yet");
    s.now += HEARTBEAT;
    assert_eq!(told(&mut s), None, "has been heard of");
}

#[test]
fn an_arrival_in_the_row_of_a_gate_that_has_not_beaten_is_no_news() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let arrived = TargetUsage {
        idle_ms: Some(100),
        ..held(0, 0)
    };
    s.status(A, s.manifest.version, vec![arrived]);
    s.status(B, s.manifest.version, vec![]);
    s.later();
    let targets = |s: &mut Scenario| s.report().map(|report| report.targets.len());
    assert_eq!(
        targets(&mut s),
        Some(0),
        "the status may be years old: its gate may be dead"
    );
    s.status(A, s.manifest.version, vec![arrived]);
    s.later();
    assert_eq!(targets(&mut s), Some(1), "it lives");
}

/// Syncs that leave within `period`, if each is answered at once with what `answer` makes of its number.
fn syncs_within(period: Duration, mut answer: impl FnMut(u64) -> Result<SyncResponse, SyncFailure>) -> usize {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.run();
    let (begun, end) = (s.syncs.len(), s.now + period);
    let mut n = 0;
    while s.now < end {
        if s.syncs.len() > n + begun - 1 {
            n += 1;
            s.relay.sync_answered(s.now, answer(n as u64));
        }
        s.run();
        s.now += Duration::from_millis(1);
    }
    n
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

#[test]
fn whatever_is_answered_without_news_is_not_asked_again_without_a_pause() {
    let seconds = 10;
    let all = || vec![target("a", State::Ready)];
    type Answer = Box<dyn FnMut(u64) -> Result<SyncResponse, SyncFailure>>;
    let cases: Vec<(&str, Answer)> = vec![
        (
            "nothing new",
            Box::new(|_| Ok(answer_of("cp", 1, false, Vec::new()))),
        ),
        (
            "nothing, under ever new revisions",
            Box::new(|n| Ok(answer_of("cp", n + 1, false, Vec::new()))),
        ),
        (
            "a change, under the revision that is known",
            Box::new(move |_| Ok(answer_of("cp", 1, false, all()))),
        ),
        (
            "the same snapshot",
            Box::new(move |_| Ok(answer_of("cp", 1, true, all()))),
        ),
        (
            "two control planes in turn",
            Box::new(move |n| {
                let instance = if n % 2 == 0 { "one" } else { "other" };
                Ok(answer_of(instance, 1, true, all()))
            }),
        ),
        ("superseded", Box::new(|_| Err(SyncFailure::Status(409)))),
    ];
    for (what, answer) in cases {
        let syncs = syncs_within(Duration::from_secs(seconds), answer);
        assert!(
            syncs <= 5 + seconds as usize,
            "{what}: {syncs} syncs in {seconds} s"
        );
        assert!(syncs >= 5, "{what}: must go on asking: {syncs} syncs");
    }
}

#[test]
fn news_is_asked_for_again_at_once_also_from_a_successor() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    for n in 2..50 {
        s.run();
        let asked = s.syncs.len();
        let state = [State::Asleep, State::Waking][n as usize % 2];
        let news = answer_of("cp", n, false, vec![target("a", state)]);
        s.relay.sync_answered(s.now, Ok(news));
        s.run();
        assert_eq!(s.syncs.len(), asked + 1, "must ask again at once");
    }
    let asked = s.syncs.len();
    s.snapshot_of("successor", 1, vec![target("a", State::Ready)]);
    assert_eq!(s.syncs.len(), asked + 1, "a takeover must cost no time");
}

#[test]
fn a_poll_that_ends_in_its_own_time_is_repeated_at_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    for _ in 0..3 {
        let asked = s.syncs.len();
        s.now += Duration::from_secs(25);
        s.relay
            .sync_answered(s.now, Ok(answer_of("cp", 1, false, Vec::new())));
        s.run();
        assert_eq!(s.syncs.len(), asked + 1, "it was waited for");
    }
}

#[test]
fn clusters_that_are_not_reached_are_reported_the_oldest_first_and_each_once() {
    let mut scenario = Scenario::new();
    scenario.snapshot(1, vec![mk_target("web")]);
    let unreached = |cluster: String, for_ms| UnreachedCluster {
        slot: Slot(0),
        cluster,
        saw: "refused".to_owned(),
        for_ms,
    };
    for (member, age) in [(A, 1_000), (B, 2_000)] {
        scenario.unreached = (0..100).map(|n| unreached(format!("c{n}"), age + n)).collect();
        let version = scenario.manifest.version;
        scenario.status(member, version, vec![held(0, 1)]);
    }
    scenario.now += Duration::from_millis(50);
    let report = scenario.report().expect("must report what is held");
    let told: Vec<_> = report
        .unreached
        .iter()
        .map(|one| (one.cluster.as_str(), one.for_ms))
        .collect();
    assert_eq!(told.len(), Report::MAX_UNREACHED, "must be bounded");
    assert_eq!(
        told[0],
        ("c99", 2_149),
        "the oldest first, with the time since it was read"
    );
    assert_eq!(told[1], ("c98", 2_148), "each cluster once");
}

#[test]
fn one_cluster_that_several_gates_do_not_reach_is_reported_once_and_of_each_target() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Ready)]);
    let mk = |slot, for_ms| UnreachedCluster {
        slot,
        cluster: "shared".to_owned(),
        saw: "refused".to_owned(),
        for_ms,
    };
    let (a, b) = (s.slot("a"), s.slot("b"));
    s.unreached = vec![mk(a, 5), mk(b, 6)];
    s.status(A, s.manifest.version, vec![]);
    s.unreached = vec![mk(a, 7)];
    s.status(B, s.manifest.version, vec![]);
    s.later();
    let unreached = s.report().expect("must report").unreached;
    let told: Vec<_> = unreached
        .iter()
        .map(|one| (one.target.as_str(), one.for_ms))
        .collect();
    assert_eq!(told, [("a", 1_007), ("b", 1_006)]);
}

#[test]
fn gauges_show_what_there_is_now() {
    let mut s = Scenario::new();
    let unknown = Target {
        state: State::Unknown,
        ..target("c", State::Asleep)
    };
    s.snapshot(
        1,
        vec![target("a", State::Ready), target("b", State::Asleep), unknown],
    );
    let busy = TargetUsage {
        in_flight: 3,
        ..held(s.slot("b").0, 2)
    };
    s.status(A, s.manifest.version, vec![busy]);
    s.status(B, s.manifest.version, vec![busy]);
    let shown = |s: &Scenario| {
        let gauges = s.relay.gauges(s.now);
        (
            (gauges.targets, gauges.targets_ready, gauges.targets_unknown),
            (gauges.held, gauges.in_flight),
            (gauges.gates, gauges.gates_silent),
            gauges.control_plane_up,
        )
    };
    assert_eq!(shown(&s), ((3, 1, 1), (4, 6), (2, 0), 1));
    // B goes silent, and the control plane away.
    for _ in 0..101 {
        s.tick();
        s.status(A, s.manifest.version, vec![busy]);
    }
    assert_eq!(shown(&s), ((3, 1, 1), (2, 6), (1, 1), 0));
    assert_eq!(s.relay.gauges(s.now).sync_age_ms, 10_100);
    s.snapshot(2, vec![target("a", State::Ready), target("b", State::Ready)]);
    assert_eq!(shown(&s).0, (2, 2, 0));
    s.snapshot(3, vec![target("a", State::Draining)]);
    assert_eq!(shown(&s).0, (1, 0, 0));
    assert_eq!(s.relay.term(), 1);
}

#[test]
fn the_loss_and_the_return_of_the_control_plane_are_told() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    assert_eq!(s.relay.poll_warning(), None);
    s.now += HEARTBEAT * 3;
    s.run();
    assert!(s.manifest.lost);
    let told = s.relay.poll_warning().expect("must be told");
    assert!(told.contains("is lost"), "{told}");
    s.snapshot(2, vec![target("a", State::Ready)]);
    assert!(!s.manifest.lost);
    let told = s.relay.poll_warning().expect("must be told");
    assert!(told.contains("is back"), "{told}");
}

#[test]
fn a_successor_is_not_told_of_arrivals_of_what_is_gone() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Ready)]);
    for _ in 0..2 {
        s.status(A, s.manifest.version, vec![held(0, 0), held(1, 0)]);
        s.status(B, s.manifest.version, vec![]);
    }
    s.taken("cp");
    s.taken("cp");
    s.snapshot(2, vec![target("b", State::Ready)]);
    s.status(A, s.manifest.version, vec![]);
    s.taken("next");
    s.snapshot_of("next", 1, vec![target("b", State::Ready)]);
    let told = s.taken("next").targets;
    assert_eq!(told.keys().map(TargetId::as_str).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn what_is_not_understood_of_a_target_is_told_once() {
    let mut s = Scenario::new();
    let unknown = || Target {
        state: State::Unknown,
        ..target("a", State::Asleep)
    };
    let mut warnings = |n, targets| {
        s.snapshot(n, targets);
        std::iter::from_fn(|| s.relay.poll_warning()).count()
    };
    assert_eq!(warnings(1, vec![target("a", State::Asleep)]), 0);
    assert_eq!(warnings(2, vec![unknown()]), 1);
    assert_eq!(warnings(3, vec![unknown()]), 0, "once");
    assert_eq!(warnings(4, vec![target("a", State::Asleep)]), 0);
    assert_eq!(warnings(5, vec![unknown()]), 1, "it is another time");
}
