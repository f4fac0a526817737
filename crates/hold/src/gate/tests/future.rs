//! What a later version says, and this one does not know.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use protocol::{LossPolicy, SyncResponse, read_json};

use crate::gate::ArrivalDecision;
use crate::gate::testing::{apply, find, mk_gate, mk_preconfirmed, mk_request};
use crate::{Slot, StreamId, Time};

/// One word that this version does not know holds its own target's requests, whatever else happens, and those of no other.
#[test]
fn what_a_later_version_says_of_one_target_concerns_that_alone() {
    let json = include_bytes!("../../../../protocol/tests/golden/future/sync-response.json");
    let mut response: SyncResponse = read_json(json).unwrap();
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
    let mut gate = mk_gate();
    let records = targets.iter().cloned().map(mk_preconfirmed);
    apply(&mut gate, lost, (0..).map(Slot).zip(records).collect());
    for (n, target) in (0..).zip(targets) {
        let cluster = target.id.as_str();
        let ix = find(&gate, cluster);
        let verdict = gate.arrive(Time::ZERO, StreamId(n), Some(ix), &mk_request(cluster));
        match target.has_unknown_words() {
            true => assert!(
                matches!(verdict, ArrivalDecision::Hold(_)),
                "{}: {verdict:?}",
                target.id
            ),
            false => assert!(
                matches!(verdict, ArrivalDecision::Pass(_)),
                "{}: {verdict:?}",
                target.id
            ),
        }
    }
}
