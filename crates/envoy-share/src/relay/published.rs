//! Keeps the targets as they stand in shared data: which slot each has, what has to be written, and which revision every gate has applied.

#[cfg(any(test, feature = "fuzz"))]
#[allow(clippy::panic, reason = "a model fails as tests do, in a fuzzer too")]
mod check;
mod renames;
mod taken_over;
mod view;

use std::collections::VecDeque;

use hold::{FixedMap, Manifest, Slot, SlotRecord};
use protocol::{Revision, State, SyncResponse, Target, TargetId};

use taken_over::one_place_each;
use view::View;

use crate::relay::split::{Part, follow_parts};
use crate::relay::target_counts::TargetCounts;

/// Most publications that are remembered for the gates' answers.
const PUBLISHED: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Published {
    manifest: Manifest,
    /// The control plane's instance whose revision was taken in last; unknown until the first.
    instance: Option<String>,
    /// By slot: they are dense.
    slots: Vec<Place>,
    by_id: FixedMap<TargetId, Slot>,
    free: Vec<Slot>,
    /// Written at the next publication; each once.
    dirty: Vec<Slot>,
    manifest_dirty: bool,
    /// Places of targets that drain: counted as they change, because it is asked for at every callback.
    draining: usize,
    counts: TargetCounts,
    /// Which revision each publication amounts to; shortened to what gates may still report.
    revisions: VecDeque<(u64, Revision)>,
    /// The newest revision that was reported as applied.
    reported: Option<Revision>,
}

#[derive(Debug, Default)]
struct Place {
    record: SlotRecord,
    /// The revision that said that the target drains, if it does.
    draining: Option<u64>,
    /// In the list of what is written next.
    dirty: bool,
}

impl Published {
    pub(super) fn new(term: u64, manifest: Option<Manifest>, slots: Vec<(Slot, SlotRecord)>) -> Self {
        let mut this = Self {
            manifest: manifest.unwrap_or_default(),
            ..Self::default()
        };
        let newest = slots.iter().map(|(_, record)| record.version).max().unwrap_or(0);
        this.manifest.version = this.manifest.version.max(newest);
        this.manifest.term = term;
        // The first poll must not wait: it asks for a full snapshot, and nothing counts as applied until that is there.
        this.manifest.revision = None;
        this.manifest_dirty = true;
        for (slot, record) in one_place_each(slots) {
            this.manifest.slots = this.manifest.slots.max(slot.0 + 1);
            let mut draining = None;
            match &record.target {
                Some(target) => {
                    // Which revision said so is not known, nor whether a former relay has confirmed it: while the
                    // control plane is away it holds, because the workload may be stopping.
                    draining = (target.state == State::Draining).then_some(0);
                    this.by_id.insert(target.id.clone(), slot);
                }
                None => this.free.push(slot),
            }
            this.put(slot, record, draining);
            this.soil(slot);
        }
        this
    }

    /// Takes in the answer to a sync that asked for what came after `asked`. A delta to a revision that no longer stands
    /// (it was dropped because the control plane was lost) is left alone: the next poll asks for a full snapshot.
    pub(super) fn take_in(&mut self, asked: Option<&Revision>, response: SyncResponse) {
        if !response.full && (asked.is_none() || asked != self.manifest.revision.as_ref()) {
            return;
        }
        let SyncResponse {
            revision,
            full,
            targets,
            removed,
            ..
        } = response;
        if full {
            let mut stays = vec![false; self.slots.len()];
            for target in &targets {
                let slot = self.by_id.get(&target.id);
                if let Some(stays) = slot.and_then(|slot| stays.get_mut(slot.0 as usize)) {
                    *stays = true;
                }
            }
            let gone: Vec<TargetId> = self
                .by_id
                .iter()
                .filter(|(_, slot)| stays.get(slot.0 as usize) != Some(&true))
                .map(|(id, _)| id.clone())
                .collect();
            self.follow_renames(&gone, &targets);
            gone.iter().for_each(|id| self.remove(id));
        }
        self.follow_renames(&removed, &targets);
        removed.iter().for_each(|id| self.remove(id));
        let successor = self
            .instance
            .replace(revision.instance.clone())
            .is_some_and(|former| former != revision.instance);
        let view = match self.manifest.known {
            false => View::First,
            true if successor => View::Successor,
            true => View::Next,
        };
        for target in targets {
            self.upsert(target, revision.n, view);
        }
        if self.manifest.revision.as_ref() != Some(&revision) || !self.manifest.known {
            self.manifest.revision = Some(revision);
            self.manifest.known = true;
            self.manifest_dirty = true;
        }
    }

    fn upsert(&mut self, target: Target, revision: u64, view: View) {
        let slot = match self.by_id.get(&target.id) {
            Some(slot) => *slot,
            None => self.move_in(&target.id),
        };
        let drains = target.state == State::Draining;
        let Some(place) = self.slots.get_mut(slot.0 as usize) else {
            return;
        };
        let old = place.record.target.as_ref();
        let since = place.draining.map_or(revision, |since| since.min(revision));
        if old == Some(&target) {
            if drains {
                self.draining += usize::from(place.draining.replace(since).is_none());
            }
            return;
        }
        let drained = old.is_some_and(|old| old.state == State::Draining);
        let draining = match (drains, drained) {
            (true, false) => Some(revision),
            (false, _) => None,
            (true, true) => place.draining,
        };
        let resized = old
            .is_none_or(|old| old.ready_endpoints != target.ready_endpoints || old.release != target.release);
        let renamed = old.is_some_and(|old| old.id != target.id);
        self.counts.leave(place.record.target.as_ref());
        let mut record = std::mem::take(&mut place.record);
        if renamed {
            // The same keys, but whether the same workload is behind them is not known.
            (record.preconfirmed_epoch, record.confirmed_epoch, record.prober) = (None, None, None);
        }
        if resized || target.state != State::Ready {
            // Split anew, by the gates that still hold something.
            record.shares.clear();
        }
        if target.state != State::Ready {
            record.prober = None;
        }
        let was_ready = record
            .target
            .as_ref()
            .is_some_and(|old| old.state == State::Ready && !renamed);
        let trusts = view.trusts(was_ready, &target);
        if trusts && target.state == State::Ready {
            record.preconfirmed_epoch = Some(target.epoch);
        } else if !matches!(target.state, State::Ready | State::Draining) {
            // Epochs begin anew with the control plane: the same number may come again.
            record.preconfirmed_epoch = None;
        }
        record.target = Some(target);
        self.put(slot, record, draining);
        self.soil(slot);
    }

    fn move_in(&mut self, id: &TargetId) -> Slot {
        let slot = self.free.pop().unwrap_or(Slot(self.manifest.slots));
        self.manifest.slots = self.manifest.slots.max(slot.0 + 1);
        let since = self.manifest.version + 1;
        let record = SlotRecord {
            since,
            ..SlotRecord::default()
        };
        self.put(slot, record, None);
        self.by_id.insert(id.clone(), slot);
        slot
    }

    fn remove(&mut self, id: &TargetId) {
        let Some(slot) = self.by_id.remove(id) else { return };
        self.put(slot, SlotRecord::default(), None);
        self.free.push(slot);
        self.soil(slot);
    }

    /// Puts a record into a slot, whether it is there already or not.
    fn put(&mut self, slot: Slot, record: SlotRecord, draining: Option<u64>) {
        let at = slot.0 as usize;
        if at >= self.slots.len() {
            self.slots.resize_with(at + 1, Place::default);
        }
        if let Some(place) = self.slots.get_mut(at) {
            self.draining -= usize::from(place.draining.is_some());
            self.counts.leave(place.record.target.as_ref());
            place.record = record;
            place.draining = draining;
            self.draining += usize::from(place.draining.is_some());
            self.counts.enter(place.record.target.as_ref());
        }
    }

    /// Notes that a slot has to be written.
    fn soil(&mut self, slot: Slot) {
        if let Some(place) = self.slots.get_mut(slot.0 as usize)
            && !std::mem::replace(&mut place.dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    /// Takes from the statuses how the release is split, which gate asks first, and whether any gate has had a yes.
    pub(super) fn follow(&mut self, parts: FixedMap<Slot, Vec<Part>>) {
        for (slot, parts) in parts {
            let Some(place) = self.slots.get_mut(slot.0 as usize) else {
                continue;
            };
            if follow_parts(&mut place.record, &parts) {
                self.soil(slot);
            }
        }
    }

    /// What to write, if anything changed.
    pub(super) fn publish(&mut self, term: u64) -> Option<(Vec<(Slot, SlotRecord)>, Manifest)> {
        if self.dirty.is_empty() && !self.manifest_dirty {
            return None;
        }
        self.manifest_dirty = false;
        self.manifest.term = term;
        self.manifest.version += 1;
        let version = self.manifest.version;
        let dirty = std::mem::take(&mut self.dirty);
        let mut out = Vec::with_capacity(dirty.len());
        for slot in dirty {
            if let Some(place) = self.slots.get_mut(slot.0 as usize) {
                place.dirty = false;
                place.record.version = version;
                self.manifest.changes.push_back((version, slot));
                out.push((slot, place.record.clone()));
            }
        }
        while self.manifest.changes.len() > Manifest::CHANGES {
            // All of one version go together: a gate must not take a part of it for the whole.
            if let Some((oldest, _)) = self.manifest.changes.pop_front() {
                self.manifest.floor = oldest;
                while self.manifest.changes.front().is_some_and(|next| next.0 == oldest) {
                    self.manifest.changes.pop_front();
                }
            }
        }
        if let Some(revision) = &self.manifest.revision {
            self.revisions.push_back((version, revision.clone()));
            // A gate that is so far behind has not moved for minutes; until it does, nothing counts as applied.
            if self.revisions.len() > PUBLISHED {
                self.revisions.pop_front();
            }
        } else {
            self.revisions.clear();
        }
        Some((out, self.manifest.clone()))
    }

    /// The newest revision that every gate has applied, given the oldest version that one of them has.
    pub(super) fn applied(&mut self, version: Option<u64>) -> Option<Revision> {
        if self.manifest_dirty || !self.dirty.is_empty() {
            // Not yet written, so no gate can have applied it.
            return None;
        }
        let Some(version) = version else {
            return self.manifest.revision.clone();
        };
        while self.revisions.get(1).is_some_and(|(next, _)| *next <= version) {
            self.revisions.pop_front();
        }
        self.revisions
            .front()
            .filter(|(first, _)| *first <= version)
            .map(|(_, revision)| revision.clone())
    }

    pub(super) fn reported(&mut self, applied: Option<&Revision>) {
        if let Some(applied) = applied {
            self.reported = Some(applied.clone());
        }
    }

    /// While the control plane is away, a drain that it cannot have seen confirmed is taken back: those targets go on
    /// passing, and nothing counts as applied until there is a new snapshot. A confirmed one holds: the control plane
    /// may be stopping the workload.
    pub(super) fn set_lost(&mut self, lost: bool) {
        self.manifest.lost = lost;
        self.manifest_dirty = true;
        if !lost {
            return;
        }
        let instance = self.manifest.revision.as_ref().map(|revision| &revision.instance);
        let confirmed = self
            .reported
            .as_ref()
            .filter(|reported| Some(&reported.instance) == instance)
            .map_or(0, |reported| reported.n);
        let mut unconfirmed = false;
        for (slot, place) in (0..).map(Slot).zip(&mut self.slots) {
            if place.draining.is_some_and(|since| since > confirmed) {
                unconfirmed = true;
                self.draining -= usize::from(place.draining.take().is_some());
                if let Some(target) = &mut place.record.target {
                    self.counts.leave(Some(target));
                    target.state = State::Ready;
                    self.counts.enter(Some(target));
                    if !std::mem::replace(&mut place.dirty, true) {
                        self.dirty.push(slot);
                    }
                }
            }
        }
        if unconfirmed {
            self.manifest.revision = None;
        }
    }

    pub(super) fn lost(&self) -> bool {
        self.manifest.lost
    }

    pub(super) fn revision(&self) -> Option<Revision> {
        self.manifest.revision.clone()
    }

    pub(super) fn has_draining(&self) -> bool {
        self.draining > 0
    }

    pub(super) fn state_of(&self, id: &TargetId) -> Option<State> {
        self.find(id).map(|target| target.state)
    }

    pub(super) fn find(&self, id: &TargetId) -> Option<&Target> {
        let slot = self.by_id.get(id)?;
        self.target(*slot)
    }

    /// The target that a status of version `applied` means by `slot`.
    pub(super) fn tenant(&self, slot: Slot, applied: u64) -> Option<&TargetId> {
        let record = &self.slots.get(slot.0 as usize)?.record;
        record
            .target
            .as_ref()
            .filter(|_| applied >= record.since)
            .map(|target| &target.id)
    }

    pub(super) fn len(&self) -> u64 {
        self.by_id.len() as u64
    }

    pub(super) fn counts(&self) -> &TargetCounts {
        &self.counts
    }

    fn target(&self, slot: Slot) -> Option<&Target> {
        self.slots.get(slot.0 as usize)?.record.target.as_ref()
    }
}
