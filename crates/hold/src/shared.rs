//! What the VMs of one `vm_id` tell each other through shared data, and under which keys.
//!
//! Values are [`crate::Record`]s and [`crate::Ledger`]s. Rows are the truth; the queues beside them only say "look". No value holds a time:
//! only ages and beats.

use std::collections::VecDeque;

use protocol::{Revision, Target};

use crate::{GateId, Slot};

/// Names of shared keys and queues. All start with `holdfast.v`, because without a `vm_id` (Istio's `WasmPlugin`) the keys
/// are shared with every other plugin, and with the format of the values: two versions that write differently are two
/// proxies under one `vm_id`, and never touch each other's values.
pub mod keys {
    use crate::record::format_number;
    use crate::{GateId, Slot};

    /// A name of this format's.
    macro_rules! key {
        ($name:literal) => {
            concat!("holdfast.v", format_number!(), ".", $name)
        };
    }

    /// The proxy's incarnation: 16 hexadecimal digits.
    pub const INCARNATION: &str = key!("incarnation");
    /// [`super::Lease`].
    pub const LEASE: &str = key!("lease");
    /// [`super::Members`].
    pub const MEMBERS: &str = key!("members");
    /// [`super::Head`].
    pub const HEAD: &str = key!("head");
    /// [`crate::Ledger`] of the whole Envoy.
    pub const ENVOY_LEDGER: &str = key!("ledger");

    /// [`crate::Ledger`] of one target slot.
    pub fn ledger(slot: Slot) -> String {
        format!(key!("ledger.{}"), slot.0)
    }

    /// [`super::SlotRecord`].
    pub fn slot(slot: Slot) -> String {
        format!(key!("slot.{}"), slot.0)
    }

    /// [`super::Row`] of a gate.
    pub fn row(gate: GateId) -> String {
        format!(key!("row.{}"), gate.0)
    }

    /// Queue of a root context.
    pub fn queue(gate: GateId) -> String {
        format!(key!("queue.{}"), gate.0)
    }

    /// Set while a message on that queue has not been heard: at most one is outstanding.
    pub fn bell(gate: GateId) -> String {
        format!(key!("bell.{}"), gate.0)
    }
}

/// Who runs the relay. Its owner raises `beat` every `stride` ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `None` once the owner has ended well.
    pub owner: Option<Member>,
    /// Raised at every change of owner.
    pub term: u64,
    /// Raised by the owner as long as it lives.
    pub beat: u64,
    /// Ticks from this beat to the next, at most: 1, and more while the owner rests.
    pub stride: u32,
}

/// One root context that has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Names its row and its queue.
    pub id: GateId,
    /// Random: tells two users of the same id apart.
    pub nonce: u64,
    /// False for the singleton service, which owns no streams and keeps no row.
    pub gate: bool,
}

/// Every root context that has registered and not signed off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// In order of registration.
    pub live: Vec<Member>,
}

impl Members {
    /// Adds a member under the lowest id that is free, so that ids, and with them keys, do not grow with reloads.
    pub fn join(&mut self, nonce: u64, gate: bool) -> Member {
        let id = (1..)
            .map(GateId)
            .find(|id| self.live.iter().all(|member| member.id != *id))
            .unwrap_or(GateId(u32::MAX));
        let member = Member { id, nonce, gate };
        self.live.push(member);
        member
    }

    /// Takes a member out. True if it was in.
    pub fn leave(&mut self, member: Member) -> bool {
        let before = self.live.len();
        self.live.retain(|other| *other != member);
        self.live.len() != before
    }

    /// True if the member has registered and not been taken out.
    pub fn contains(&self, member: Member) -> bool {
        self.live.contains(&member)
    }
}

/// What a gate looks at first: is there anything new, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
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
    /// The newest changes, oldest first: version and slot. At most [`Head::CHANGES`].
    pub changes: VecDeque<(u64, Slot)>,
}

impl Head {
    /// Longest list of changes. 256 is what 100 changes a second leave in two seconds, and 20 ticks of a gate; it keeps
    /// the value under 4 KiB.
    pub const CHANGES: usize = 256;
}

/// What the relay publishes about one target. `target: None` is a free slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotRecord {
    /// Version at which it was written.
    pub version: u64,
    /// Version at which `target` moved into this slot: rows written before speak of its former tenant.
    pub since: u64,
    /// The target as the control plane published it.
    pub target: Option<Target>,
    /// How many unanswered released requests each gate may have at once. A gate that is not named may have one.
    pub shares: Vec<(GateId, u32)>,
    /// The one gate that asks first, so that a herd of workers does not get the only endpoint ejected.
    pub prober: Option<GateId>,
    /// The epoch in which some gate has had a yes: now every gate may ask.
    pub proven: Option<u64>,
    /// The epoch that needs no confirm, because the target was ready in the first snapshot of this Envoy. Kept here, so
    /// that a gate that comes later does not take what has just become ready for it.
    pub trusted: Option<u64>,
}

/// What one gate tells the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Of the gate that wrote it.
    pub nonce: u64,
    /// Newest head that the gate has applied.
    pub applied: u64,
    /// Raised at least every [`Row::beat_ticks`] ticks while the VM lives.
    pub beat: u64,
    /// Targets with something held, in flight, or an arrival within [`Row::RECENT`].
    pub entries: Vec<RowEntry>,
    /// Clusters of ready targets that keep requests held because they are not reached. At most [`Row::UNREACHED`].
    pub unreached: Vec<RowUnreached>,
}

impl Row {
    /// A gate writes a row that names a target at least this often, in ticks.
    pub const BEAT_TICKS: u32 = 5;
    /// A gate writes a row that names no target at least this often, in ticks.
    pub const REST_TICKS: u32 = 10;
    /// How long an arrival is listed: longer than the relay needs to have it acknowledged by the control plane.
    pub const RECENT: std::time::Duration = std::time::Duration::from_secs(60);

    /// Longest list of [`Row::unreached`]: 64 of an Envoy are reported.
    pub const UNREACHED: usize = 16;

    /// Ticks from this beat to the next, at most.
    pub fn beat_ticks(&self) -> u32 {
        if self.entries.is_empty() {
            Self::REST_TICKS
        } else {
            Self::BEAT_TICKS
        }
    }

    /// True if the two rows say the same, whenever they were written.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let mut both = self.entries.iter().zip(&other.entries);
        self.applied == other.applied
            && self.entries.len() == other.entries.len()
            && both.all(|(one, other)| one.without_age() == other.without_age())
            && self.unreached.len() == other.unreached.len()
    }
}

/// A cluster that keeps requests held although its target is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowUnreached {
    /// Whose cluster it is.
    pub slot: Slot,
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// What was seen last, for people.
    pub saw: String,
    /// Since the first such answer in this epoch, in ms, when the row was written.
    pub for_ms: u64,
}

/// Use of one target as one gate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowEntry {
    /// Which target.
    pub slot: Slot,
    /// Requests held now.
    pub held: u32,
    /// Requests passed or resumed and not yet ended.
    pub in_flight: u32,
    /// Age of the last arrival, in ms, when the row was written.
    pub idle_ms: Option<u64>,
    /// The epoch in which this gate has had a yes.
    pub proven: Option<u64>,
}

impl RowEntry {
    fn without_age(&self) -> Self {
        Self {
            idle_ms: None,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn every_name_says_the_format() {
        let prefix = format!("holdfast.v{}.", crate::record::FORMAT);
        for name in [
            keys::INCARNATION.to_owned(),
            keys::LEASE.to_owned(),
            keys::MEMBERS.to_owned(),
            keys::HEAD.to_owned(),
            keys::ENVOY_LEDGER.to_owned(),
            keys::ledger(Slot(1)),
            keys::slot(Slot(1)),
            keys::row(GateId(1)),
            keys::queue(GateId(1)),
            keys::bell(GateId(1)),
        ] {
            assert!(name.starts_with(&prefix), "{name} must be of its format alone");
        }
    }

    #[test]
    fn ids_are_used_again() {
        let mut members = Members::default();
        let first = members.join(11, true);
        let second = members.join(12, true);
        assert_ne!(first.id, second.id);
        assert!(members.leave(first));
        assert!(!members.leave(first), "must leave once");
        let third = members.join(13, true);
        assert_eq!(third.id, first.id);
        assert!(!members.contains(first), "must tell two users of one id apart");
    }
}
