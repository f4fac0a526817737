//! When a gate asks, what it concludes, and which gates it tells.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use protocol::Confirm;

use super::*;
use crate::gate::testing::{find, hold, mk_preconfirmed, mk_record, mk_request, publish_at, request_permits};
use crate::gate::{ArrivalDecision, WarmDecision};
use crate::{Bound, GateId, Refusal};

#[test]
fn an_answer_is_that_of_its_own_question() {
    for denied in [false, true] {
        let mut gate = mk_with(mk_asked(State::Ready));
        for (stream, cluster) in [(1, "web"), (2, "other")] {
            if denied {
                let permits = request_permits(&mut gate, Time::ZERO, stream, cluster);
                let _ = gate.deny(Time::ZERO, &permits, Bound::Requests, false);
            } else {
                hold(&mut gate, Time::ZERO, stream, cluster);
            }
        }
        assert!(gate.has_decisions(Time::ZERO), "must have questions to send");
        let calls: Vec<_> = gate.ask_all(Time::ZERO);
        assert!(!gate.has_decisions(Time::ZERO), "must have none any more");
        let [first, second] = &calls[..] else {
            panic!("must ask by each cluster: {calls:?}")
        };
        assert_ne!(first.token, second.token);
        gate.confirmed(Time::ZERO, second.token, YES);
        if denied {
            let ix = find(&gate, "web");
            assert!(matches!(gate.pass(ix, &second.cluster), WarmDecision::Pass(_)));
            assert_eq!(
                gate.pass(ix, &first.cluster),
                WarmDecision::Arrive,
                "was not answered"
            );
        } else {
            assert_eq!(gate.let_go(Time::ZERO), [2], "the other was not answered");
        }
    }
}

#[test]
fn an_answer_to_a_question_of_an_earlier_epoch_changes_nothing() {
    let mut gate = mk_with(mk_asked(State::Ready));
    hold(&mut gate, Time::ZERO, 1, "web");
    let old = gate.ask(Time::ZERO).expect("must ask");
    let mut next = mk_asked(State::Ready);
    next.target.as_mut().unwrap().epoch = 2;
    publish(&mut gate, 0, next);
    assert!(gate.ask(Time::ZERO).is_some(), "must ask anew");
    gate.confirmed(Time::ZERO, old.token, YES);
    assert_eq!(gate.decide(Time::ZERO), [], "must wait for the other answer");
}

#[test]
fn requests_by_a_cluster_that_is_gone_come_again_at_once() {
    let mut gate = mk_with(mk_asked(State::Ready));
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = gate.ask(Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, ConfirmOutcome::NoCluster);
    let decisions = gate.decide(Time::ZERO);
    let [Output::Refuse(StreamId(1), reply)] = &decisions[..] else {
        panic!("must be refused: {decisions:?}")
    };
    assert_eq!(reply.refusal, Refusal::RouteChanged);
}

#[test]
fn one_request_at_a_time_takes_the_part_of_a_question_however_many_may_be_released() {
    let mut gate = mk_with(SlotRecord {
        confirmed_epoch: Some(1),
        ..mk_asked(State::Ready)
    });
    let ticket = hold(&mut gate, Time::ZERO, 1, "web");
    hold(&mut gate, Time::ZERO, 2, "web");
    hold(&mut gate, Time::ZERO, 3, "web");
    gate.ask(Time::ZERO).expect("must ask");
    gate.handle_timeout(at(SECOND / 4));
    assert_eq!(gate.let_go(at(SECOND / 4)), [1]);
    assert_eq!(
        gate.poll_timeout(),
        Some(at(SECOND)),
        "what was due is done: next is the time-out of the question"
    );
    gate.ended(at(SECOND / 4), StreamId(1), ticket);
    assert_eq!(gate.let_go(at(SECOND / 4)), [2], "one that left says nothing");
    gate.answer(2);
    assert_eq!(gate.let_go(at(SECOND / 4)), [3]);
}

#[test]
fn the_others_hear_of_the_first_yes_at_once_and_of_no_other() {
    let mut gate = mk_with(mk_asked(State::Ready));
    hold(&mut gate, Time::ZERO, 1, "web");
    hold(&mut gate, Time::ZERO, 2, "other");
    let calls: Vec<_> = gate.ask_all(Time::ZERO);
    assert_eq!(gate.status(Time::ZERO).entries[0].confirmed_epoch, None);
    gate.confirmed(Time::ZERO, calls[0].token, YES);
    assert!(gate.is_urgent(), "they wait for it");
    assert_eq!(gate.status(Time::ZERO).entries[0].confirmed_epoch, Some(1));
    gate.confirmed(Time::ZERO, calls[1].token, YES);
    assert!(gate.status_changed() && !gate.is_urgent(), "they know");
    gate.status(Time::ZERO);
    assert_eq!(gate.let_go(Time::ZERO), [1, 2]);
    gate.answer(1);
    assert!(!gate.is_urgent(), "they know");

    let mut gate = mk_with(SlotRecord {
        confirmed_epoch: Some(1),
        ..mk_asked(State::Ready)
    });
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = gate.ask(Time::ZERO).expect("must ask");
    gate.status(Time::ZERO);
    gate.confirmed(Time::ZERO, call.token, YES);
    assert!(!gate.is_urgent(), "they have heard of another's");
}

#[test]
fn what_was_let_go_before_a_belief_does_not_vouch_for_it() {
    let mut gate = mk_with(SlotRecord {
        shares: Vec::new(),
        ..mk_asked(State::Ready)
    });
    hold(&mut gate, Time::ZERO, 1, "web");
    hold(&mut gate, Time::ZERO, 2, "web");
    hold(&mut gate, Time::ZERO, 3, "web");
    let call = gate.ask(Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, ConfirmOutcome::Cut);
    gate.handle_timeout(at(SECOND * 5));
    assert_eq!(gate.let_go(at(SECOND * 5)), [1], "must be believed");
    gate.handle_timeout(at(SECOND * 6));
    assert_eq!(
        gate.let_go(at(SECOND * 6)),
        [2],
        "no question was answered for a second"
    );
    gate.status(at(SECOND * 6));
    gate.answer(1);
    assert!(!gate.is_urgent(), "it is of an older window");
    assert_eq!(gate.status(at(SECOND * 6)).entries[0].confirmed_epoch, None);
    gate.answer(2);
    assert!(gate.is_urgent(), "must be told");
    assert_eq!(gate.status(at(SECOND * 6)).entries[0].confirmed_epoch, Some(1));
}

#[test]
fn where_nothing_is_asked_no_gate_hears_of_a_yes() {
    let mut gate = mk_with(mk_off(0, State::Asleep));
    hold(&mut gate, Time::ZERO, 1, "web");
    publish(&mut gate, 0, mk_off(0, State::Ready));
    assert_eq!(gate.let_go(Time::ZERO), [1]);
    gate.status(Time::ZERO);
    gate.answer(1);
    assert!(!gate.is_urgent());
    assert_eq!(gate.status(Time::ZERO).entries[0].confirmed_epoch, None);
}

#[test]
fn what_cannot_be_asked_settles() {
    let mut gate = mk_with(mk_off(500, State::Asleep));
    hold(&mut gate, Time::ZERO, 1, "web");
    let mut ready = mk_off(500, State::Ready);
    ready.shares = vec![(ME.id, 10)];
    let now = SECOND;
    gate.handle_timeout(at(now));
    publish_at(&mut gate, at(now), 0, ready);
    assert_eq!(gate.decide(at(now)), [], "must settle first");
    assert_eq!(gate.ask(at(now)), None, "there is nothing to ask");
    assert!(!gate.has_decisions(at(now)));
    let settled = now + SECOND / 2;
    assert_eq!(gate.poll_timeout(), Some(at(settled)));
    let just_before = settled - Duration::from_millis(1);
    gate.handle_timeout(at(just_before));
    assert_eq!(gate.decide(at(just_before)), [], "must settle first");
    hold(&mut gate, at(just_before), 2, "other");
    gate.handle_timeout(at(settled));
    assert_eq!(gate.let_go(at(settled)), [1, 2]);
    let ix = find(&gate, "web");
    assert_eq!(
        gate.pass(ix, b"web"),
        WarmDecision::Arrive,
        "the warm path knows no clock"
    );
    let request = mk_request("web");
    let verdict = gate.arrive(at(settled), StreamId(3), Some(ix), &request);
    assert!(matches!(verdict, ArrivalDecision::Pass(_)), "{verdict:?}");
    assert!(
        matches!(gate.pass(ix, b"web"), WarmDecision::Pass(_)),
        "must be warm from now on"
    );
}

#[test]
fn a_target_that_settles_in_no_time_passes_at_once() {
    let mut gate = mk_with(mk_off(0, State::Ready));
    let ix = find(&gate, "web");
    assert!(matches!(gate.pass(ix, b"web"), WarmDecision::Pass(_)));
}

#[test]
fn what_needs_no_confirm_is_not_asked_though_it_holds() {
    let mut gate = mk_with(mk_record(mk_web(State::Asleep)));
    hold(&mut gate, Time::ZERO, 1, "web");
    hold(&mut gate, Time::ZERO, 2, "web");
    publish(
        &mut gate,
        0,
        SlotRecord {
            prober: Some(ME.id),
            ..mk_preconfirmed(mk_web(State::Ready))
        },
    );
    assert_eq!(
        gate.let_go(Time::ZERO),
        [1],
        "a gate that is not named may have one"
    );
    assert!(!gate.has_decisions(Time::ZERO));
    assert_eq!(gate.ask(Time::ZERO), None);
    assert_eq!(
        gate.poll_timeout(),
        Some(at(SECOND)),
        "must come back for the window"
    );
    assert_eq!(
        gate.status(at(SECOND * 9)).unreached,
        [],
        "is reached as far as the gate knows"
    );
}

#[test]
fn what_sleeps_is_not_asked() {
    let mut gate = mk_with(mk_asked(State::Asleep));
    hold(&mut gate, Time::ZERO, 1, "web");
    assert!(!gate.has_decisions(Time::ZERO));
    assert_eq!(gate.ask(Time::ZERO), None);
    assert_eq!(
        gate.poll_timeout(),
        Some(at(SECOND * 60)),
        "must come back for the deadline"
    );
}

#[test]
fn a_question_is_repeated_at_its_time_and_not_before() {
    for (prober, sharers, gap) in [
        (Some(ME.id), vec![(ME.id, 1)], Duration::from_millis(50)),
        (Some(GateId(2)), vec![(ME.id, 1), (GateId(2), 1)], SECOND * 5),
        (
            Some(GateId(2)),
            vec![(GateId(2), 1), (GateId(3), 1), (ME.id, 1)],
            SECOND * 10,
        ),
    ] {
        let mut gate = mk_with(SlotRecord {
            confirmed_epoch: Some(1),
            prober,
            shares: sharers,
            ..mk_record(mk_web(State::Ready))
        });
        hold(&mut gate, Time::ZERO, 1, "web");
        let call = gate.ask(Time::ZERO).expect("must ask");
        gate.confirmed(Time::ZERO, call.token, ConfirmOutcome::Refused);
        assert_eq!(gate.poll_timeout(), Some(at(gap)), "with {prober:?}");
        let just_before = gap - Duration::from_millis(1);
        assert_eq!(gate.ask(at(just_before)), None, "with {prober:?}");
        assert!(gate.ask(at(gap)).is_some(), "with {prober:?}");
    }
}

#[test]
fn an_endpoint_is_waited_for_ever_less_often() {
    let mut gate = mk_with(mk_asked(State::Ready));
    hold(&mut gate, Time::ZERO, 1, "web");
    let mut now = Time::ZERO;
    let mut gaps = Vec::new();
    for _ in 0..8 {
        let call = gate.ask(now).expect("must ask");
        gate.confirmed(now, call.token, ConfirmOutcome::NoEndpoint);
        let again = gate.poll_timeout().expect("must ask again");
        gaps.push(again.since(now).as_millis());
        now = again;
    }
    assert_eq!(gaps, [5, 10, 20, 40, 80, 160, 200, 200]);
}

#[test]
fn those_that_do_not_ask_for_all_begin_one_after_the_other() {
    let mut gate = mk_with(SlotRecord {
        prober: Some(GateId(2)),
        shares: vec![(GateId(2), 1), (GateId(3), 1), (GateId(4), 1), (ME.id, 1)],
        ..mk_record(mk_web(State::Ready))
    });
    hold(&mut gate, Time::ZERO, 1, "web");
    let begin = SECOND * (1 + 5 + 2 + 2 * 5);
    assert_eq!(gate.poll_timeout(), Some(at(begin)), "two others come before it");
    assert_eq!(gate.ask(at(begin - Duration::from_millis(1))), None);
    gate.handle_timeout(at(begin));
    assert_eq!(
        gate.poll_timeout(),
        Some(at(SECOND * 60)),
        "must not come back for what is due already"
    );
    assert!(gate.ask(at(begin)).is_some());
}

#[test]
fn a_drain_that_is_called_off_needs_no_new_confirm_and_a_sleep_does() {
    for (between, passes) in [(State::Draining, true), (State::Asleep, false)] {
        let mut gate = mk_with(mk_preconfirmed(mk_web(State::Ready)));
        publish(&mut gate, 0, mk_record(mk_web(between)));
        publish(&mut gate, 0, mk_record(mk_web(State::Ready)));
        let ix = find(&gate, "web");
        assert_eq!(
            matches!(gate.pass(ix, b"web"), WarmDecision::Pass(_)),
            passes,
            "after {between:?}"
        );
    }
}

/// `web`, of which nothing is asked.
fn mk_off(settle_ms: u64, state: State) -> SlotRecord {
    mk_record(Target {
        confirm: Confirm::Off { settle_ms },
        ..mk_web(state)
    })
}
