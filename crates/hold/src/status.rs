//! The status that each gate writes for the relay: what it has applied, and how much of each target it holds and has in flight.

use crate::Slot;

/// What one gate writes for the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateStatus {
    /// Of the gate that wrote it.
    pub nonce: u64,
    /// Newest manifest that the gate has applied.
    pub applied: u64,
    /// Raised at least once each heartbeat interval while the VM lives.
    pub heartbeat: u64,
    /// Targets with something held, in flight, or an arrival within [`GateStatus::RECENT`].
    pub entries: Vec<TargetUsage>,
    /// Clusters of ready targets that keep requests held because they are not reached. At most [`GateStatus::UNREACHED`].
    pub unreached: Vec<UnreachedCluster>,
}

impl GateStatus {
    /// How long an arrival is listed: longer than the relay needs to have it acknowledged by the control plane.
    pub const RECENT: std::time::Duration = std::time::Duration::from_secs(60);

    /// Longest list of [`GateStatus::unreached`]: 64 of an Envoy are reported.
    pub const UNREACHED: usize = 16;

    /// True if the two statuses say the same, whenever they were written.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let mut both = self.entries.iter().zip(&other.entries);
        self.applied == other.applied
            && self.entries.len() == other.entries.len()
            && both.all(|(one, other)| one.without_age() == other.without_age())
            && self.unreached.len() == other.unreached.len()
    }
}

/// A cluster that keeps requests held although its target is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreachedCluster {
    /// The target that has the cluster.
    pub slot: Slot,
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// What was seen last, for people.
    pub saw: String,
    /// Since the first such answer in this epoch, in ms, when the status was written.
    pub for_ms: u64,
}

/// Use of one target as one gate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetUsage {
    /// Which target.
    pub slot: Slot,
    /// Requests held now.
    pub held: u32,
    /// Requests passed or resumed and not yet ended.
    pub in_flight: u32,
    /// Age of the last arrival, in ms, when the status was written.
    pub idle_ms: Option<u64>,
    /// The epoch in which this gate has had a yes.
    pub confirmed_epoch: Option<u64>,
}

impl TargetUsage {
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

    fn mk_status(change: impl FnOnce(&mut GateStatus)) -> GateStatus {
        let entry = TargetUsage {
            slot: Slot(1),
            held: 1,
            in_flight: 2,
            idle_ms: Some(3),
            confirmed_epoch: None,
        };
        let unreached = UnreachedCluster {
            slot: Slot(1),
            cluster: "web".to_owned(),
            saw: "refused".to_owned(),
            for_ms: 5,
        };
        let mut status = GateStatus {
            nonce: 1,
            applied: 2,
            heartbeat: 3,
            entries: vec![entry],
            unreached: vec![unreached],
        };
        change(&mut status);
        status
    }

    #[test]
    fn rows_that_differ_in_ages_alone_say_the_same() {
        let status = mk_status(|_| {});
        let older = mk_status(|status| {
            status.heartbeat = 4;
            status.entries[0].idle_ms = Some(1_000);
            status.unreached[0].for_ms = 1_000;
        });
        assert!(status.says_the_same_as(&older));
        let others: [fn(&mut GateStatus); 4] = [
            |status| status.applied = 3,
            |status| status.entries.clear(),
            |status| status.entries[0].held = 2,
            |status| status.unreached.clear(),
        ];
        for change in others {
            assert!(!status.says_the_same_as(&mk_status(change)));
        }
    }
}
