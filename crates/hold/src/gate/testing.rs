//! Shorthand for tests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

#[cfg(test)]
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};
use protocol::{Confirm, Hold, Ignore, LossPolicy, Release, State, Target, TargetId};

use crate::{Cells, Ledger, Slot, keys};

/// An asleep target with generous bounds and no keys.
pub(crate) fn mk_target(id: &str) -> Target {
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
#[cfg(test)]
pub(crate) fn mk_runner(cases: u32) -> TestRunner {
    let config = RunnerConfig {
        cases,
        failure_persistence: None,
        ..RunnerConfig::default()
    };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Shared data whose next so many writes others win.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    /// Writes that others win.
    pub(crate) lost: Cell<u32>,
}

impl Cells for Shelf {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.values.borrow().get(key).cloned()
    }

    fn swap(&self, key: &str, value: &[u8], number: Option<u32>) -> bool {
        if self.lost.get() > 0 {
            self.lost.set(self.lost.get() - 1);
            return false;
        }
        let mut values = self.values.borrow_mut();
        let known = values.get(key).map(|(_, number)| *number);
        if known != number {
            return false;
        }
        values.insert(key.to_owned(), (value.to_vec(), known.unwrap_or(0) + 1));
        true
    }
}

impl Shelf {
    pub(crate) fn total(&self, slot: Option<Slot>) -> (u64, u64) {
        let key = slot.map_or_else(|| keys::ENVOY_LEDGER.to_owned(), keys::ledger);
        let bytes = self.get(&key).map_or_else(Vec::new, |(bytes, _)| bytes);
        Ledger::decode(&bytes).total()
    }
}
