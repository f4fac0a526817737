//! Which target a match key means.
//!
//! A key may be several targets', as derived keys are while they shift: Envoy's cluster may then lead to any of these
//! workloads, so such a key holds until all of them are ready. A request that comes then passes by a route of its own; one
//! that was held until then is told to come again, because its own route may be of before.

use super::Targets;
use crate::gate::TargetIx;
use crate::gate::admission::Admission;
use crate::gate::entry::Entry;
use crate::gate::queues::KeyState;

impl Targets {
    /// The target of a cluster's name, for a request by that. Allocates nothing.
    pub(in crate::gate) fn of_cluster(&self, cluster: &[u8]) -> Option<TargetIx> {
        self.choose(self.keys.cluster(cluster), cluster)
    }

    /// The target of an `:authority`, for a request by this cluster. Allocates nothing.
    pub(in crate::gate) fn of_host(&self, authority: &[u8], cluster: &[u8]) -> Option<TargetIx> {
        self.choose(self.keys.host(authority), cluster)
    }

    /// True if any target is found by host.
    pub(in crate::gate) fn has_hosts(&self) -> bool {
        self.keys.has_hosts()
    }

    /// The targets of a cluster's name; empty if there is none.
    pub(in crate::gate) fn all_of_cluster(&self, cluster: &[u8]) -> &[TargetIx] {
        self.keys.cluster(cluster)
    }

    /// The targets of an `:authority`; empty if there is none.
    pub(in crate::gate) fn all_of_host(&self, authority: &[u8]) -> &[TargetIx] {
        self.keys.host(authority)
    }

    /// The targets that a request by this cluster, for this authority, may be for.
    pub(in crate::gate) fn claimants(&self, cluster: &[u8], authority: &[u8]) -> &[TargetIx] {
        match self.keys.cluster(cluster) {
            [] => self.keys.host(authority),
            claimants => claimants,
        }
    }

    /// The claimant that a request by this cluster is for: of several the first that holds, else the first that refuses,
    /// else the first into which the request would not pass at once. Allocates nothing.
    // A call less for every warm request.
    #[inline(always)]
    fn choose(&self, claimants: &[TargetIx], cluster: &[u8]) -> Option<TargetIx> {
        match claimants {
            [] => None,
            [only] => Some(*only),
            [first, ..] => Some(self.choose_among(claimants, cluster).unwrap_or(*first)),
        }
    }

    fn choose_among(&self, claimants: &[TargetIx], cluster: &[u8]) -> Option<TargetIx> {
        let find = |wanted: &dyn Fn(&Entry) -> bool| {
            let is_wanted = |ix: &&TargetIx| self.get(**ix).is_some_and(wanted);
            claimants.iter().find(is_wanted).copied()
        };
        find(&|entry| entry.admission() == Admission::Hold)
            .or_else(|| find(&|entry| !entry.serves()))
            .or_else(|| find(&|entry| !entry.passes(cluster)))
    }

    /// True if held requests of `ix` by this cluster must wait, because the key is also that of a target which is not ready.
    pub(in crate::gate) fn is_blocked(&self, ix: TargetIx, cluster: &[u8], authority: &[u8]) -> bool {
        if !self.keys.has_shared() {
            return false;
        }
        let claimants = self.claimants(cluster, authority);
        let is_waited_for =
            |other: &TargetIx| *other != ix && self.get(*other).is_some_and(|entry| !entry.serves());
        // A key that is no longer this target's own says nothing about its queue: the confirm does.
        claimants.contains(&ix) && claimants.iter().any(is_waited_for)
    }

    /// Admissions or keys may have changed: queues stop and move accordingly.
    pub(in crate::gate) fn block_queues(&mut self) {
        if !self.keys.has_shared() && !self.any_blocked {
            return;
        }
        self.any_blocked = false;
        for ix in self.all_holding() {
            let Some(entry) = self.get(ix) else { continue };
            let state = |cluster: &[u8], authority: &[u8], is_empty: bool| {
                let is_shared = !is_empty && self.claimants(cluster, authority).len() > 1;
                KeyState {
                    is_shared,
                    is_blocked: is_shared && self.is_blocked(ix, cluster, authority),
                }
            };
            let queues = entry.queues().iter();
            let states: Vec<_> = queues
                .map(|queue| state(queue.cluster(), queue.authority(), queue.is_empty()))
                .collect();
            self.any_blocked |= states.iter().any(|state| state.is_blocked);
            if self.get_mut(ix).is_some_and(|entry| entry.block(&states)) {
                self.set_ready(ix);
            }
        }
    }
}
