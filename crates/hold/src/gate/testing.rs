//! The one set-up of the gate's tests: a gate, a target, what the relay publishes, a request that is held.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

#[cfg(test)]
use proptest::test_runner::{Config as RunnerConfig, RngAlgorithm, TestRng, TestRunner};
use protocol::{Confirm, Hold, Ignore, LossPolicy, Release, State, Target, TargetId};

use crate::gate::{Claim, Found, Gate, Request, TargetIx, Ticket, Update, Verdict};
use crate::{Cells, Config, GateId, Head, Ledger, Member, Slot, SlotRecord, StreamId, Time, keys};

/// Under which name the gate of a test stands.
pub(crate) const ME: Member = Member {
    id: GateId(1),
    nonce: 7,
    gate: true,
};

/// The least that a configuration needs, and `more`: nothing, or fields with a comma before each.
pub(crate) fn mk_config(more: &str) -> Config {
    Config::parse(format!(r#"{{"control_plane":{{"cluster":"cp"}}{more}}}"#).as_bytes()).unwrap()
}

/// A gate that knows no target yet.
pub(crate) fn mk_gate() -> Gate {
    Gate::new(mk_config(""), ME, Time::ZERO)
}

/// A target as the relay publishes it, with nothing known of its confirm.
pub(crate) fn mk_record(target: Target) -> SlotRecord {
    SlotRecord {
        target: Some(target),
        ..SlotRecord::default()
    }
}

/// The same, and nothing has to be confirmed in its epoch.
pub(crate) fn mk_trusted(target: Target) -> SlotRecord {
    SlotRecord {
        trusted: Some(target.epoch),
        ..mk_record(target)
    }
}

/// The gate takes in what one more publication says of these slots, and whether the control plane is lost.
pub(crate) fn apply(gate: &mut Gate, lost: bool, slots: Vec<(Slot, SlotRecord)>) {
    let head = Head {
        version: gate.version.unwrap_or(0) + 1,
        known: true,
        lost,
        slots: 10,
        ..Head::default()
    };
    let update = Update {
        head,
        full: false,
        slots,
    };
    gate.apply(Time::ZERO, update);
}

/// One slot is published.
pub(crate) fn publish(gate: &mut Gate, slot: u32, record: SlotRecord) {
    apply(gate, false, vec![(Slot(slot), record)]);
}

/// The target of a cluster.
pub(crate) fn find(gate: &Gate, cluster: &str) -> TargetIx {
    match gate.find_cluster(cluster.as_bytes()) {
        Found::Target(ix) => ix,
        other => panic!("must be found by {cluster}: {other:?}"),
    }
}

/// A request by this cluster, for the authority `a`.
pub(crate) fn mk_request(cluster: &str) -> Request<'_> {
    Request {
        cluster: cluster.as_bytes(),
        authority: b"a",
        ..Request::default()
    }
}

/// A request comes by this cluster, which is a target's, and is to be held.
pub(crate) fn claim(gate: &mut Gate, now: Time, stream: u32, cluster: &str) -> Claim {
    let ix = find(gate, cluster);
    match gate.arrive(now, StreamId(stream), Some(ix), &mk_request(cluster)) {
        Verdict::Hold(claim) => claim,
        other => panic!("must be held: {other:?}"),
    }
}

/// The same, and is held.
pub(crate) fn hold(gate: &mut Gate, now: Time, stream: u32, cluster: &str) -> Ticket {
    let claim = claim(gate, now, stream, cluster);
    gate.hold(now, StreamId(stream), claim).unwrap()
}

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
