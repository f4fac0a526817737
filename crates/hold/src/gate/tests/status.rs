//! What the gate's status says, and when it is urgent.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::gate::testing::{find, hold, mk_gate, mk_preconfirmed, mk_record, mk_request, settle};
use crate::gate::{ArrivalDecision, SlotsToRead, Tally, WarmDecision};
use crate::{GateId, GateStatus, Manifest, Member, Refusal};

#[test]
fn under_another_name_everything_is_told_and_read_anew() {
    let mut gate = mk_with(mk_preconfirmed(mk_web(State::Ready)));
    gate.status(Time::ZERO);
    let manifest = Manifest {
        version: 1,
        ..Manifest::default()
    };
    assert_eq!(
        gate.slots_to_read(&manifest),
        SlotsToRead::Nothing,
        "must have read it"
    );
    let renamed = Member {
        id: GateId(2),
        nonce: 8,
        gate: true,
    };
    gate.rename(renamed);
    assert_eq!(gate.me, renamed);
    assert!(gate.status_changed(), "must be told");
    assert_eq!(
        gate.slots_to_read(&manifest),
        SlotsToRead::All,
        "shares and turns are another's"
    );
    let status = gate.status(Time::ZERO);
    assert_eq!((status.nonce, status.applied), (8, 0));
}

#[test]
fn a_gate_that_holds_nothing_has_nothing_to_do() {
    let mut gate = mk_with(mk_record(mk_web(State::Asleep)));
    assert!(!gate.has_decisions(Time::ZERO), "whatever is published");
    publish(&mut gate, 0, mk_record(mk_web(State::Ready)));
    assert!(!gate.has_decisions(Time::ZERO), "whatever is published");
}

#[test]
fn an_arrival_is_listed_for_a_minute() {
    let mut gate = mk_with(mk_preconfirmed(mk_web(State::Ready)));
    let ix = find(&gate, "web");
    let WarmDecision::Pass(ticket) = gate.pass(ix, b"web") else {
        panic!("must pass")
    };
    gate.status(Time::ZERO);
    gate.ended(Time::ZERO, StreamId(1), ticket);
    let just_before = GateStatus::RECENT - Duration::from_millis(1);
    assert_eq!(gate.status(at(just_before)).entries[0].idle_ms, Some(59_999));
    assert_eq!(
        gate.status(at(GateStatus::RECENT)).entries,
        [],
        "must be of the past"
    );
}

#[test]
fn steps_are_noted_only_where_that_is_wanted() {
    for verbose in [false, true] {
        let mut gate = mk_with(mk_asked(State::Ready));
        gate.set_verbose(verbose);
        hold(&mut gate, Time::ZERO, 1, "web");
        let call = gate.ask(Time::ZERO).expect("must ask");
        gate.confirmed(at(SECOND), call.token, YES);
        assert_eq!(gate.let_go(at(SECOND)), [1]);
        let notes = gate.notes();
        let wanted = [
            "held target=web",
            "confirmed target=web cluster=web",
            "released target=web held_ms=1000",
        ];
        assert_eq!(notes, if verbose { &wanted[..] } else { &[] });
    }
}

#[test]
fn the_first_refused_arrival_for_a_second_is_news() {
    let mut gate = mk_with(mk_record(mk_web(State::Failed)));
    let arrive = |gate: &mut Shell, now| {
        let ix = find(gate, "web");
        let verdict = gate.arrive(now, StreamId(1), Some(ix), &mk_request("web"));
        assert!(matches!(verdict, ArrivalDecision::Refuse(_)), "{verdict:?}");
        let is_urgent = gate.is_urgent();
        gate.status(now);
        is_urgent
    };
    assert!(arrive(&mut gate, Time::ZERO));
    assert!(!arrive(&mut gate, at(SECOND)), "is told in its own time");
    assert!(arrive(&mut gate, at(SECOND * 2 + Duration::from_nanos(1))));
}

#[test]
fn a_drain_is_told_of_at_once() {
    let mut gate = mk_with(mk_preconfirmed(mk_web(State::Ready)));
    gate.status(Time::ZERO);
    publish(&mut gate, 0, mk_preconfirmed(mk_web(State::Draining)));
    assert!(gate.is_urgent(), "the control plane waits for it");
    gate.status(Time::ZERO);
    publish(&mut gate, 0, mk_preconfirmed(mk_web(State::Draining)));
    publish(&mut gate, 0, mk_preconfirmed(mk_web(State::Asleep)));
    assert!(!gate.is_urgent(), "once");
}

#[test]
fn nothing_happened_to_a_new_gate() {
    assert_eq!(settle(&mut mk_gate()).counts, []);
}

/// What stands in metrics stays.
#[test]
fn confirms_and_refusals_keep_their_names() {
    assert_eq!(
        Tally::ALL.map(Tally::name),
        [
            "yes",
            "no_endpoint",
            "unreachable",
            "not_there",
            "no_cluster",
            "cut",
            "no_answer",
            "believed"
        ]
    );
    assert_eq!(
        Refusal::ALL.map(Refusal::name),
        [
            "hold_timeout",
            "target_requests",
            "target_bytes",
            "envoy_requests",
            "envoy_bytes",
            "clusters",
            "failed",
            "ignored",
            "control_plane_lost",
            "no_snapshot",
            "control_plane_route",
            "route_changed"
        ]
    );
}
