//! What a later version says, and this one does not know.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use protocol::LossPolicy;

use crate::gate::{Found, Gate, Request, Update, Verdict};
use crate::{Config, GateId, Head, Member, Slot, SlotRecord, StreamId, Time, wire};

/// One word that this version does not know holds its own target's requests, whatever else happens, and nobody else's.
#[test]
fn what_a_later_version_says_of_one_target_concerns_that_alone() {
    let json = include_bytes!("../../../protocol/tests/golden/future/sync-response.json");
    let mut response = wire::read_sync_response(json).unwrap();
    for lost in [false, true] {
        for policy in [LossPolicy::Hold, LossPolicy::Pass, LossPolicy::Refuse] {
            for target in &mut response.targets {
                target.clusters = vec![target.id.to_string()];
                if target.hold.on_control_plane_loss != LossPolicy::Unknown {
                    target.hold.on_control_plane_loss = policy;
                }
            }
            check(&response.targets, lost);
        }
    }
}

fn check(targets: &[protocol::Target], lost: bool) {
    let me = Member {
        id: GateId(1),
        nonce: 7,
        gate: true,
    };
    let config = Config::parse(br#"{"control_plane":{"cluster":"cp"}}"#).unwrap();
    let mut gate = Gate::new(config, me, Time::ZERO);
    let record = |target: &protocol::Target| SlotRecord {
        trusted: Some(target.epoch),
        target: Some(target.clone()),
        ..SlotRecord::default()
    };
    let head = Head {
        version: 1,
        known: true,
        lost,
        slots: 4,
        ..Head::default()
    };
    let slots = (0..).map(Slot).zip(targets.iter().map(record)).collect();
    gate.apply(
        Time::ZERO,
        Update {
            head,
            full: true,
            slots,
        },
    );
    for (n, target) in (0..).zip(targets) {
        let cluster = target.id.as_str().as_bytes();
        let Found::Target(ix) = gate.find_cluster(cluster) else {
            panic!("must know {}", target.id)
        };
        let request = Request {
            cluster,
            ..Request::default()
        };
        let verdict = gate.arrive(Time::ZERO, StreamId(n), Some(ix), &request);
        match target.has_unknown_words() {
            true => assert!(matches!(verdict, Verdict::Hold(_)), "{}: {verdict:?}", target.id),
            false => assert!(matches!(verdict, Verdict::Pass(_)), "{}: {verdict:?}", target.id),
        }
    }
}
