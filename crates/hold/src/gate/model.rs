//! The gate against a naive model: random sequences of everything that can happen to it.
//!
//! Long because the model, its world and its checks are one thing: apart, each would say the others' names.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[cfg(test)]
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::{LossPolicy, State};

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::gate::entry::Stance;
use crate::gate::testing::{ME, mk_config, mk_target};
use crate::gate::{
    Claim, Command, ConfirmToken, Found, Gate, Outcome, Request, Stream, Ticket, Update, Verdict, Wants, Warm,
};
use crate::reply::Refusal;
use crate::testing::Quota;
use crate::{
    Bound, Config, Head, Limits, REQUEST_CHARGE, Slot, SlotRecord, StartupThen, StreamId, Time, Weight,
};

const TARGETS: u8 = 3;
const CLUSTERS: u8 = 2;
/// A cluster that several targets may claim.
const SHARED: u8 = CLUSTERS;

/// Everything that can happen to a gate.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Publish {
        target: u8,
        state: State,
        new_epoch: bool,
        told: bool,
        share: u32,
        twin: bool,
    },
    Remove {
        target: u8,
    },
    Lose {
        lost: bool,
    },
    /// Everything is read anew, and one of the targets may be there no more.
    Reread {
        without: u8,
    },
    Stale,
    Arrive {
        target: u8,
        cluster: u8,
        grpc_timeout: Option<u16>,
        length: Option<u32>,
    },
    Answer {
        nth: usize,
    },
    Leave {
        nth: usize,
    },
    Confirm {
        yes: u8,
    },
    Advance {
        ms: u16,
    },
    AdvanceToTimeout,
    Drain,
}

/// One of them.
pub(crate) fn event() -> impl Strategy<Value = Op> {
    let state = prop_oneof![
        1 => Just(State::Asleep),
        1 => Just(State::Waking),
        4 => Just(State::Ready),
        1 => Just(State::Draining),
        1 => Just(State::Failed),
        1 => Just(State::Suspended),
    ];
    prop_oneof![
        3 => (0..TARGETS, state, any::<bool>(), any::<bool>(), 0..4_u32, any::<bool>()).prop_map(
            |(target, state, new_epoch, told, share, twin)| Op::Publish { target, state, new_epoch, told, share, twin }
        ),
        1 => (0..TARGETS).prop_map(|target| Op::Remove { target }),
        1 => any::<bool>().prop_map(|lost| Op::Lose { lost }),
        1 => (0..3 * TARGETS).prop_map(|without| Op::Reread { without }),
        1 => Just(Op::Stale),
        8 => (0..=TARGETS, 0..=SHARED, prop::option::of(1..4_000_u16), prop::option::of(0..3_000_u32)).prop_map(
            |(target, cluster, grpc_timeout, length)| Op::Arrive { target, cluster, grpc_timeout, length }
        ),
        3 => any::<usize>().prop_map(|nth| Op::Answer { nth }),
        3 => any::<usize>().prop_map(|nth| Op::Leave { nth }),
        3 => (0..10_u8).prop_map(|yes| Op::Confirm { yes }),
        3 => (0..1_500_u16).prop_map(|ms| Op::Advance { ms }),
        1 => (60_000..u16::MAX).prop_map(|ms| Op::Advance { ms }),
        2 => Just(Op::AdvanceToTimeout),
        4 => Just(Op::Drain),
    ]
}

/// What the model knows of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Held {
        target: Option<u8>,
        cluster: u8,
        order: u64,
    },
    Resumed,
    Refused,
    Ended,
}

/// The released requests of one target that are not answered, as the model counts them.
#[derive(Debug, Default)]
struct Released {
    /// How many there may be.
    share: usize,
    unanswered: BTreeSet<StreamId>,
    /// When it last became full, or was emptied.
    since: Time,
}

/// From a full window to its opening by itself.
const WINDOW: Duration = Duration::from_secs(1);
/// For which every target holds.
const HOLD: Duration = Duration::from_secs(2);

/// The shell, the ledgers and the relay, as simply as they can be.
struct World {
    gate: Gate,
    config: Config,
    now: Time,
    version: u64,
    head: Head,
    records: BTreeMap<u8, SlotRecord>,
    last: Option<(Head, Vec<(Slot, SlotRecord)>)>,
    quota: Quota,
    fates: BTreeMap<StreamId, Fate>,
    tickets: BTreeMap<StreamId, Ticket>,
    asked: Vec<ConfirmToken>,
    next_stream: u32,
    next_order: u64,
    last_resumed: BTreeMap<(u8, u8), u64>,
    /// Until when each stream may be held.
    deadlines: BTreeMap<StreamId, Time>,
    /// The version at which each came, and at which each target was published last with another word on the shared key.
    came: BTreeMap<StreamId, u64>,
    shared_since: BTreeMap<u8, u64>,
    /// The version at which each was removed last.
    removed_at: BTreeMap<u8, u64>,
    released: BTreeMap<u8, Released>,
    /// The bound that was just reached.
    denied: Option<Bound>,
    told: told::Told,
}

/// What happens to requests without a first snapshot.
const STARTUPS: [&str; 3] = ["pass", "refuse", "hold"];
/// What one of the targets ignores.
const PROBE: &str = "/healthz";
const MAX_REQUESTS: u32 = 4;
/// Three with a body of unknown length, and a little more.
const MAX_BYTES: u64 = 3 * (REQUEST_CHARGE + 1_000) + 500;
const ENVOY_REQUESTS: u32 = 8;

impl World {
    fn new(then: &str) -> Self {
        let config = mk_config(&format!(
            r#","buffer_limit":2000,"stream_buffer_limit":1500,"startup":{{"wait":"1s","then":"{then}"}}"#
        ));
        Self {
            gate: Gate::new(config.clone(), ME, Time::ZERO),
            config,
            now: Time::ZERO,
            version: 0,
            head: Head {
                slots: u32::from(TARGETS),
                ..Head::default()
            },
            records: BTreeMap::new(),
            last: None,
            quota: Quota::default(),
            fates: BTreeMap::new(),
            tickets: BTreeMap::new(),
            asked: Vec::new(),
            next_stream: 1,
            next_order: 0,
            last_resumed: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            came: BTreeMap::new(),
            shared_since: BTreeMap::new(),
            removed_at: BTreeMap::new(),
            released: BTreeMap::new(),
            denied: None,
            told: told::Told::default(),
        }
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Publish {
                target,
                state,
                new_epoch,
                told,
                share,
                twin,
            } => {
                self.publish(*target, Some((*state, *new_epoch, *told, *share, *twin)));
            }
            Op::Remove { target } => self.publish(*target, None),
            Op::Lose { lost } => {
                self.head.lost = *lost;
                self.apply(Vec::new());
            }
            Op::Reread { without } => self.reread(*without),
            Op::Stale => self.apply_stale(),
            Op::Arrive {
                target,
                cluster,
                grpc_timeout,
                length,
            } => self.arrive(*target, *cluster, *grpc_timeout, *length),
            Op::Answer { nth } => {
                let any = nth.is_multiple_of(4);
                let wanted = |fate| fate == Fate::Resumed || any && fate != Fate::Ended;
                if let Some(stream) = self.pick(*nth, wanted) {
                    self.answer(stream);
                    self.is_answered(stream);
                }
            }
            Op::Leave { nth } => {
                if let Some(stream) = self.pick(*nth, |fate| fate != Fate::Ended) {
                    self.end(stream);
                }
            }
            Op::Confirm { yes } => self.answer_confirm(*yes),
            Op::Advance { ms } => self.advance(self.now + Duration::from_millis(u64::from(*ms))),
            Op::AdvanceToTimeout => {
                if let Some(at) = self.gate.poll_timeout(self.now) {
                    self.advance(at.max(self.now));
                    self.drain();
                    while let Some(call) = self.gate.poll_confirm(self.now) {
                        self.asked.push(call.token);
                    }
                    let next = self.gate.poll_timeout(self.now);
                    assert!(
                        next.is_none_or(|next| next > self.now),
                        "must not spin: {next:?} at {:?}",
                        self.now
                    );
                }
            }
            Op::Drain => self.drain(),
        }
        self.settle();
    }

    fn publish(&mut self, target: u8, published: Option<(State, bool, bool, u32, bool)>) {
        let old = self.records.get(&target).cloned().unwrap_or_default();
        let record = published.map_or_else(SlotRecord::default, |(state, new_epoch, told, share, twin)| {
            let mut made = mk_target(&format!("ns/{target}"));
            made.clusters = (0..CLUSTERS)
                .chain(twin.then_some(SHARED))
                .map(|cluster| cluster_name(target, cluster))
                .collect();
            made.state = state;
            made.epoch = old.target.as_ref().map_or(1, |old| old.epoch) + u64::from(new_epoch);
            made.hold.timeout_ms = HOLD.as_millis() as u64;
            made.hold.max_requests = MAX_REQUESTS;
            made.hold.max_bytes = MAX_BYTES;
            made.hold.unknown_body = 1_000;
            if target == 1 {
                made.ignore.paths.push(PROBE.to_owned());
            }
            made.hold.on_control_plane_loss =
                [LossPolicy::Hold, LossPolicy::Pass, LossPolicy::Refuse][usize::from(target % 3)];
            SlotRecord {
                shares: vec![(ME.id, share)],
                prober: told.then_some(ME.id),
                // Another gate has had its yes.
                proven: (share == 3).then_some(made.epoch),
                target: Some(made),
                ..SlotRecord::default()
            }
        });
        self.put(target, &record);
        let is_first = !self.head.known;
        self.head.known = true;
        self.apply(vec![(Slot(u32::from(target)), record)]);
        if is_first {
            self.check_early();
        }
    }

    /// From now on this is what is published of a target.
    fn put(&mut self, target: u8, record: &SlotRecord) {
        let old = self.records.get(&target).cloned().unwrap_or_default();
        if record.target.is_none() {
            self.forget_use(Some(target));
            self.removed_at.insert(target, self.version + 1);
        }
        self.note_window(target, &old, record);
        let is_shared = |record: &SlotRecord| {
            let target = record.target.as_ref();
            target.is_some_and(|target| target.clusters.iter().any(|cluster| cluster == "shared"))
        };
        if is_shared(record) != is_shared(&old) {
            self.shared_since.insert(target, self.version + 1);
        }
        self.records.insert(target, record.clone());
    }

    /// All that was published before is published again but for one target, and the gate has missed what lies between.
    fn reread(&mut self, without: u8) {
        if !self.head.known {
            return;
        }
        if self.records.contains_key(&without) {
            self.put(without, &SlotRecord::default());
        }
        self.head.floor = self.version + 1;
        let there = |(target, record): (&u8, &SlotRecord)| {
            record
                .target
                .is_some()
                .then(|| (Slot(u32::from(*target)), record.clone()))
        };
        let slots = self.records.iter().filter_map(there).collect();
        self.apply_all(slots, true);
    }

    /// What begins to serve begins with nothing released; a share is one at least.
    fn note_window(&mut self, target: u8, old: &SlotRecord, new: &SlotRecord) {
        let served = |record: &SlotRecord| {
            let target = record.target.as_ref();
            target
                .filter(|target| target.state == State::Ready)
                .map(|target| target.epoch)
        };
        let released = self.released.entry(target).or_default();
        released.share = new
            .shares
            .first()
            .map_or(1, |(_, share)| (*share).max(1) as usize);
        if served(new).is_some() && served(new) != served(old) {
            released.unanswered.clear();
            released.since = self.now;
        }
    }

    fn is_answered(&mut self, stream: StreamId) {
        for released in self.released.values_mut() {
            released.unanswered.remove(&stream);
        }
    }

    /// Windows that nobody answers open by themselves.
    fn open_windows(&mut self) {
        for (target, released) in &mut self.released {
            let serves = self.records.get(target).and_then(|record| record.target.as_ref());
            let holds = |fate: &Fate| matches!(fate, Fate::Held { target: Some(of), .. } if of == target);
            if serves.is_some_and(|target| target.state == State::Ready)
                && released.unanswered.len() >= released.share
                && self.now >= released.since + WINDOW
                && self.fates.values().any(holds)
            {
                released.unanswered.clear();
                released.since = self.now;
            }
        }
    }

    fn apply(&mut self, slots: Vec<(Slot, SlotRecord)>) {
        self.apply_all(slots, false);
    }

    fn apply_all(&mut self, slots: Vec<(Slot, SlotRecord)>, full: bool) {
        let follows = self.version > 0 && !full;
        self.version += 1;
        self.head.version = self.version;
        for (slot, _) in &slots {
            self.head.changes.push_back((self.version, *slot));
        }
        self.last = Some((self.head.clone(), slots.clone()));
        let wanted = if follows {
            Wants::Slots(slots.iter().map(|(slot, _)| *slot).collect())
        } else {
            Wants::All
        };
        assert_eq!(self.gate.wants(&self.head), wanted, "must want what is new");
        self.gate.apply(
            self.now,
            Update {
                head: self.head.clone(),
                full,
                slots,
            },
        );
        assert_eq!(
            self.gate.wants(&self.head),
            Wants::Nothing,
            "must want nothing twice"
        );
    }

    /// An older revision changes nothing.
    fn apply_stale(&mut self) {
        let Some((head, slots)) = self.last.clone() else {
            return;
        };
        let before = format!("{:?}", self.gate);
        let slots = slots
            .into_iter()
            .map(|(slot, _)| (slot, SlotRecord::default()))
            .collect();
        self.gate.apply(
            self.now,
            Update {
                head,
                full: true,
                slots,
            },
        );
        assert_eq!(
            before,
            format!("{:?}", self.gate),
            "an older revision must change nothing"
        );
        assert!(
            !self.gate.row_changed(),
            "there is nothing to tell where nothing happened"
        );
    }

    fn arrive(&mut self, target: u8, cluster: u8, grpc_timeout: Option<u16>, length: Option<u32>) {
        let stream = StreamId(self.next_stream);
        self.next_stream += 1;
        let name = cluster_name(target, cluster).into_bytes();
        let ix = match self.gate.find_cluster(&name) {
            Found::Target(ix) => Some(ix),
            Found::AskHost => self.gate.find_host(b"nobody", &name),
            Found::NoCluster | Found::Nothing => None,
            Found::ControlPlane => panic!("no request here is for the control plane"),
        };
        // Of several claimants it is the one that the gate has chosen.
        let target = ix
            .and_then(|ix| self.gate.entry(ix))
            .and_then(|entry| entry.target.id.as_str().strip_prefix("ns/")?.parse().ok())
            .unwrap_or(target);
        // Every fourth body is a probe's.
        let is_probe = length.is_some_and(|length| length.is_multiple_of(4));
        let path: &[u8] = if is_probe { PROBE.as_bytes() } else { b"/" };
        let ignored = is_probe && self.ignores(target);
        let passed = ix.and_then(|ix| match self.gate.pass(ix, &name) {
            Warm::Pass(ticket) => Some(ticket),
            Warm::Read { .. } => self.gate.pass_unless_ignored(ix, &name, path, b""),
            Warm::Ask => None,
        });
        if let Some(ticket) = passed {
            assert_eq!(ticket == Ticket::Free, ignored, "must count all but probes");
            if !ignored {
                self.check_claimants(target, cluster);
                self.check_line(target, cluster);
                self.note_use(target);
                assert!(
                    self.gate.row_changed() && !self.gate.row_is_urgent(),
                    "is told of with the next row"
                );
            }
            self.note(stream, ticket, Fate::Passed);
            return;
        }
        let timeout = grpc_timeout.map(|ms| format!("{ms}m")).unwrap_or_default();
        let length = length.map(|length| length.to_string()).unwrap_or_default();
        let request = Request {
            cluster: &name,
            authority: b"a",
            path,
            content_type: if grpc_timeout.is_some() {
                b"application/grpc"
            } else {
                b""
            },
            grpc_timeout: timeout.as_bytes(),
            content_length: length.as_bytes(),
            ..Request::default()
        };
        let longest = grpc_timeout.map_or(HOLD, |ms| HOLD.min(Duration::from_millis(u64::from(ms))));
        self.deadlines.insert(stream, self.now + longest);
        self.came.insert(stream, self.version);
        self.note_arrival(stream, &name, grpc_timeout.is_some(), is_probe);
        let expected = ix.map(|_| self.stance(target));
        match self.gate.arrive(self.now, stream, ix, &request) {
            Verdict::Pass(ticket) => {
                if ticket != Ticket::Free && ticket != Ticket::Known {
                    self.check_claimants(target, cluster);
                    self.check_line(target, cluster);
                    self.note_use(target);
                    assert!(
                        matches!(expected, Some(Stance::Serve | Stance::Pass)),
                        "must not pass: {expected:?}"
                    );
                }
                assert!(
                    self.head.known || self.startup_is(StartupThen::Pass),
                    "must wait for the first snapshot"
                );
                self.note(stream, ticket, Fate::Passed);
            }
            Verdict::Refuse(reply) => {
                let refusal = match expected {
                    None if self.startup_is(StartupThen::Refuse) => Refusal::NoSnapshot,
                    _ if ignored => Refusal::Ignored,
                    Some(Stance::Refuse(refusal)) => refusal,
                    _ => panic!("must not refuse what is {expected:?}: {reply:?}"),
                };
                assert_eq!(reply.refusal, refusal, "must say why");
                if ix.is_none() {
                    self.forget_use(None);
                }
                self.note_refused_at_once(target, refusal);
                if !ignored && ix.is_some() {
                    self.note_use(target);
                }
                self.note(stream, Ticket::Free, Fate::Refused);
            }
            Verdict::Hold(claim) => {
                assert!(ix.is_none() || !ignored, "must not hold probes");
                let queues = || {
                    let mut all = self.fates.values();
                    all.any(|fate| matches!(fate, Fate::Held { target: Some(of), .. } if *of == target))
                };
                assert!(
                    match expected {
                        None => self.startup_is(StartupThen::Hold),
                        Some(Stance::Pass) => queues(),
                        Some(Stance::Refuse(_)) => false,
                        Some(Stance::Serve | Stance::Hold) => true,
                    },
                    "must not hold what is {expected:?}"
                );
                self.claim(stream, claim, ix.map(|_| target), cluster);
            }
        }
    }

    /// True if the first snapshot is overdue, and this is what happens to requests then. `Hold` also before that.
    fn startup_is(&self, then: StartupThen) -> bool {
        let startup = &self.config.startup;
        let is_over = self.now >= startup.wait;
        !self.head.known
            && match then {
                StartupThen::Hold => !is_over || startup.then == then,
                _ => is_over && startup.then == then,
            }
    }

    fn ignores(&self, target: u8) -> bool {
        let record = self
            .records
            .get(&target)
            .and_then(|record| record.target.as_ref());
        record.is_some_and(|target| !target.ignore.is_empty())
    }

    fn claim(&mut self, stream: StreamId, mut claim: Claim, target: Option<u8>, cluster: u8) {
        let weight = Weight {
            head: u64::from(stream.0 % 100),
            multiplexed: stream.0.is_multiple_of(2),
        };
        claim.weigh(weight, &self.config);
        let limits = Limits {
            requests: ENVOY_REQUESTS,
            bytes: u64::MAX,
        };
        let denied = self.quota.take(&claim, &limits).err();
        if let Some((bound, of_envoy)) = denied {
            let reply = self.gate.deny(self.now, &claim, bound, of_envoy);
            Self::check_bound(&reply, bound, of_envoy);
            if let Some(target) = target {
                self.note_refused_at_once(target, reply.refusal);
                self.note_use(target);
            } else {
                self.forget_use(None);
                self.note_refused_at_once(0, reply.refusal);
            }
            self.note(stream, Ticket::Free, Fate::Refused);
            return;
        }
        let ticket = self
            .gate
            .hold(self.now, stream, claim)
            .expect("there is room for two clusters");
        self.note_held(stream);
        if let Some(target) = target {
            self.note_use(target);
        }
        let order = self.next_order;
        self.next_order += 1;
        self.note(
            stream,
            ticket,
            Fate::Held {
                target,
                cluster,
                order,
            },
        );
    }

    fn note(&mut self, stream: StreamId, ticket: Ticket, fate: Fate) {
        self.tickets.insert(stream, ticket);
        self.fates.insert(stream, fate);
    }

    fn pick(&self, nth: usize, wanted: impl Fn(Fate) -> bool) -> Option<StreamId> {
        let streams: Vec<_> = self
            .fates
            .iter()
            .filter(|(_, fate)| wanted(**fate))
            .map(|(stream, _)| *stream)
            .collect();
        (!streams.is_empty()).then(|| streams[nth % streams.len()])
    }

    fn end(&mut self, stream: StreamId) {
        if matches!(self.fates[&stream], Fate::Held { .. }) {
            self.note_gone(stream);
        }
        self.gate.ended(self.now, stream, self.tickets[&stream]);
        self.is_answered(stream);
        self.fates.insert(stream, Fate::Ended);
    }

    fn answer_confirm(&mut self, yes: u8) {
        while let Some(call) = self.gate.poll_confirm(self.now) {
            self.asked.push(call.token);
        }
        if let Some(token) = self.asked.pop() {
            let outcome = match yes {
                0 => Outcome::NoEndpoint,
                1 => Outcome::Refused,
                4 => Outcome::NoCluster,
                5 => Outcome::Cut,
                6 => Outcome::NoAnswer,
                7 => Outcome::NotServing,
                8 => Outcome::Failed,
                2 => Outcome::Answered {
                    status: 503,
                    grpc_status: None,
                },
                _ => Outcome::Answered {
                    status: 200,
                    grpc_status: None,
                },
            };
            self.note_confirm(outcome);
            self.gate.confirmed(self.now, token, outcome);
        }
    }

    fn advance(&mut self, to: Time) {
        self.now = to;
        self.open_windows();
        self.gate.handle_timeout(self.now);
    }

    /// Draining commands ends, names each held stream at most once, and none that has ended.
    fn drain(&mut self) {
        for _ in 0..=2 * self.fates.len() + 1 {
            let has_work = self.gate.has_work(self.now);
            let Some(command) = self.gate.poll_command(self.now) else {
                assert!(
                    !self.gate.has_work(self.now),
                    "must have no work once it says nothing more"
                );
                self.check_deadlines();
                self.check_drained();
                return;
            };
            assert!(has_work, "must know that there is something to do: {command:?}");
            self.carry_out(command);
        }
        panic!("draining commands must end");
    }

    /// Once everything is known, nobody is held for longer than the target or the client allows.
    fn check_deadlines(&self) {
        let held = |stream: &StreamId| matches!(self.fates[stream], Fate::Held { .. });
        let late: Vec<_> = self
            .deadlines
            .iter()
            .filter(|(stream, deadline)| self.head.known && **deadline <= self.now && held(stream))
            .collect();
        assert!(
            late.is_empty(),
            "must be refused in time at {:?}: {late:?}",
            self.now
        );
    }

    /// What was held goes only where nobody else has moved in meanwhile.
    fn let_go(&mut self, stream: StreamId) {
        let Fate::Held {
            target: Some(target),
            cluster,
            ..
        } = self.fates[&stream]
        else {
            panic!(
                "must let go only what is held for somebody: {stream:?} is {:?}",
                self.fates[&stream]
            )
        };
        let name = cluster_name(target, cluster);
        let is_of = |record: &SlotRecord| {
            let target = record.target.as_ref();
            target.is_some_and(|target| target.clusters.contains(&name))
        };
        let owners: Vec<u8> = self
            .records
            .iter()
            .filter(|(_, record)| is_of(record))
            .map(|(owner, _)| *owner)
            .collect();
        let command = self
            .gate
            .let_go(self.now, stream, b"a")
            .expect("must be let go, or refused");
        if matches!(command, Command::Resume(_)) {
            let came = self.came[&stream];
            let moved_in = |owner: &u8| owners.len() > 1 && self.shared_since[owner] > came;
            let is_gone = self
                .records
                .get(&target)
                .is_none_or(|record| record.target.is_none());
            assert!(
                (owners.is_empty() && is_gone) || owners.contains(&target) && !owners.iter().any(moved_in),
                "must not let go what was held for {target} by {name}, which is {owners:?}'s now"
            );
        } else {
            assert!(
                owners != [target],
                "must let go what has changed for nobody: {command:?}"
            );
        }
        self.carry_out(command);
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Release(stream) => self.let_go(stream),
            Command::Resume(stream) => {
                let Fate::Held {
                    target,
                    cluster,
                    order,
                } = self.fates[&stream]
                else {
                    panic!(
                        "must resume only what is held: {stream:?} is {:?}",
                        self.fates[&stream]
                    )
                };
                if let Some(target) = target {
                    // What a removed target held passes, whoever has its key now.
                    let resumed = self.gate.streams.get(&stream);
                    let ix = match resumed {
                        Some(Stream::Resumed { target, .. }) => *target,
                        _ => None,
                    };
                    let entry = ix.and_then(|ix| self.gate.entry(ix));
                    if entry.is_some_and(|entry| !entry.retired) {
                        self.check_claimants(target, cluster);
                    }
                    if matches!(resumed, Some(Stream::Resumed { window: Some(_), .. })) {
                        self.release(target, stream);
                    }
                    let last = self.last_resumed.insert((target, cluster), order);
                    assert!(last.is_none_or(|last| last < order), "first in must be first out");
                } else {
                    self.check_settled(stream, told::Settled::LetGo);
                    self.forget_use(None);
                }
                self.note_let_go(stream);
                self.fates.insert(stream, Fate::Resumed);
            }
            Command::Refuse(stream, reply) => {
                assert!(
                    matches!(self.fates[&stream], Fate::Held { .. }),
                    "must refuse only what is held: {stream:?} is {:?}",
                    self.fates[&stream]
                );
                assert!(
                    reply.retry_after >= 1 && !reply.body.is_empty(),
                    "must say when to come back, and why"
                );
                assert!(
                    reply.status != 504 || self.now >= self.deadlines[&stream],
                    "must be held for as long as it may be: {:?} at {:?}",
                    self.deadlines[&stream],
                    self.now
                );
                if matches!(self.fates[&stream], Fate::Held { target: None, .. }) {
                    self.check_settled(stream, told::Settled::Refused(reply.refusal));
                    self.forget_use(None);
                }
                self.note_refused(stream, &reply);
                self.fates.insert(stream, Fate::Refused);
            }
            Command::Claim {
                stream,
                slot,
                max_requests,
                max_bytes,
                bytes,
            } => {
                assert!(
                    matches!(self.fates[&stream], Fate::Held { target: None, .. }),
                    "must claim for what waits"
                );
                self.note_use(u8::try_from(slot.0).unwrap());
                assert!(bytes >= REQUEST_CHARGE, "must be charged: {bytes}");
                self.check_settled(stream, told::Settled::Claimed);
                let granted = self.quota.take_of(Some(slot), bytes, max_requests, max_bytes);
                self.denied = granted.err();
                if let Some(command) = self.gate.claimed(self.now, stream, granted) {
                    self.carry_out(command);
                } else if let Some(Fate::Held { target, .. }) = self.fates.get_mut(&stream) {
                    *target = u8::try_from(slot.0).ok();
                    self.check_urgent(stream);
                }
                self.denied = None;
            }
        }
    }

    fn release(&mut self, target: u8, stream: StreamId) {
        let released = self.released.entry(target).or_default();
        assert!(
            released.unanswered.len() < released.share,
            "no more than its share may be unanswered: {released:?}"
        );
        released.unanswered.insert(stream);
        if released.unanswered.len() >= released.share {
            released.since = self.now;
        }
    }

    /// A key with several claimants holds until all of them are ready. One that has lost it holds for itself alone.
    fn check_claimants(&self, target: u8, cluster: u8) {
        let claims = |record: &&SlotRecord| {
            let name = cluster_name(target, cluster);
            record
                .target
                .as_ref()
                .is_some_and(|target| target.clusters.contains(&name))
        };
        if cluster != SHARED || !self.records.get(&target).is_some_and(|record| claims(&record)) {
            return;
        }
        for claimant in self
            .records
            .values()
            .filter(claims)
            .filter_map(|record| record.target.as_ref())
        {
            let passes_when_lost =
                claimant.hold.on_control_plane_loss == LossPolicy::Pass && claimant.state != State::Draining;
            assert!(
                matches!(claimant.state, State::Ready | State::Suspended)
                    || (self.head.lost && passes_when_lost),
                "must hold until every claimant is ready: {:?} is {:?}",
                claimant.id,
                claimant.state
            );
        }
    }

    /// What the shell does at the end of each callback, and what must hold after it.
    fn settle(&mut self) {
        let credits = self.gate.take_credits();
        assert!(
            credits
                .iter()
                .all(|credit| credit.requests > 0 || credit.bytes > 0),
            "must not give back nothing: {credits:?}"
        );
        self.quota.give_back(&credits);
        for slot in (0..u32::from(TARGETS)).map(Slot) {
            let (requests, bytes) = self.quota.total(Some(slot));
            assert!(
                requests <= u64::from(MAX_REQUESTS) && bytes <= MAX_BYTES,
                "bounds must hold: {requests} requests, {bytes} bytes"
            );
        }
        let held = self
            .fates
            .values()
            .filter(|fate| matches!(fate, Fate::Held { .. }))
            .count();
        assert_eq!(self.gate.held(), held, "must hold what the model holds");
        assert_eq!(
            self.quota.total(None).0,
            held as u64,
            "every held request must have its credit, and no other"
        );
        assert!(held <= ENVOY_REQUESTS as usize, "the Envoy's bound must hold");
        self.check_counts();
        self.check_row();
        self.check_timeout();
    }

    /// Everybody leaves: nothing may be left.
    fn finish(&mut self) {
        let streams: Vec<_> = self.fates.keys().copied().collect();
        for stream in streams {
            if self.fates[&stream] != Fate::Ended {
                self.end(stream);
            }
        }
        self.settle();
        self.drain();
        assert_eq!(self.gate.held(), 0);
        assert_eq!(
            self.gate.poll_timeout(self.now),
            None,
            "an empty gate must have nothing to wait for"
        );
        let empty = self.gate.streams.is_empty()
            && self.gate.deadlines.is_empty()
            && self.gate.pending.is_empty()
            && self.gate.waiting.is_empty()
            && self.gate.work.is_empty()
            && self.gate.owing.is_empty()
            && self.gate.early.is_empty()
            && self.gate.retired.is_empty();
        assert!(empty, "with nothing held all maps must be empty: {:?}", self.gate);
        let idle = self
            .gate
            .entries
            .iter()
            .flatten()
            .all(|entry| entry.held == 0 && entry.in_flight == 0);
        assert!(
            idle,
            "nothing may be counted as held or in flight: {:?}",
            self.gate.entries
        );
        let lines = self
            .gate
            .entries
            .iter()
            .flatten()
            .flat_map(|entry| &entry.routes)
            .all(|route| route.line.is_empty());
        assert!(lines, "every line must be empty");
    }
}

fn cluster_name(target: u8, cluster: u8) -> String {
    if cluster == SHARED {
        return "shared".to_owned();
    }
    format!("t{target}-c{cluster}")
}

/// Panics where the gate and the model disagree. `startup` says what happens without a first snapshot: one of [`STARTUPS`], by its place.
pub(crate) fn check(startup: usize, events: &[Op]) {
    let mut world = World::new(STARTUPS[startup % STARTUPS.len()]);
    for event in events {
        world.step(event);
    }
    world.finish();
}

#[test]
fn a_gate_agrees_with_the_model() {
    let agreed =
        crate::testing::mk_runner(2_000).run(&(0..3_usize, vec(event(), 1..120)), |(startup, events)| {
            check(startup, &events);
            Ok(())
        });
    agreed.unwrap();
}
