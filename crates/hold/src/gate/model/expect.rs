//! What must hold of what the gate does, as the model sees it.

use protocol::{LossPolicy, State};

use super::world::{
    ENVOY_REQUESTS, Fate, MAX_BYTES, MAX_REQUESTS, SHARED, TARGETS, WINDOW, World, cluster_name,
};
use crate::{Slot, SlotRecord, StreamId};

impl World {
    /// What begins to serve begins with nothing released; a share is one at least.
    pub(super) fn note_window(&mut self, target: u8, old: &SlotRecord, new: &SlotRecord) {
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

    pub(super) fn is_answered(&mut self, stream: StreamId) {
        for released in self.released.values_mut() {
            released.unanswered.remove(&stream);
        }
    }

    /// A window whose requests are not answered opens by itself.
    pub(super) fn open_windows(&mut self) {
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

    /// Once everything is known, no request is held for longer than the target or the client allows.
    pub(super) fn check_deadlines(&self) {
        let held = |stream: &StreamId| matches!(self.fates[stream], Fate::Held { .. });
        let late: Vec<_> = self
            .deadlines
            .iter()
            .filter(|(stream, deadline)| self.manifest.known && **deadline <= self.now && held(stream))
            .collect();
        assert!(
            late.is_empty(),
            "must be refused in time at {:?}: {late:?}",
            self.now
        );
    }

    /// A key with several claimants holds until all of them are ready. One that has lost it holds for itself alone.
    pub(super) fn check_claimants(&self, target: u8, cluster: u8) {
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
                    || (self.manifest.lost && passes_when_lost),
                "must hold until every claimant is ready: {:?} is {:?}",
                claimant.id,
                claimant.state
            );
        }
    }

    /// Requests that are held.
    pub(super) fn held(&self) -> usize {
        let is_held = |fate: &&Fate| matches!(fate, Fate::Held { .. });
        self.fates.values().filter(is_held).count()
    }

    /// What must hold after each callback.
    pub(super) fn check_bounds(&self) {
        for slot in (0..u32::from(TARGETS)).map(Slot) {
            let (requests, bytes) = self.quota.total(Some(slot));
            assert!(
                requests <= u64::from(MAX_REQUESTS) && bytes <= MAX_BYTES,
                "bounds must hold: {requests} requests, {bytes} bytes"
            );
        }
        let held = self.held();
        assert_eq!(self.gate.held(), held, "must hold what the model holds");
        assert_eq!(
            self.quota.total(None).0,
            held as u64,
            "every held request must have its permit, and no other"
        );
        assert!(held <= ENVOY_REQUESTS as usize, "the Envoy's bound must hold");
    }

    /// All clients leave: nothing may be left.
    pub(super) fn finish(&mut self) {
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
            self.gate.poll_timeout(),
            None,
            "an empty gate must have nothing to wait for"
        );
        assert!(
            self.gate.is_empty(),
            "nothing may be held, in flight or remembered: {:?}",
            self.gate
        );
    }
}
