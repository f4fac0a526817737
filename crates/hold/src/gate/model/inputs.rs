//! What happens to the gate: publications, requests, their ends, answers to its questions.

use std::time::Duration;

use protocol::{LossPolicy, State};

use super::world::{
    CLUSTERS, ENVOY_REQUESTS, Fate, HOLD, MAX_BYTES, MAX_REQUESTS, PROBE, SHARED, World, cluster_name,
};
use crate::gate::admission::Admission;
use crate::gate::testing::{ME, mk_target};
use crate::gate::{
    ArrivalDecision, ClusterLookup, ConfirmOutcome, PermitRequest, Request, SlotsToRead, Ticket, Update,
    WarmDecision, Weight,
};
use crate::reply::Refusal;
use crate::{Limits, Slot, SlotRecord, StartupThen, StreamId, Time};

impl World {
    pub(super) fn publish(&mut self, target: u8, published: Option<(State, bool, bool, u32, bool)>) {
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
                confirmed_epoch: (share == 3).then_some(made.epoch),
                target: Some(made),
                ..SlotRecord::default()
            }
        });
        self.put(target, &record);
        let is_first = !self.manifest.known;
        self.manifest.known = true;
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
    pub(super) fn reread(&mut self, without: u8) {
        if !self.manifest.known {
            return;
        }
        if self.records.contains_key(&without) {
            self.put(without, &SlotRecord::default());
        }
        self.manifest.floor = self.version + 1;
        let there = |(target, record): (&u8, &SlotRecord)| {
            record
                .target
                .is_some()
                .then(|| (Slot(u32::from(*target)), record.clone()))
        };
        let slots = self.records.iter().filter_map(there).collect();
        self.apply_all(slots, true);
    }

    pub(super) fn apply(&mut self, slots: Vec<(Slot, SlotRecord)>) {
        self.apply_all(slots, false);
    }

    fn apply_all(&mut self, slots: Vec<(Slot, SlotRecord)>, full: bool) {
        let follows = self.version > 0 && !full;
        self.version += 1;
        self.manifest.version = self.version;
        for (slot, _) in &slots {
            self.manifest.changes.push_back((self.version, *slot));
        }
        self.last = Some((self.manifest.clone(), slots.clone()));
        let wanted = if follows {
            SlotsToRead::Slots(slots.iter().map(|(slot, _)| *slot).collect())
        } else {
            SlotsToRead::All
        };
        assert_eq!(
            self.gate.slots_to_read(&self.manifest),
            wanted,
            "must want what is new"
        );
        self.gate.apply(
            self.now,
            Update {
                manifest: self.manifest.clone(),
                full,
                slots,
            },
        );
        assert_eq!(
            self.gate.slots_to_read(&self.manifest),
            SlotsToRead::Nothing,
            "must want nothing twice"
        );
    }

    /// An older revision changes nothing.
    pub(super) fn apply_stale(&mut self) {
        let Some((manifest, slots)) = self.last.clone() else {
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
                manifest,
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
            !self.gate.status_changed(),
            "there is nothing to tell where nothing happened"
        );
    }

    pub(super) fn arrive(&mut self, target: u8, cluster: u8, grpc_timeout: Option<u16>, length: Option<u32>) {
        // In no order: a stream's headers may come long after those of one that began later.
        let stream = StreamId(self.next_stream.wrapping_mul(0x9e37_79b1));
        self.next_stream += 1;
        let name = cluster_name(target, cluster).into_bytes();
        let ix = match self.gate.find_cluster(&name) {
            ClusterLookup::Target(ix) => Some(ix),
            ClusterLookup::AskHost => self.gate.find_host(b"nobody", &name),
            ClusterLookup::NoCluster | ClusterLookup::NoTarget => None,
            ClusterLookup::ControlPlane => panic!("no request here is for the control plane"),
        };
        // Of several claimants it is the one that the gate has chosen.
        let target = ix
            .and_then(|ix| self.gate.targets.get(ix))
            .and_then(|entry| entry.target().id.as_str().strip_prefix("ns/")?.parse().ok())
            .unwrap_or(target);
        // Every fourth body is a probe's.
        let is_probe = length.is_some_and(|length| length.is_multiple_of(4));
        let path: &[u8] = if is_probe { PROBE.as_bytes() } else { b"/" };
        let ignored = is_probe && self.ignores(target);
        let passed = ix.and_then(|ix| match self.gate.pass(ix, &name) {
            WarmDecision::Pass(ticket) => Some(ticket),
            WarmDecision::Read { .. } => self.gate.pass_unless_ignored(ix, &name, path, b""),
            WarmDecision::Arrive => None,
        });
        if let Some(ticket) = passed {
            assert_eq!(ticket == Ticket::Free, ignored, "must count all but probes");
            if !ignored {
                self.check_claimants(target, cluster);
                self.check_queue(target, cluster);
                self.note_use(target);
                assert!(
                    self.gate.status_changed() && !self.gate.status.is_urgent(),
                    "is told of with the next status"
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
        let expected = ix.map(|_| self.admission(target));
        match self.gate.arrive(self.now, stream, ix, &request) {
            ArrivalDecision::Pass(ticket) => {
                if ticket != Ticket::Free && ticket != Ticket::Known {
                    self.check_claimants(target, cluster);
                    self.check_queue(target, cluster);
                    self.note_use(target);
                    assert!(
                        matches!(expected, Some(Admission::Serve | Admission::Pass)),
                        "must not pass: {expected:?}"
                    );
                }
                assert!(
                    self.manifest.known || self.startup_is(StartupThen::Pass),
                    "must wait for the first snapshot"
                );
                self.note(stream, ticket, Fate::Passed);
            }
            ArrivalDecision::Refuse(reply) => {
                let refusal = match expected {
                    None if self.startup_is(StartupThen::Refuse) => Refusal::NoSnapshot,
                    _ if ignored => Refusal::Ignored,
                    Some(Admission::Refuse(refusal)) => refusal,
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
            ArrivalDecision::Hold(permits) => {
                assert!(ix.is_none() || !ignored, "must not hold probes");
                let queues = || {
                    let mut all = self.fates.values();
                    all.any(|fate| matches!(fate, Fate::Held { target: Some(of), .. } if *of == target))
                };
                assert!(
                    match expected {
                        None => self.startup_is(StartupThen::Hold),
                        Some(Admission::Pass) => queues(),
                        Some(Admission::Refuse(_)) => false,
                        Some(Admission::Serve | Admission::Hold) => true,
                    },
                    "must not hold what is {expected:?}"
                );
                self.take_permits(stream, permits, ix.map(|_| target), cluster);
            }
        }
    }

    /// True if the first snapshot is overdue, and this is what happens to requests then. `Hold` also before that.
    fn startup_is(&self, then: StartupThen) -> bool {
        let startup = &self.config.startup;
        let is_over = self.now >= Time::new(startup.wait);
        !self.manifest.known
            && match then {
                StartupThen::Hold => !is_over || startup.then == then,
                _ => is_over && startup.then == then,
            }
    }

    pub(super) fn ignores(&self, target: u8) -> bool {
        let record = self
            .records
            .get(&target)
            .and_then(|record| record.target.as_ref());
        record.is_some_and(|target| !target.ignore.is_empty())
    }

    fn take_permits(
        &mut self,
        stream: StreamId,
        mut permits: PermitRequest,
        target: Option<u8>,
        cluster: u8,
    ) {
        let weight = Weight {
            head: u64::from(stream.0 % 100),
            multiplexed: stream.0.is_multiple_of(2),
        };
        permits.weigh(weight, &self.config);
        let limits = Limits {
            requests: ENVOY_REQUESTS,
            bytes: u64::MAX,
        };
        let denied = self.quota.take(&permits, &limits).err();
        if let Some((bound, of_envoy)) = denied {
            let reply = self.gate.deny(self.now, &permits, bound, of_envoy);
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
            .hold(self.now, stream, permits)
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

    pub(super) fn end(&mut self, stream: StreamId) {
        if matches!(self.fates[&stream], Fate::Held { .. }) {
            self.note_gone(stream);
        }
        self.gate.ended(self.now, stream, self.tickets[&stream]);
        self.is_answered(stream);
        self.fates.insert(stream, Fate::Ended);
    }

    pub(super) fn answer_confirm(&mut self, yes: u8) {
        if self.asked.is_empty() {
            self.drain();
        }
        if let Some(token) = self.asked.pop() {
            let outcome = match yes {
                0 => ConfirmOutcome::NoEndpoint,
                1 => ConfirmOutcome::Refused,
                4 => ConfirmOutcome::NoCluster,
                5 => ConfirmOutcome::Cut,
                6 => ConfirmOutcome::NoAnswer,
                7 => ConfirmOutcome::NotServing,
                8 => ConfirmOutcome::Failed,
                2 => ConfirmOutcome::Answered {
                    status: 503,
                    grpc_status: None,
                },
                _ => ConfirmOutcome::Answered {
                    status: 200,
                    grpc_status: None,
                },
            };
            self.note_confirm(outcome);
            self.gate.confirmed(self.now, token, outcome);
        }
    }
}
