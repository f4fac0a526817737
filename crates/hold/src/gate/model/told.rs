//! What the model expects the gate to say of itself: its status, its counts, what is urgent, and what was held for how long.
//!
//! Long because statuses, counts, urgency and times are expected from one record of what came.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{LossPolicy, State};

use super::world::{Fate, SHARED, World};
use crate::gate::admission::Admission;
use crate::gate::entry::Entry;
use crate::gate::streams::Stream;
use crate::gate::testing::ME;
use crate::gate::{Answered, ClusterLookup, ConfirmOutcome, Counts, Tally, TargetIx, Ticket};
use crate::reply::{Refusal, Reply};
use crate::{Bound, GateStatus, Slot, StartupThen, StreamId, TargetUsage, Time};

/// What the model has seen that the gate must tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Expected since the last look.
    counts: Counts,
    /// What the gate has counted since then.
    counted: Counts,
    /// Each request that was not let through at once.
    came: BTreeMap<StreamId, Came>,
    /// What the first answer to each must be told.
    answers: BTreeMap<StreamId, Answered>,
    /// When the last request came for each target, where the model knows it.
    arrivals: BTreeMap<u8, Time>,
    status: GateStatus,
}

#[derive(Debug)]
struct Came {
    at: Time,
    cluster: Vec<u8>,
    grpc: bool,
    is_probe: bool,
}

/// What becomes of a request that waits for the first snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    LetGo,
    Refused(Refusal),
    AskedPermits,
}

/// Refused arrivals are no news within so much time of another.
const NEWS: Duration = Duration::from_secs(1);

impl World {
    /// A request that was not let through at once.
    pub(super) fn note_arrival(&mut self, stream: StreamId, cluster: &[u8], grpc: bool, is_probe: bool) {
        let came = Came {
            at: self.now,
            cluster: cluster.to_vec(),
            grpc,
            is_probe,
        };
        self.told.came.insert(stream, came);
    }

    /// A request of this target has come, and counts as its use.
    pub(super) fn note_use(&mut self, target: u8) {
        self.told.arrivals.insert(target, self.now);
    }

    /// Targets of whose arrivals the model knows nothing any more; `None` is all.
    pub(super) fn forget_use(&mut self, target: Option<u8>) {
        self.told
            .arrivals
            .retain(|of, _| target.is_some_and(|target| target != *of));
    }

    /// A request is held from now on; the first of its target must be told of at once.
    pub(super) fn note_held(&mut self, stream: StreamId) {
        self.told.counts.held += 1;
        self.check_urgent(stream);
    }

    pub(super) fn check_urgent(&self, stream: StreamId) {
        let held = self.gate.streams.get_held(stream);
        let entry = held.and_then(|held| self.gate.targets.get(held.target));
        if entry.is_some_and(|entry| entry.queues().held() == 1) {
            assert!(
                self.gate.status.is_urgent(),
                "the first that is held must be told of at once"
            );
        }
    }

    /// A request is refused that was not held before.
    pub(super) fn note_refused_at_once(&mut self, target: u8, refusal: Refusal) {
        count(&mut self.told.counts, refusal);
        let is_news = self
            .told
            .arrivals
            .get(&target)
            .map(|at| self.now.since(*at) > NEWS);
        if refusal == Refusal::Ignored {
            assert!(!self.gate.status.is_urgent(), "a probe is no news");
        } else if let Some(is_news) = is_news {
            assert_eq!(
                self.gate.status.is_urgent(),
                is_news,
                "must be told of at once if there was none for a while"
            );
        }
    }

    pub(super) fn note_let_go(&mut self, stream: StreamId) {
        self.told.counts.released += 1;
        let waited = self.note_end_of_hold(stream);
        self.told.answers.insert(
            stream,
            Answered {
                waited,
                refused: None,
            },
        );
    }

    pub(super) fn note_refused(&mut self, stream: StreamId, reply: &Reply) {
        count(&mut self.told.counts, reply.refusal);
        let waited = self.note_end_of_hold(stream);
        let grpc = self.told.came[&stream].grpc;
        assert_eq!(
            reply.grpc_status.is_some(),
            grpc,
            "must be refused in its own way"
        );
        let refused = grpc.then_some(reply.refusal);
        self.told.answers.insert(stream, Answered { waited, refused });
    }

    pub(super) fn note_gone(&mut self, stream: StreamId) {
        self.told.counts.gone += 1;
        self.note_end_of_hold(stream);
    }

    fn note_end_of_hold(&mut self, stream: StreamId) -> Duration {
        let waited = self.now.since(self.told.came[&stream].at);
        self.told.counts.waits.push(waited);
        waited
    }

    pub(super) fn note_confirm(&mut self, outcome: ConfirmOutcome) {
        let tally = match outcome {
            ConfirmOutcome::Answered { status: 503, .. } | ConfirmOutcome::NotServing => Tally::NotThere,
            ConfirmOutcome::Answered { .. } => Tally::Yes,
            ConfirmOutcome::NoEndpoint => Tally::NoEndpoint,
            ConfirmOutcome::NoCluster => Tally::NoCluster,
            ConfirmOutcome::Refused | ConfirmOutcome::Failed => Tally::Unreachable,
            ConfirmOutcome::Cut => Tally::Cut,
            ConfirmOutcome::NoAnswer => Tally::NoAnswer,
        };
        self.told.counts.confirms[place(tally)] += 1;
    }

    /// The answer to a request comes by: that of a request that was held says for how long.
    pub(super) fn answer(&mut self, stream: StreamId) {
        let expected = self.told.answers.get(&stream).copied();
        let answered = self.gate.answered(self.now, stream);
        assert_eq!(
            answered, expected,
            "must know for how long it was held, and only of what was"
        );
    }

    /// How requests of this target fare, if no other target claimed its keys.
    pub(super) fn admission(&self, target: u8) -> Admission {
        let record = self
            .records
            .get(&target)
            .and_then(|record| record.target.as_ref());
        let Some(target) = record else {
            return Admission::Pass;
        };
        let lost = |policy| self.manifest.lost && target.hold.on_control_plane_loss == policy;
        match target.state {
            State::Suspended => Admission::Pass,
            State::Ready => Admission::Serve,
            State::Draining => Admission::Hold,
            _ if lost(LossPolicy::Pass) => Admission::Pass,
            State::Failed => Admission::Refuse(Refusal::Failed),
            _ if lost(LossPolicy::Refuse) => Admission::Refuse(Refusal::ControlPlaneLost),
            _ => Admission::Hold,
        }
    }

    /// A bound that was reached, and how that is told.
    pub(super) fn check_bound(reply: &Reply, bound: Bound, of_envoy: bool) {
        let expected = match (bound, of_envoy) {
            (Bound::Requests, true) => Refusal::EnvoyRequests,
            (Bound::Bytes, true) => Refusal::EnvoyBytes,
            (Bound::Requests, false) => Refusal::TargetRequests,
            (Bound::Bytes, false) => Refusal::TargetBytes,
        };
        assert_eq!(reply.refusal, expected, "must say which bound was reached");
    }

    /// No request overtakes one that waits.
    pub(super) fn check_queue(&self, target: u8, cluster: u8) {
        let removed = self.removed_at.get(&target).copied().unwrap_or(0);
        let waits = |(stream, fate): (&StreamId, &Fate)| {
            let is_same = matches!(fate, Fate::Held { target: Some(of), cluster: by, .. } if (*of, *by) == (target, cluster));
            is_same && self.came[stream] >= removed
        };
        assert!(!self.fates.iter().any(waits), "must queue behind those that wait");
    }

    /// What waited for the first snapshot fares as if it had come with it; without one, as the configuration has it.
    pub(super) fn check_settled(&self, stream: StreamId, settled: Settled) {
        let came = &self.told.came[&stream];
        if !self.manifest.known {
            let startup = &self.config.startup;
            let expected = match startup.then {
                StartupThen::Pass => Settled::LetGo,
                StartupThen::Refuse => Settled::Refused(Refusal::NoSnapshot),
                StartupThen::Hold => panic!("{stream:?} must wait on"),
            };
            assert_eq!(settled, expected);
            assert!(
                self.now >= Time::new(startup.wait),
                "{stream:?} must wait for the first snapshot"
            );
            return;
        }
        if let Some(bound) = self.denied {
            let refusal = match bound {
                Bound::Requests => Refusal::TargetRequests,
                Bound::Bytes => Refusal::TargetBytes,
            };
            assert_eq!(
                settled,
                Settled::Refused(refusal),
                "must say which bound was reached"
            );
            return;
        }
        let found = match self.gate.find_cluster(&came.cluster) {
            ClusterLookup::Target(ix) => self.gate.targets.get(ix),
            _ => None,
        };
        let Some(target) = found.map(|entry| u8::try_from(entry.slot().0).unwrap()) else {
            assert_eq!(settled, Settled::LetGo, "{stream:?} is no target's");
            return;
        };
        let (admission, ignored) = (self.admission(target), came.is_probe && self.ignores(target));
        let is_right = match (settled, admission) {
            (Settled::LetGo, Admission::Serve | Admission::Pass) => true,
            (Settled::Refused(Refusal::Ignored), Admission::Hold | Admission::Refuse(_)) => ignored,
            (Settled::Refused(told), Admission::Refuse(refusal)) => told == refusal && !ignored,
            (Settled::AskedPermits, Admission::Serve | Admission::Pass | Admission::Hold) => !ignored,
            _ => false,
        };
        assert!(
            is_right,
            "{stream:?} of {target}, {admission:?}, must not be {settled:?}"
        );
        if let Some(Stream::Resumed { target, .. }) = self.gate.streams.get(stream) {
            assert_eq!(
                target.is_some(),
                !ignored,
                "must be in flight, unless it is ignored"
            );
        }
    }

    /// Once there is nothing more to decide, nothing is held that need not be.
    pub(super) fn check_drained(&self) {
        for (stream, fate) in &self.fates {
            let Fate::Held { target, cluster, .. } = *fate else {
                continue;
            };
            let Some(target) = target else {
                let startup = &self.config.startup;
                assert!(
                    !self.manifest.known
                        && (startup.then == StartupThen::Hold || self.now < Time::new(startup.wait)),
                    "{stream:?} must not wait on"
                );
                continue;
            };
            // Of a key with several claimants only those that refuse need not wait for the others.
            let waits = cluster == SHARED && self.records.contains_key(&target);
            match self.admission(target) {
                Admission::Pass => assert!(waits, "{stream:?} of {target} must pass"),
                Admission::Refuse(refusal) => panic!("{stream:?} of {target} must be refused: {refusal:?}"),
                Admission::Serve | Admission::Hold => {}
            }
        }
    }

    /// The first snapshot has come: what was let through before it is its target's use.
    pub(super) fn check_early(&self) {
        for (stream, fate) in &self.fates {
            let target = match (*fate, self.tickets[stream], self.gate.streams.get(*stream)) {
                (Fate::Ended | Fate::Held { .. } | Fate::Refused, ..) | (_, Ticket::Free, _) => continue,
                (_, _, Some(Stream::Resumed { target, .. } | Stream::Passed { target })) => target,
                (_, _, other) => panic!("must know {stream:?}, which was let through: {other:?}"),
            };
            let cluster = &self.told.came[stream].cluster;
            let is_found = matches!(self.gate.find_cluster(cluster), ClusterLookup::Target(_));
            assert_eq!(
                target.is_some(),
                is_found,
                "{stream:?} must be in flight if it is a target's"
            );
        }
    }

    /// The gate has counted this.
    pub(super) fn count(&mut self, counts: Counts) {
        assert!(!counts.is_empty(), "must not be taken for nothing");
        let all = &mut self.told.counted;
        all.held += counts.held;
        all.released += counts.released;
        all.gone += counts.gone;
        all.confirm_give_up += counts.confirm_give_up;
        for (all, one) in all.refused.iter_mut().zip(counts.refused) {
            *all += one;
        }
        for (all, one) in all.confirms.iter_mut().zip(counts.confirms) {
            *all += one;
        }
        all.waits.extend(counts.waits);
    }

    pub(super) fn check_counts(&mut self) {
        let mut counts = std::mem::take(&mut self.told.counted);
        let expected = std::mem::take(&mut self.told.counts);
        // What is believed follows from rules that the model does not have.
        counts.confirms[place(Tally::Believed)] = 0;
        counts.confirm_give_up = 0;
        assert_eq!(counts, expected, "must be counted");
    }

    /// The gate wants to be called again in time for whatever is due next, and only if something is.
    pub(super) fn check_timeout(&self) {
        let next = self.gate.poll_timeout();
        let startup = &self.config.startup;
        let mut held = 0;
        for (stream, fate) in &self.fates {
            let due = match fate {
                Fate::Held { target: Some(_), .. } => Some(self.deadlines[stream]),
                // It is decided at the next callback.
                Fate::Held { target: None, .. } if self.manifest.known => None,
                Fate::Held { target: None, .. } if startup.then != StartupThen::Hold => {
                    Some(Time::new(startup.wait))
                }
                Fate::Held { .. } => None,
                _ => continue,
            };
            held += 1;
            if let Some(due) = due.filter(|due| *due > self.now) {
                assert!(
                    next.is_some_and(|next| next <= due),
                    "must come back for {stream:?} by {due:?}: {next:?}"
                );
            }
        }
        assert!(held > 0 || next.is_none(), "must rest while nothing is held");
    }

    /// The status says what the gate holds and has in flight, and for which targets requests came lately.
    /// `changed`: the gate knew that this is not what it told last.
    pub(super) fn check_status(&mut self, changed: bool, status: GateStatus) {
        assert!(
            !self.gate.status.has_changed() && !self.gate.status.is_urgent(),
            "must be told once"
        );
        assert_eq!((status.nonce, status.applied), (ME.nonce, self.version));
        assert!(
            status.heartbeat > self.told.status.heartbeat,
            "must show that it lives"
        );
        let in_use = |status: &GateStatus| -> Vec<TargetUsage> {
            let used = status
                .entries
                .iter()
                .filter(|entry| entry.held > 0 || entry.in_flight > 0);
            used.map(|entry| TargetUsage {
                idle_ms: None,
                ..*entry
            })
            .collect()
        };
        assert!(
            changed
                || status.applied == self.told.status.applied && in_use(&status) == in_use(&self.told.status),
            "must know that the status has changed: {status:?} was {:?}",
            self.told.status
        );
        self.check_entries(&status);
        self.told.status = status;
    }

    /// Streams of removed targets that had a cluster which is this one's now; `None` if no such target is left.
    fn inherited(&self, entry: &Entry) -> Option<u32> {
        let has = |cluster: &String| entry.target().clusters.contains(cluster);
        let all = self.gate.targets.iter().filter_map(|(_, other)| other);
        all.filter(|other| other.is_retired() && other.target().clusters.iter().any(has))
            .map(Entry::in_flight)
            .reduce(|one, other| one + other)
    }

    fn check_entries(&self, status: &GateStatus) {
        let used = self.used();
        for (ix, entry) in self.gate.targets.iter() {
            let (held, in_flight) = used.get(&ix).copied().unwrap_or_default();
            let Some(entry) = entry else {
                assert_eq!((held, in_flight), (0, 0), "must not forget what is in use");
                continue;
            };
            assert_eq!(
                (entry.queues().held(), entry.in_flight()),
                (held, in_flight),
                "must count all: {entry:?}"
            );
            if entry.is_retired() {
                continue;
            }
            let inherited = self.inherited(entry);
            let in_flight = in_flight + inherited.unwrap_or(0);
            let told = status.entries.iter().find(|told| told.slot == entry.slot());
            let in_use = told.map_or((0, 0), |told| (told.held, told.in_flight));
            assert_eq!(in_use, (held, in_flight), "must be in the status: {entry:?}");
            let target = u8::try_from(entry.slot().0).unwrap();
            if let Some(at) = self.told.arrivals.get(&target) {
                let age = self.now.since(*at);
                let recent = (age < GateStatus::RECENT).then(|| protocol::millis(age));
                let idle = told.and_then(|told| told.idle_ms);
                assert_eq!(idle, recent, "must say since when nothing came: {entry:?}");
                let listed = held > 0 || in_flight > 0 || recent.is_some() || inherited.is_some();
                assert_eq!(
                    told.is_some(),
                    listed,
                    "must be listed as long as it is in use: {entry:?}"
                );
            }
        }
        for told in &status.unreached {
            let Slot(slot) = told.slot;
            let target = u8::try_from(slot).unwrap();
            assert_eq!(
                self.admission(target),
                Admission::Serve,
                "only what is ready can be unreached"
            );
            let holds = status
                .entries
                .iter()
                .any(|entry| entry.slot == told.slot && entry.held > 0);
            assert!(holds, "must keep something held: {told:?}");
        }
    }

    /// What is held, and what is in flight, by the places in the gate that the streams name.
    fn used(&self) -> BTreeMap<TargetIx, (u32, u32)> {
        let mut used: BTreeMap<TargetIx, (u32, u32)> = BTreeMap::new();
        let live: BTreeSet<StreamId> = self
            .fates
            .iter()
            .filter(|(_, fate)| **fate != Fate::Ended)
            .map(|(stream, _)| *stream)
            .collect();
        for stream in live {
            match (self.tickets[&stream], self.gate.streams.get(stream)) {
                (Ticket::Passed(ix), _) => used.entry(ix).or_default().1 += 1,
                (Ticket::Known, Some(Stream::Held(held))) => used.entry(held.target).or_default().0 += 1,
                (
                    Ticket::Known,
                    Some(Stream::Resumed { target: Some(ix), .. } | Stream::Passed { target: Some(ix) }),
                ) => used.entry(*ix).or_default().1 += 1,
                _ => {}
            }
        }
        used
    }
}

fn count(counts: &mut Counts, refusal: Refusal) {
    let place = Refusal::ALL.iter().position(|other| *other == refusal).unwrap();
    counts.refused[place] += 1;
}

fn place(tally: Tally) -> usize {
    Tally::ALL.iter().position(|other| *other == tally).unwrap()
}
