//! What the gate tells the relay of itself: which targets its status lists, and whether it must be written now. Knows no
//! target, only their places.

use crate::gate::TargetIx;
use crate::{GateStatus, TargetUsage, UnreachedCluster};

/// What one target contributes to a status.
#[derive(Debug)]
pub(super) struct Listing {
    /// It is in use, or was lately: the next status lists it as well.
    pub(super) keep: bool,
    /// `None` for a target that was removed: only the gate itself still counts its requests.
    pub(super) entry: Option<TargetUsage>,
}

/// The state of the gate's status in shared data.
#[derive(Debug)]
pub(super) struct Status {
    /// Something that the last status does not state: the next heartbeat writes one.
    changed: bool,
    /// Something that the relay has to know at once.
    urgent: bool,
    /// The shell has asked for a status.
    wanted: bool,
    /// Counts the statuses that were written.
    heartbeat: u64,
    /// Targets that the status lists, in the order in which they came into use.
    listed: Vec<TargetIx>,
    /// By place: whether a target is in `listed`.
    is_listed: Vec<bool>,
}

impl Status {
    /// The status of a gate that has not written any.
    pub(super) fn new() -> Self {
        Self {
            changed: true,
            urgent: false,
            wanted: false,
            heartbeat: 0,
            listed: Vec::new(),
            is_listed: Vec::new(),
        }
    }

    /// Makes room for so many places, so that [`Status::list`] never allocates.
    pub(super) fn reserve(&mut self, places: usize) {
        if self.is_listed.len() < places {
            self.is_listed.resize(places, false);
        }
        self.listed.reserve(places.saturating_sub(self.listed.len()));
    }

    /// The target is in use: the next status lists it.
    pub(super) fn list(&mut self, ix: TargetIx) {
        self.changed = true;
        if let Some(is_listed) = self.is_listed.get_mut(ix.0 as usize)
            && !*is_listed
        {
            *is_listed = true;
            self.listed.push(ix);
        }
    }

    /// The place is free, or about to be another target's.
    pub(super) fn forget(&mut self, ix: TargetIx) {
        if let Some(is_listed) = self.is_listed.get_mut(ix.0 as usize)
            && std::mem::take(is_listed)
        {
            self.listed.retain(|other| *other != ix);
        }
    }

    /// The next heartbeat has to write a status.
    pub(super) fn change(&mut self) {
        self.changed = true;
    }

    /// The relay has to know at once, if `news` says so.
    pub(super) fn hurry(&mut self, news: bool) {
        self.urgent |= news;
    }

    /// The shell wants a status, whether anything has changed or not.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// True if a status has to be written now.
    pub(super) fn is_due(&self) -> bool {
        self.urgent || self.wanted
    }

    /// The targets that are listed.
    #[cfg(test)]
    pub(super) fn listed(&self) -> impl Iterator<Item = TargetIx> {
        self.listed.iter().copied()
    }

    /// The status as of now. `listing` says what a target contributes; one for which it says `None` is listed no more.
    pub(super) fn write(
        &mut self,
        nonce: u64,
        applied: u64,
        unreached: Vec<UnreachedCluster>,
        mut listing: impl FnMut(TargetIx) -> Option<Listing>,
    ) -> GateStatus {
        (self.changed, self.urgent, self.wanted) = (false, false, false);
        self.heartbeat += 1;
        let mut entries = Vec::with_capacity(self.listed.len());
        let is_listed = &mut self.is_listed;
        self.listed.retain(|ix| {
            let listing = listing(*ix);
            let keep = listing.as_ref().is_some_and(|listing| listing.keep);
            entries.extend(listing.and_then(|listing| listing.entry).filter(|_| keep));
            if let Some(is_listed) = is_listed.get_mut(ix.0 as usize) {
                *is_listed = keep;
            }
            keep
        });
        GateStatus {
            nonce,
            applied,
            heartbeat: self.heartbeat,
            entries,
            unreached,
        }
    }
}
