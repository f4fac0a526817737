//! What the relay publishes of the targets, and every gate applies.

use std::collections::VecDeque;

use protocol::{Revision, Target};

use crate::{GateId, Slot};

/// What a gate looks at first: is there anything new, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Term of the relay that wrote it.
    pub term: u64,
    /// Counts publications, over all terms.
    pub version: u64,
    /// What of the control plane `version` amounts to.
    pub revision: Option<Revision>,
    /// True once there has been a snapshot.
    pub known: bool,
    /// True while the control plane is away.
    pub lost: bool,
    /// Slots in use are below this.
    pub slots: u32,
    /// `changes` names all that changed after this version; a gate that is further behind reads every slot.
    pub floor: u64,
    /// The newest changes, oldest first: version and slot. At most [`Manifest::CHANGES`].
    pub changes: VecDeque<(u64, Slot)>,
}

impl Manifest {
    /// Longest list of changes. 256 is what 100 changes a second leave in two seconds, and 20 ticks of a gate; it keeps
    /// the value under 4 KiB.
    pub const CHANGES: usize = 256;
}

/// What the relay publishes about one target. `target: None` is a free slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotRecord {
    /// Version at which it was written.
    pub version: u64,
    /// Version at which `target` moved into this slot: statuses written before speak of its former tenant.
    pub since: u64,
    /// The target as the control plane published it.
    pub target: Option<Target>,
    /// How many unanswered released requests each gate may have at once. A gate that is not named may have one.
    pub shares: Vec<(GateId, u32)>,
    /// The one gate that asks first, so that a herd of workers does not get the only endpoint ejected.
    pub prober: Option<GateId>,
    /// The epoch in which some gate has had a yes: now every gate may ask.
    pub confirmed_epoch: Option<u64>,
    /// The epoch that needs no confirm, because the target was ready in the first snapshot of this Envoy. Kept here, so
    /// that a gate that comes later does not take what has just become ready for it.
    pub preconfirmed_epoch: Option<u64>,
}
