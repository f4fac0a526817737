//! The targets that are published, and those that were removed while streams of theirs are left: by place, by slot and by
//! match key, and which of them hold requests. Decides nothing about a single request.

mod heirs;
mod keys;

use std::collections::VecDeque;

use protocol::{State, Target};

use crate::gate::TargetIx;
use crate::gate::entry::Entry;
use crate::gate::table::KeyTable;
use crate::maps::Ordered;
use crate::{GateId, Slot, SlotRecord, Time};

/// What has changed with one slot.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// A target that was removed.
    pub(super) retired: Option<TargetIx>,
    /// A target whose keys are new.
    pub(super) rekeyed: Option<TargetIx>,
    /// A target begins to drain: the control plane waits for word of that.
    pub(super) drains: bool,
}

/// What of the Envoy and of the control plane matters to every target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    pub(super) now: Time,
    pub(super) me: GateId,
    /// The control plane is lost.
    pub(super) lost: bool,
}

/// A target in its place.
#[derive(Debug)]
struct Place {
    entry: Entry,
    /// It stands in [`Targets::ready`].
    is_ready: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Targets {
    places: Vec<Option<Place>>,
    /// Free places.
    free: Vec<TargetIx>,
    /// By slot: slots are dense.
    by_slot: Vec<Option<TargetIx>>,
    keys: KeyTable,
    /// Removed targets whose last stream has not ended.
    retired: Vec<TargetIx>,
    /// Removed targets with held requests or streams, and the targets that had one of their keys at the last update.
    heirs: Vec<(TargetIx, Vec<TargetIx>)>,
    /// Targets that hold requests: their timers are looked at.
    holding: Ordered,
    /// Targets of which a held request may be released or refused.
    ready: VecDeque<TargetIx>,
    /// A queue is blocked by another target of its key.
    any_blocked: bool,
}

impl Targets {
    pub(super) fn get(&self, ix: TargetIx) -> Option<&Entry> {
        self.places.get(ix.0 as usize)?.as_ref().map(|place| &place.entry)
    }

    pub(super) fn get_mut(&mut self, ix: TargetIx) -> Option<&mut Entry> {
        self.places
            .get_mut(ix.0 as usize)?
            .as_mut()
            .map(|place| &mut place.entry)
    }

    /// Places, free ones included: every [`TargetIx`] is below.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    // Held requests.

    /// A request of the target is held from now on; `is_blocked` as [`Targets::is_blocked`] says.
    pub(super) fn begin_hold(&mut self, ix: TargetIx, is_blocked: bool) {
        self.any_blocked |= is_blocked;
        self.holding.insert(0, ix.0);
    }

    /// A request of the target is held no more.
    pub(super) fn end_hold(&mut self, ix: TargetIx) {
        if self.get(ix).is_none_or(|entry| entry.queues().held() == 0) {
            self.holding.remove(0, ix.0);
        }
    }

    /// Targets that hold requests.
    pub(super) fn holding(&self) -> impl Iterator<Item = TargetIx> {
        self.holding.iter().map(|(_, ix)| TargetIx(ix))
    }

    /// The first that `find` finds something for, of the targets that hold requests.
    pub(super) fn find_holding<T>(
        &mut self,
        mut find: impl FnMut(TargetIx, &mut Entry) -> Option<T>,
    ) -> Option<T> {
        let Self { holding, places, .. } = self;
        holding.iter().find_map(|(_, ix)| {
            let place = places.get_mut(ix as usize)?.as_mut()?;
            find(TargetIx(ix), &mut place.entry)
        })
    }

    /// The same, for a loop that changes them.
    pub(super) fn all_holding(&self) -> Vec<TargetIx> {
        self.holding().collect()
    }

    /// Of the target a held request may be released or refused.
    pub(super) fn set_ready(&mut self, ix: TargetIx) {
        if let Some(place) = self.places.get_mut(ix.0 as usize).and_then(Option::as_mut)
            && place.entry.queues().held() > 0
            && !place.is_ready
        {
            place.is_ready = true;
            self.ready.push_back(ix);
        }
    }

    /// The first target that is ready.
    pub(super) fn next_ready(&self) -> Option<TargetIx> {
        self.ready.front().copied()
    }

    /// Of the first target that is ready nothing more can be released or refused.
    pub(super) fn end_ready(&mut self) {
        if let Some(ix) = self.ready.pop_front()
            && let Some(place) = self.places.get_mut(ix.0 as usize).and_then(Option::as_mut)
        {
            place.is_ready = false;
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    // What the relay publishes.

    /// Takes in a slot.
    pub(super) fn apply_slot(&mut self, around: Surroundings, slot: Slot, mut record: SlotRecord) -> Applied {
        let mut applied = Applied::default();
        let Some(target) = record.target.take() else {
            applied.retired = self.retire(slot);
            return applied;
        };
        if let Some(entry) = self.at(slot).and_then(|ix| self.get_mut(ix))
            && entry.target().id != target.id
        {
            if entry.target().has_same_keys(&target) {
                entry.serve_anew();
            } else {
                applied.retired = self.retire(slot);
            }
        }
        let known = self.at(slot);
        let ix = known.unwrap_or_else(|| self.insert(slot, &target));
        let Some(Some(place)) = self.places.get_mut(ix.0 as usize) else {
            return applied;
        };
        let entry = &mut place.entry;
        let old = entry.target();
        let is_rekeyed = old.hosts != target.hosts || old.clusters != target.clusters;
        if is_rekeyed {
            self.keys.remove(ix, old);
            self.keys.add(ix, &target);
        }
        applied.rekeyed = (is_rekeyed || known.is_none()).then_some(ix);
        applied.drains = target.state == State::Draining && old.state != State::Draining;
        entry.update(around.now, around.me, &record, target, around.lost);
        self.set_ready(ix);
        applied
    }

    fn insert(&mut self, slot: Slot, target: &Target) -> TargetIx {
        if let Some(ix) = self.revive(slot, target) {
            return ix;
        }
        let at = self.free.pop().map_or(self.places.len(), |ix| ix.0 as usize);
        let ix = TargetIx(u32::try_from(at).unwrap_or(u32::MAX));
        let place = Place {
            entry: Entry::new(slot, target.clone()),
            is_ready: false,
        };
        match self.places.get_mut(at) {
            Some(free) => *free = Some(place),
            None => self.places.push(Some(place)),
        }
        self.move_in(slot, ix);
        self.keys.add(ix, target);
        ix
    }

    /// A target that was removed and is back: its streams of before are its own again. Not while it holds requests: their permits
    /// are of its former slot.
    fn revive(&mut self, slot: Slot, target: &Target) -> Option<TargetIx> {
        let is_back = |ix: &TargetIx| {
            self.get(*ix)
                .is_some_and(|entry| entry.target().id == target.id && entry.queues().held() == 0)
        };
        let ix = self.retired.iter().copied().find(is_back)?;
        self.retired.retain(|other| *other != ix);
        self.get_mut(ix)?.revive(slot, target.clone());
        self.move_in(slot, ix);
        self.keys.add(ix, target);
        Some(ix)
    }

    fn at(&self, slot: Slot) -> Option<TargetIx> {
        self.by_slot.get(slot.0 as usize).copied().flatten()
    }

    fn move_in(&mut self, slot: Slot, ix: TargetIx) {
        let at = slot.0 as usize;
        if at >= self.by_slot.len() {
            self.by_slot.resize(at + 1, None);
        }
        if let Some(place) = self.by_slot.get_mut(at) {
            *place = Some(ix);
        }
    }

    /// The slot's target has been removed. Its place stays until its last stream has ended.
    pub(super) fn retire(&mut self, slot: Slot) -> Option<TargetIx> {
        let ix = self.by_slot.get_mut(slot.0 as usize).and_then(Option::take)?;
        if let Some(place) = self.places.get_mut(ix.0 as usize).and_then(Option::as_mut) {
            place.entry.retire();
            self.keys.remove(ix, place.entry.target());
        }
        self.retired.push(ix);
        self.set_ready(ix);
        Some(ix)
    }

    /// Slots that may have a target are below.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.by_slot.len()).unwrap_or(u32::MAX)
    }

    /// The control plane is lost, or back.
    pub(super) fn follow(&mut self, around: Surroundings) {
        for place in self
            .places
            .iter_mut()
            .flatten()
            .filter(|place| !place.entry.is_retired())
        {
            place.entry.follow(around.now, around.lost);
        }
        for ix in self.all_holding() {
            self.set_ready(ix);
        }
    }

    /// True if a target of this name is published.
    pub(super) fn is_published(&self, target: &Target) -> bool {
        self.places
            .iter()
            .flatten()
            .any(|other| !other.entry.is_retired() && other.entry.target().id == target.id)
    }

    /// Frees the place of a removed target once nothing of it is left. True if it is free.
    pub(super) fn drop_if_spent(&mut self, ix: TargetIx) -> bool {
        let is_spent = self
            .get(ix)
            .is_some_and(|entry| entry.is_retired() && entry.is_unused());
        if is_spent && let Some(place) = self.places.get_mut(ix.0 as usize) {
            *place = None;
            self.free.push(ix);
            self.retired.retain(|other| *other != ix);
            self.ready.retain(|other| *other != ix);
            self.holding.remove(0, ix.0);
        }
        is_spent
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Targets {
    /// Every place, free ones included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TargetIx, Option<&Entry>)> {
        let entries = self.places.iter().map(Option::as_ref);
        (0..)
            .map(TargetIx)
            .zip(entries.map(|place| place.map(|place| &place.entry)))
    }

    /// True if nothing is held or in flight, and no place is kept for a target that was removed.
    pub(super) fn is_unused(&self) -> bool {
        let is_unused = |place: &Place| place.entry.is_unused() && place.entry.queues().is_empty();
        self.places.iter().flatten().all(is_unused)
            && self.retired.is_empty()
            && self.holding.is_empty()
            && self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests;
