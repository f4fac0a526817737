//! Keys that come, go, and are another target's too.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::gate::testing::{find, hold, mk_gate, mk_preconfirmed, mk_record};
use crate::gate::{ClusterLookup, WarmDecision};

/// Has the key `web` too, and is found by `twin` alone.
fn mk_twin(state: State) -> SlotRecord {
    let mut target = mk_target("twin");
    target.clusters.push("web".to_owned());
    target.state = state;
    mk_record(target)
}

#[test]
fn the_authority_is_asked_for_only_where_it_may_tell() {
    let mut gate = mk_gate();
    assert_eq!(
        gate.find_cluster(b"any"),
        ClusterLookup::AskHost,
        "nothing is known yet"
    );
    publish(&mut gate, 0, mk_asked(State::Ready));
    assert_eq!(
        gate.find_cluster(b"any"),
        ClusterLookup::NoTarget,
        "none is found by host"
    );
    let mut record = mk_asked(State::Ready);
    record.target.as_mut().unwrap().hosts = vec!["a".to_owned()];
    publish(&mut gate, 0, record);
    assert_eq!(gate.find_cluster(b"any"), ClusterLookup::AskHost);
}

#[test]
fn a_host_that_changes_is_followed() {
    let by_host = |host: &str| {
        let mut record = mk_asked(State::Ready);
        record.target.as_mut().unwrap().hosts = vec![host.to_owned()];
        record
    };
    let mut gate = mk_with(by_host("a"));
    let ix = find(&gate, "web");
    assert_eq!(gate.find_host(b"a", b"any"), Some(ix));
    publish(&mut gate, 0, by_host("b"));
    assert_eq!(
        (gate.find_host(b"a", b"any"), gate.find_host(b"b", b"any")),
        (None, Some(ix))
    );
}

#[test]
fn a_key_that_is_named_twice_counts_once() {
    let mut record = mk_asked(State::Ready);
    record.target.as_mut().unwrap().clusters.push("web".to_owned());
    let mut gate = mk_with(record);
    publish(&mut gate, 1, mk_twin(State::Asleep));
    publish(&mut gate, 0, SlotRecord::default());
    publish(&mut gate, 1, mk_twin(State::Ready));
    assert_eq!(find(&gate, "web"), find(&gate, "twin"));
}

#[test]
fn a_request_that_waits_for_a_twin_waits_no_more_once_the_twin_is_gone() {
    let mut gate = mk_with(mk_asked(State::Asleep));
    publish(&mut gate, 1, mk_twin(State::Asleep));
    hold(&mut gate, Time::ZERO, 1, "web");
    publish(&mut gate, 1, SlotRecord::default());
    publish(&mut gate, 0, mk_asked(State::Ready));
    assert!(gate.ask(Time::ZERO).is_some(), "must move");
}

/// The cluster may have led to the twin, and may lead elsewhere now.
#[test]
fn a_queue_that_moves_again_is_confirmed_anew_whatever_was_known_before() {
    for is_trusted in [false, true] {
        let record = |state| SlotRecord {
            preconfirmed_epoch: is_trusted.then_some(1),
            shares: Vec::new(),
            ..mk_asked(state)
        };
        let mut gate = mk_with(record(State::Asleep));
        hold(&mut gate, Time::ZERO, 1, "web");
        hold(&mut gate, Time::ZERO, 2, "web");
        publish(&mut gate, 0, record(State::Ready));
        if !is_trusted {
            let call = gate.ask(Time::ZERO).expect("must ask");
            gate.confirmed(Time::ZERO, call.token, YES);
        }
        assert_eq!(gate.let_go(Time::ZERO), [1], "one may be unanswered");
        gate.answer(1);
        publish(&mut gate, 1, mk_twin(State::Asleep));
        assert_eq!(gate.let_go(Time::ZERO), [0; 0], "must wait for the twin");
        publish(&mut gate, 1, SlotRecord::default());
        assert_eq!(gate.let_go(Time::ZERO), [0; 0], "must be confirmed first");
        let call = gate.ask(Time::ZERO).expect("must ask anew");
        gate.confirmed(Time::ZERO, call.token, YES);
        assert_eq!(gate.let_go(Time::ZERO), [2]);
    }
}

#[test]
fn a_queue_that_moves_all_the_time_is_not_asked_anew_for_what_others_share() {
    let mut gate = mk_with(SlotRecord {
        shares: Vec::new(),
        ..mk_asked(State::Ready)
    });
    hold(&mut gate, Time::ZERO, 1, "other");
    hold(&mut gate, Time::ZERO, 2, "other");
    let call = gate.ask(Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, YES);
    assert_eq!(gate.let_go(Time::ZERO), [1], "one may be unanswered");
    publish(&mut gate, 1, mk_twin(State::Ready));
    assert_eq!(gate.ask(Time::ZERO), None, "its own key is its own still");
    gate.answer(1);
    assert_eq!(gate.let_go(Time::ZERO), [2]);
}

#[test]
fn a_probe_of_what_is_not_ready_does_not_pass_by_the_warm_path() {
    let mut record = mk_preconfirmed(mk_web(State::Ready));
    record.target.as_mut().unwrap().ignore.paths = vec!["/healthz".to_owned()];
    let mut gate = mk_with(record.clone());
    let ix = find(&gate, "web");
    assert!(matches!(gate.pass(ix, b"web"), WarmDecision::Read { .. }));
    assert!(
        gate.pass_unless_ignored(ix, b"web", b"/healthz", b"").is_some(),
        "must pass"
    );
    record.target.as_mut().unwrap().state = State::Asleep;
    publish(&mut gate, 0, record);
    assert_eq!(gate.pass_unless_ignored(ix, b"web", b"/healthz", b""), None);
}
