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
            preconfirmed_epoch: Some(1),
            shares: vec![(GateId(2), 4), (ME.id, 2), (GateId(3), 3)],
            ..mk_record(mk_web(State::Ready))
        },
    );
    assert_eq!(gate.let_go(Time::ZERO), [1, 2]);
}

#[test]
fn requests_that_wait_for_one_cluster_do_not_block_those_by_another() {
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

#[test]
fn a_callback_decides_as_much_as_it_may_and_no_more() {
    let mut gate = mk_with(mk_record(mk_web(State::Asleep)));
    for stream in 1..=100 {
        hold(&mut gate, Time::ZERO, stream, "web");
    }
    publish(
        &mut gate,
        0,
        SlotRecord {
            preconfirmed_epoch: Some(1),
            shares: vec![(ME.id, 1_000)],
            ..mk_record(mk_web(State::Ready))
        },
    );
    let most = Gate::DECISIONS;
    assert_eq!(gate.let_go(Time::ZERO), (1..=most).collect::<Vec<_>>());
    assert_eq!(gate.let_go(Time::ZERO), (most + 1..=100).collect::<Vec<_>>());
}

#[test]
fn a_target_that_goes_leaves_no_queue_blocked() {
    let mut gate = mk_with(mk_asked(State::Asleep));
    hold(&mut gate, Time::ZERO, 1, "web");
    let twin = Target {
        clusters: vec!["web".to_owned()],
        ..mk_target("twin")
    };
    publish(&mut gate, 1, mk_record(twin));
    publish(&mut gate, 0, mk_asked(State::Ready));
    assert_eq!(gate.decide(Time::ZERO), [], "must wait for the twin");
    publish(&mut gate, 0, SlotRecord::default());
    let decisions = gate.decide(Time::ZERO);
    assert!(
        matches!(decisions[..], [Output::Refuse(StreamId(1), _)]),
        "its key is the twin's alone: {decisions:?}"
    );
}

#[test]
fn a_queue_waits_for_every_target_that_has_its_host() {
    let by_host = |id: &str, state| {
        let mut target = mk_target(id);
        target.clusters = Vec::new();
        target.hosts = vec!["a".to_owned()];
        target.state = state;
        SlotRecord {
            prober: Some(ME.id),
            ..mk_record(target)
        }
    };
    let mut gate = mk_with(by_host("web", State::Asleep));
    publish(&mut gate, 1, by_host("twin", State::Asleep));
    let ix = gate.find_host(b"a", b"any").expect("must be found");
    let request = crate::gate::testing::mk_request("any");
    let crate::gate::ArrivalDecision::Hold(permits) =
        gate.arrive(Time::ZERO, StreamId(1), Some(ix), &request)
    else {
        panic!("must be held")
    };
    gate.hold(Time::ZERO, StreamId(1), permits).unwrap();
    publish(&mut gate, 0, by_host("web", State::Ready));
    assert_eq!(gate.ask(Time::ZERO), None, "must not ask while the other is away");
    publish(&mut gate, 1, by_host("twin", State::Ready));
    assert!(gate.ask(Time::ZERO).is_some(), "must ask now");
}

#[test]
fn a_key_that_was_leaving_is_no_targets_once_its_target_is_gone() {
    let mut record = mk_asked(State::Asleep);
    record.target.as_mut().unwrap().leaving = vec!["web".to_owned()];
    let mut gate = mk_with(record);
    hold(&mut gate, Time::ZERO, 1, "web");
    publish(&mut gate, 0, SlotRecord::default());
    assert_eq!(gate.let_go(Time::ZERO), [1], "what a removed target held passes");
}

#[test]
fn a_refused_client_is_told_why_the_workload_failed_and_when_to_come_back() {
    let mut record = mk_asked(State::Failed);
    let target = record.target.as_mut().unwrap();
    target.reason = Some("no such image".to_owned());
    target.reason_class = Some("image".to_owned());
    target.retry_after_ms = Some(7_000);
    for (detail, told) in [("full", "no such image"), ("class", "image")] {
        let config = mk_config(&format!(r#","answers":{{"detail":"{detail}"}}"#));
        let mut gate = Gate::new(config, ME, Time::ZERO);
        publish(&mut gate, 0, record.clone());
        let ix = find(&gate, "web");
        let request = crate::gate::testing::mk_request("web");
        let crate::gate::ArrivalDecision::Refuse(reply) =
            gate.arrive(Time::ZERO, StreamId(1), Some(ix), &request)
        else {
            panic!("must be refused")
        };
        assert_eq!(reply.message, format!("The workload cannot start: {told}"));
        assert_eq!(reply.retry_after, 7);
    }
}

#[test]
fn a_request_is_charged_what_envoy_says_of_it() {
    let mut gate = mk_with(mk_asked(State::Asleep));
    let mut permits = crate::gate::testing::request_permits(&mut gate, Time::ZERO, 1, "web");
    let weight = crate::Weight {
        head: 50,
        multiplexed: false,
    };
    let before = permits.bytes;
    permits.weigh(weight, &mk_config(""));
    assert_eq!(permits.bytes, before + 150);
}

#[test]
fn a_publication_does_not_open_the_window_of_what_is_ready_already() {
    let mut gate = mk_with(mk_asked(State::Ready));
    publish(&mut gate, 0, mk_narrow());
    for stream in 1..=3 {
        hold(&mut gate, Time::ZERO, stream, "web");
    }
    let call = gate.ask(Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, YES);
    assert_eq!(gate.let_go(Time::ZERO), [1], "one may be unanswered");
    publish(&mut gate, 0, mk_narrow());
    assert_eq!(gate.let_go(Time::ZERO), [0; 0], "the first is unanswered still");
    gate.answer(1);
    assert_eq!(gate.let_go(Time::ZERO), [2]);
}

/// As [`mk_asked`], ready, and with one released request unanswered at most.
fn mk_narrow() -> SlotRecord {
    SlotRecord {
        shares: Vec::new(),
        ..mk_asked(State::Ready)
    }
}
