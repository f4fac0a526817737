//! Shorthand for tests, of this crate and of those that build on it.

use std::collections::BTreeMap;

use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};
use protocol::{Confirm, Hold, Ignore, LossPolicy, Release, State, Target, TargetId};

use crate::{Bound, Limits, PermitRequest, ReturnedPermits, Slot};

/// An asleep target with generous bounds and no keys.
pub fn mk_target(id: &str) -> Target {
    Target {
        id: TargetId::new(id),
        state: State::Asleep,
        reason: None,
        reason_class: None,
        retry_after_ms: None,
        epoch: 0,
        found: false,
        ready_endpoints: 0,
        hosts: Vec::new(),
        clusters: vec![id.to_owned()],
        leaving: Vec::new(),
        hold: Hold {
            timeout_ms: 60_000,
            max_requests: 1_000,
            max_bytes: 64 << 20,
            unknown_body: 64 << 10,
            on_control_plane_loss: LossPolicy::Hold,
        },
        release: Release {
            concurrency_per_endpoint: 100,
        },
        confirm: Confirm::Http {
            path: "/".to_owned(),
            authority: None,
            timeout_ms: 1_000,
            give_up_ms: 5_000,
        },
        ignore: Ignore::default(),
    }
}

/// The same cases at every run, natively and as WebAssembly, so that a failure is found again.
pub fn mk_runner(cases: u32) -> TestRunner {
    let config = RunnerConfig {
        cases,
        failure_persistence: None,
        ..RunnerConfig::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// What is taken of each target's bounds and of the Envoy's, as simply as it can be kept: for one gate alone.
#[derive(Debug, Default)]
pub struct Quota {
    /// Requests and bytes; `None` is the Envoy's.
    taken: BTreeMap<Option<Slot>, (u64, u64)>,
}

impl Quota {
    /// Takes what a request needs to be held.
    ///
    /// # Errors
    /// The bound that was reached, and whether it is the Envoy's: nothing is taken then.
    pub fn take(&mut self, claim: &PermitRequest, limits: &Limits) -> Result<(), (Bound, bool)> {
        if let Some(slot) = claim.slot {
            self.take_of(Some(slot), claim.bytes, claim.max_requests, claim.max_bytes)
                .map_err(|bound| (bound, false))?;
        }
        let taken = self.take_of(None, claim.bytes, limits.requests, limits.bytes);
        if taken.is_err() && claim.slot.is_some() {
            self.put_back(claim.slot, 1, claim.bytes);
        }
        taken.map_err(|bound| (bound, true))
    }

    /// Takes one request of `bytes` of a target's, or of the Envoy's.
    ///
    /// # Errors
    /// The bound that was reached: nothing is taken then.
    pub fn take_of(
        &mut self,
        slot: Option<Slot>,
        bytes: u64,
        max_requests: u32,
        max_bytes: u64,
    ) -> Result<(), Bound> {
        let taken = self.taken.entry(slot).or_default();
        if taken.0 >= u64::from(max_requests) {
            return Err(Bound::Requests);
        }
        if taken.1 + bytes > max_bytes {
            return Err(Bound::Bytes);
        }
        *taken = (taken.0 + 1, taken.1 + bytes);
        Ok(())
    }

    /// Gives back to the targets, and the same to the Envoy.
    pub fn give_back(&mut self, returned: &[ReturnedPermits]) {
        for permits in returned {
            if permits.slot.is_some() {
                self.put_back(permits.slot, permits.requests, permits.bytes);
            }
            self.put_back(None, permits.requests, permits.bytes);
        }
    }

    /// Requests and bytes taken now.
    pub fn total(&self, slot: Option<Slot>) -> (u64, u64) {
        self.taken.get(&slot).copied().unwrap_or_default()
    }

    fn put_back(&mut self, slot: Option<Slot>, requests: u32, bytes: u64) {
        let taken = self.taken.entry(slot).or_default();
        let left = (
            taken.0.checked_sub(u64::from(requests)),
            taken.1.checked_sub(bytes),
        );
        let (Some(requests), Some(bytes)) = left else {
            panic!("more is given back than was taken: {requests} requests and {bytes} bytes of {taken:?}");
        };
        *taken = (requests, bytes);
    }
}
