//! What came before the first snapshot.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::gate::ArrivalDecision;
use crate::gate::testing::{mk_gate, mk_request, run};

#[test]
fn a_gate_knows_nothing_before_the_first_snapshot() {
    let mut gate = mk_gate();
    assert!(gate.knows_nothing());
    publish(&mut gate, 0, mk_asked(State::Asleep));
    assert!(!gate.knows_nothing());
}

#[test]
fn permits_are_asked_for_once() {
    let mut gate = mk_gate();
    hold_early(&mut gate, 1, "web");
    publish(&mut gate, 0, mk_asked(State::Asleep));
    let asked = |gate: &mut Gate| {
        let decisions = run(gate, at(SECOND)).decisions;
        decisions
            .iter()
            .map(|decision| matches!(decision, Output::TakePermits(StreamId(1), _)))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(&mut gate), [true], "must be held, with permits");
    assert_eq!(asked(&mut gate), [false; 0], "the answer is on its way");
}

/// Its route may be of before, and then it is not known to which of them it leads.
#[test]
fn what_came_early_by_a_key_of_several_comes_again() {
    // The snapshot may come at the very moment: a clock may stand still.
    for (is_shared, now) in [
        (false, SECOND),
        (true, SECOND),
        (true, (Time::ZERO).as_duration()),
    ] {
        let mut gate = mk_gate();
        hold_early(&mut gate, 1, "web");
        let other = Target {
            clusters: vec![if is_shared { "web" } else { "api" }.to_owned()],
            ..mk_target("api")
        };
        let ready = |target: Target| SlotRecord {
            prober: Some(ME.id),
            ..crate::gate::testing::mk_record(Target {
                state: State::Ready,
                ..target
            })
        };
        let slots = [ready(mk_web(State::Ready)), ready(other)];
        crate::gate::testing::apply(&mut gate, false, (0..).map(crate::Slot).zip(slots).collect());
        let decisions = run(&mut gate, at(now)).decisions;
        assert!(
            matches!(decisions[..], [Output::TakePermits(..)]),
            "must be confirmed first: {decisions:?}"
        );
        gate.permits_answered(at(now), StreamId(1), Ok(()));
        let questions = run(&mut gate, at(now)).questions;
        gate.confirmed(at(now), questions[0].token, YES);
        let decisions = run(&mut gate, at(now)).decisions;
        assert_eq!(
            matches!(decisions[..], [Output::Refuse(..)]),
            is_shared,
            "{decisions:?}"
        );
        assert_eq!(
            matches!(decisions[..], [Output::Resume(_)]),
            !is_shared,
            "{decisions:?}"
        );
    }
}

fn hold_early(gate: &mut Gate, stream: u32, cluster: &str) {
    let decision = gate.arrive(Time::ZERO, StreamId(stream), None, &mk_request(cluster));
    let ArrivalDecision::Hold(permits) = decision else {
        panic!("must be held: {decision:?}")
    };
    gate.hold(Time::ZERO, StreamId(stream), permits).unwrap();
}
