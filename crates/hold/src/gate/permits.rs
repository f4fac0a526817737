//! Permits to hold requests: what a request needs before it may be held, and what is given back once it is not held any
//! more. Never reads or writes a quota: the shell takes and returns permits.

use crate::gate::TargetIx;
use crate::gate::headers::{Owned, Weight};
use crate::{Config, Slot};

/// Permits that a request needs before it may be held: of its target's quota, if it has one, and of the Envoy's.
#[derive(Debug)]
pub struct PermitRequest {
    /// The target whose quota is charged besides the Envoy's; `None` before the first snapshot.
    pub slot: Option<Slot>,
    /// Most requests that the target's quota may count.
    pub max_requests: u32,
    /// Most bytes that the target's quota may count.
    pub max_bytes: u64,
    /// Bytes that the request is charged.
    pub bytes: u64,
    pub(super) target: Option<TargetIx>,
    /// Bytes that a body of unknown length is charged, if Envoy may buffer so many.
    pub(super) unknown_body: u64,
    /// No request arrived for a while: should this one be refused, the relay is notified at once.
    pub(super) news: bool,
    pub(super) request: Owned,
}

impl PermitRequest {
    /// On a target's quota, for no request of any gate.
    #[cfg(any(test, feature = "fuzz"))]
    #[doc(hidden)]
    pub fn of(slot: Slot, bytes: u64, max_requests: u32, max_bytes: u64) -> Self {
        Self {
            slot: Some(slot),
            max_requests,
            max_bytes,
            bytes,
            target: None,
            unknown_body: 0,
            news: false,
            request: Owned::new(&crate::Request::default()),
        }
    }

    /// Charges the request what Envoy says of it. Until then it is charged as if it had no headers and were alone on its connection.
    pub fn weigh(&mut self, weight: Weight, config: &Config) {
        self.request.weight = weight;
        self.bytes = self.request.charge(self.unknown_body, config.buffers);
    }
}

/// Permits of a target's quota alone, for a request that has those of the Envoy's quota already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetPermits {
    /// The target whose quota is charged.
    pub slot: Slot,
    /// Most requests that the quota may count.
    pub max_requests: u32,
    /// Most bytes that the quota may count.
    pub max_bytes: u64,
    /// Bytes that the request is charged.
    pub bytes: u64,
}

/// Permits to give back: to a target's quota, and as many to the Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnedPermits {
    /// The target whose quota was charged; `None` if only the Envoy's was.
    pub slot: Option<Slot>,
    /// Requests.
    pub requests: u32,
    /// Bytes.
    pub bytes: u64,
}

/// Permits that the gate owes its shell, summed up for each target and slot.
#[derive(Debug, Default)]
pub(super) struct Permits {
    owed: Vec<(Option<TargetIx>, ReturnedPermits)>,
}

impl Permits {
    /// Gives back those of one request of a target.
    pub(super) fn give_back(&mut self, ix: TargetIx, slot: Slot, bytes: u64) {
        self.add(Some(ix), Some(slot), 1, bytes);
    }

    /// Gives back what was taken of the Envoy's quota alone.
    pub(super) fn give_back_early(&mut self, requests: u32, bytes: u64) {
        if (requests, bytes) != (0, 0) {
            self.add(None, None, requests, bytes);
        }
    }

    fn add(&mut self, ix: Option<TargetIx>, slot: Option<Slot>, requests: u32, bytes: u64) {
        // Few: those of one callback. The newest is the likeliest.
        let mut newest = self.owed.iter_mut().rev();
        match newest.find(|(other, back)| *other == ix && back.slot == slot) {
            Some((_, back)) => {
                back.requests += requests;
                back.bytes += bytes;
            }
            None => {
                let back = ReturnedPermits {
                    slot,
                    requests,
                    bytes,
                };
                self.owed.push((ix, back));
            }
        }
    }

    /// Everything that is owed, with the targets that it was taken for.
    pub(super) fn take(&mut self) -> Vec<(Option<TargetIx>, ReturnedPermits)> {
        std::mem::take(&mut self.owed)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn permits_go_back_to_the_slot_that_they_were_taken_of() {
        let (web, other) = (TargetIx(0), TargetIx(1));
        let mut permits = Permits::default();
        permits.give_back(web, Slot(3), 10);
        permits.give_back_early(1, 5);
        permits.give_back(web, Slot(3), 20);
        // Its target was removed, and is back in another slot; another has its former one.
        permits.give_back(web, Slot(4), 40);
        permits.give_back(other, Slot(3), 80);
        let back = |slot, requests, bytes| ReturnedPermits {
            slot,
            requests,
            bytes,
        };
        assert_eq!(
            permits.take(),
            [
                (Some(web), back(Some(Slot(3)), 2, 30)),
                (None, back(None, 1, 5)),
                (Some(web), back(Some(Slot(4)), 1, 40)),
                (Some(other), back(Some(Slot(3)), 1, 80)),
            ]
        );
        assert_eq!(permits.take(), [], "must be given back once");
    }
}
