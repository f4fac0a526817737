//! In which order, and how many at once.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::GateId;
use crate::gate::testing::{find, hold, mk_record};
use crate::gate::{Ticket, WarmDecision};

#[test]
fn a_gate_releases_its_own_share() {
    let mut gate = mk_with(mk_record(mk_web(State::Asleep)));
    for stream in 1..=4 {
        hold(&mut gate, Time::ZERO, stream, "web");
    }
    publish(
        &mut gate,
        0,
        SlotRecord {
            trusted: Some(1),
            shares: vec![(GateId(2), 4), (ME.id, 2), (GateId(3), 3)],
            ..mk_record(mk_web(State::Ready))
        },
    );
    assert_eq!(gate.let_go(Time::ZERO), [1, 2]);
}

#[test]
fn who_waits_for_one_cluster_is_in_nobodys_way_by_another() {
    let mut gate = mk_with(mk_asked(State::Ready));
    hold(&mut gate, Time::ZERO, 1, "other");
    let call = gate.ask(Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, YES);
    assert_eq!(gate.let_go(Time::ZERO), [1]);
    hold(&mut gate, Time::ZERO, 2, "web");
    let ix = find(&gate, "web");
    assert_eq!(
        gate.pass(ix, b"other"),
        WarmDecision::Pass(Ticket::Passed(ix)),
        "must pass where it is known to reach the workload"
    );
    assert_eq!(gate.pass(ix, b"web"), WarmDecision::Arrive, "must queue");
}
