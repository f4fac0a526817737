//! A shell of the gate: carries out each output, and checks that it may come at all, now, and after the one before.

use std::collections::BTreeSet;

use super::told::Settled;
use super::world::{Fate, World, cluster_name};
use crate::gate::streams::Stream;
use crate::gate::{Output, ReturnedPermits, TargetPermits};
use crate::{REQUEST_CHARGE, Reply, SlotRecord, StreamId};

/// The place of an output in the order that [`Output`] documents.
fn rank(output: &Output) -> u8 {
    match output {
        Output::Confirm(_) => 0,
        Output::ReadAuthority(_) | Output::TakePermits(..) | Output::Resume(_) | Output::Refuse(..) => 1,
        Output::PublishStatus(_) => 2,
        Output::NotifyRelay => 3,
        Output::ReturnPermits(_) => 4,
        Output::Count(_) => 5,
        Output::Log(..) => 6,
        Output::Wake => 7,
    }
}

impl World {
    /// A root callback, and as many as follow because something was left. Outputs end, and come in order.
    pub(super) fn drain(&mut self) {
        self.open_windows();
        // More than the streams can need.
        for _ in 0..=self.fates.len() + 2 {
            self.gate.handle_timeout(self.now);
            if !self.take_outputs(true) {
                self.check_deadlines();
                self.check_drained();
                return;
            }
        }
        panic!("decisions must end");
    }

    /// The end of a stream callback: it may neither ask nor decide.
    pub(super) fn settle(&mut self) {
        self.gate.publish_status(self.now);
        self.take_outputs(false);
        self.check_bounds();
        self.check_counts();
        self.check_timeout();
    }

    /// True if the gate wants to be called again.
    fn take_outputs(&mut self, in_root: bool) -> bool {
        let (mut wakes, mut last, mut is_named) = (false, 0, BTreeSet::new());
        for _ in 0..=20 * self.fates.len() + 100 {
            let changed = self.gate.status_changed();
            let decides = self.gate.has_decisions(self.now);
            let Some(output) = self.gate.poll_output() else {
                return wakes;
            };
            let rank = rank(&output);
            assert!(rank >= last, "must come in order, not after {last}: {output:?}");
            last = rank;
            assert!(
                in_root || rank > 1,
                "only a root callback may do this: {output:?}"
            );
            if let Output::Resume(stream) | Output::Refuse(stream, _) | Output::ReadAuthority(stream) =
                &output
            {
                assert!(is_named.insert(*stream), "must decide once: {output:?}");
            }
            assert!(
                decides || rank != 1,
                "must know that there is something to do: {output:?}"
            );
            wakes |= output == Output::Wake;
            match output {
                Output::PublishStatus(status) => self.check_status(changed, status),
                output => self.carry_out(output),
            }
        }
        panic!("outputs must end");
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Confirm(call) => self.asked.push(call.token),
            Output::ReadAuthority(stream) => self.release(stream),
            Output::TakePermits(stream, permits) => self.grant(stream, permits),
            Output::Resume(stream) => self.resume(stream),
            Output::Refuse(stream, reply) => self.refuse(stream, &reply),
            Output::ReturnPermits(permits) => {
                let is_some = |back: &ReturnedPermits| back.requests > 0 || back.bytes > 0;
                assert!(
                    permits.iter().all(is_some),
                    "must not give back nothing: {permits:?}"
                );
                self.quota.give_back(&permits);
            }
            Output::Count(counts) => self.count(*counts),
            Output::Log(_, line) => assert!(!line.is_empty(), "must say something"),
            Output::PublishStatus(_) | Output::NotifyRelay | Output::Wake => {}
        }
    }

    /// A held request goes only by a key that no other target has taken meanwhile.
    fn release(&mut self, stream: StreamId) {
        let Fate::Held {
            target: Some(target),
            cluster,
            ..
        } = self.fates[&stream]
        else {
            panic!(
                "must let go only what is held for a target: {stream:?} is {:?}",
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
        self.gate.release(self.now, stream, b"a");
        let output = self.gate.poll_output().expect("must be let go, or refused");
        if matches!(output, Output::Resume(_)) {
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
                "must let go a request whose key has no other target: {output:?}"
            );
        }
        self.carry_out(output);
    }

    fn resume(&mut self, stream: StreamId) {
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
            let Some(Stream::Resumed {
                target: ix, window, ..
            }) = self.gate.streams.get(stream)
            else {
                panic!("must know what it resumes: {stream:?}")
            };
            let is_counted = window.is_some();
            // What a removed target held passes, whichever target has its key now.
            let entry = ix.and_then(|ix| self.gate.targets.get(ix));
            if entry.is_some_and(|entry| !entry.is_retired()) {
                self.check_claimants(target, cluster);
            }
            if is_counted {
                self.count_released(target, stream);
            }
            let last = self.last_resumed.insert((target, cluster), order);
            assert!(last.is_none_or(|last| last < order), "first in must be first out");
        } else {
            self.check_settled(stream, Settled::LetGo);
            self.forget_use(None);
        }
        self.note_let_go(stream);
        self.fates.insert(stream, Fate::Resumed);
    }

    fn refuse(&mut self, stream: StreamId, reply: &Reply) {
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
            self.check_settled(stream, Settled::Refused(reply.refusal));
            self.forget_use(None);
        }
        self.note_refused(stream, reply);
        self.fates.insert(stream, Fate::Refused);
    }

    fn grant(&mut self, stream: StreamId, permits: TargetPermits) {
        let TargetPermits {
            slot,
            max_requests,
            max_bytes,
            bytes,
        } = permits;
        assert!(
            matches!(self.fates[&stream], Fate::Held { target: None, .. }),
            "must take permits for what waits: {stream:?}"
        );
        self.note_use(u8::try_from(slot.0).unwrap());
        assert!(bytes >= REQUEST_CHARGE, "must be charged: {bytes}");
        self.check_settled(stream, Settled::AskedPermits);
        let granted = self.quota.take_of(Some(slot), bytes, max_requests, max_bytes);
        self.denied = granted.err();
        self.gate.permits_answered(self.now, stream, granted);
        if self.denied.is_some() {
            let refused = self.gate.poll_output().expect("must be refused");
            self.carry_out(refused);
            self.denied = None;
        } else if let Some(Fate::Held { target, .. }) = self.fates.get_mut(&stream) {
            *target = u8::try_from(slot.0).ok();
            self.check_urgent(stream);
        }
    }

    fn count_released(&mut self, target: u8, stream: StreamId) {
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
}
