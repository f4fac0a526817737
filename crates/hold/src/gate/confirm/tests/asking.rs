//! When a gate asks, and what it lets go meanwhile.

use std::time::Duration;

use protocol::{Confirm, State};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::gate::confirm::rules::TAKEN;
use crate::gate::confirm::{ConfirmCall, ConfirmOutcome};
use crate::gate::testing::{
    ME, at, find, hold, mk_config, mk_record, mk_target, publish, request_permits, run, settle, status,
};
use crate::gate::{Gate, Output, WarmDecision};
use crate::{Bound, GateId, SlotRecord, StreamId, Time};

#[test]
fn a_worker_without_a_place_left_asks_all_the_same() {
    let mut gate = mk_ready();
    for stream in 1..100 {
        let permits = request_permits(&mut gate, Time::ZERO, stream, "web");
        let _ = gate.deny(Time::ZERO, &permits, Bound::Requests, true);
    }

    assert!(settle(&mut gate).woken, "must have a question to send");
    let questions = run(&mut gate, Time::ZERO).questions;
    let [call] = &questions[..] else {
        panic!("must ask, and once for all of them: {questions:?}")
    };
    gate.confirmed(Time::ZERO, call.token, YES);
    assert!(passes(&mut gate), "must pass from now on");
}

#[test]
fn an_answer_finds_its_cluster_however_late_it_comes() {
    for outcome in [YES, ConfirmOutcome::Refused] {
        let mut gate = mk_ready();
        let ticket = hold(&mut gate, Time::ZERO, 1, "web");
        let call = ask(&mut gate, Time::ZERO).expect("must ask");
        gate.ended(Time::ZERO, StreamId(1), ticket);
        // Long enough for the status to name the target no more.
        let late = crate::GateStatus::RECENT * 2;
        assert!(status(&mut gate, at(late)).entries.is_empty(), "must be at rest");
        gate.confirmed(at(late), call.token, outcome);
        if outcome == YES {
            assert!(passes(&mut gate), "must pass from now on");
            continue;
        }
        let later = late + Duration::from_secs(60);
        hold(&mut gate, at(later), 2, "web");
        assert!(ask(&mut gate, at(later)).is_some(), "must ask anew");
    }
}

#[test]
fn another_that_has_had_no_yes_is_waited_for_until_it_gives_up() {
    for (told, wait) in [
        (Some(GateId(2)), Duration::from_secs(8)),
        (None, Duration::from_secs(2)),
    ] {
        let mut gate = mk(told, None);
        hold(&mut gate, Time::ZERO, 1, "web");
        assert!(!settle(&mut gate).woken, "{told:?} asks for all");
        assert_eq!(
            gate.poll_timeout(),
            Some(at(wait)),
            "must know when {told:?} has given up"
        );
        let before = wait - Duration::from_millis(1);
        assert_eq!(ask(&mut gate, at(before)), None, "must not ask beside {told:?}");
        assert!(
            ask(&mut gate, at(wait)).is_some(),
            "{told:?} may be asking what leads nowhere"
        );
    }
}

#[test]
fn one_request_at_a_time_goes_where_another_worker_has_been_answered() {
    let mut gate = mk_confirmed(Some(1));
    let ticket = hold(&mut gate, Time::ZERO, 1, "web");
    hold(&mut gate, Time::ZERO, 2, "web");
    hold(&mut gate, Time::ZERO, 3, "web");
    let call = ask(&mut gate, Time::ZERO).expect("must ask");
    assert!(
        call.timeout > Duration::from_secs(60),
        "must not add a time-out of its own"
    );

    let just_before = TAKEN - Duration::from_millis(1);
    assert_eq!(decide(&mut gate, at(just_before)), [], "a refusal may still come");
    assert_eq!(gate.poll_timeout(), Some(at(TAKEN)));
    assert_eq!(
        decide(&mut gate, at(TAKEN)),
        [Output::Resume(StreamId(1))],
        "one until it is answered"
    );
    gate.ended(at(TAKEN), StreamId(1), ticket);
    assert_eq!(
        decide(&mut gate, at(TAKEN)),
        [Output::Resume(StreamId(2))],
        "one that left says nothing, and one until it is answered"
    );
    gate.answered(at(TAKEN), StreamId(2));
    assert_eq!(decide(&mut gate, at(TAKEN)), [Output::Resume(StreamId(3))]);
    assert!(passes(&mut gate), "must pass from now on");
}

#[test]
fn no_request_goes_before_this_worker_has_an_endpoint() {
    for outcome in [ConfirmOutcome::NoEndpoint, ConfirmOutcome::Refused] {
        let mut gate = mk_confirmed(Some(1));
        hold(&mut gate, Time::ZERO, 1, "web");
        let call = ask(&mut gate, Time::ZERO).expect("must ask");
        gate.confirmed(Time::ZERO, call.token, outcome);
        // Short of the next question.
        assert_eq!(decide(&mut gate, at(Duration::from_millis(4))), [], "{outcome:?}");
    }
}

#[test]
fn a_worker_that_is_not_answered_lets_no_request_go_before_it_gives_up() {
    let mut gate = mk_confirmed(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    ask(&mut gate, Time::ZERO).expect("must ask");
    let given_up = Duration::from_secs(6);
    let just_before = given_up - Duration::from_millis(1);
    assert_eq!(decide(&mut gate, at(just_before)), [], "must wait for an answer");
    let told = status(&mut gate, at(just_before)).unreached;
    assert_eq!(
        told.iter()
            .map(|one| (one.saw.as_str(), one.for_ms))
            .collect::<Vec<_>>(),
        [("no answer in 1 s", 4_999)],
        "must be told of"
    );
    let done = run(&mut gate, at(given_up));
    assert_eq!(done.decisions, [Output::Resume(StreamId(1))]);
    assert_eq!(
        status(&mut gate, at(given_up)).unreached,
        [],
        "must be told of no more"
    );
    let [warning] = &done.warnings[..] else {
        panic!("must name the cluster, once: {:?}", done.warnings)
    };
    assert!(warning.contains("no answer in 1 s"), "{warning}");
    let given_up: u64 = done.counts.iter().map(|counts| counts.confirm_give_up).sum();
    assert_eq!(given_up, 1, "must be counted");
}

#[test]
fn an_answer_that_is_late_and_then_cut_counts_from_when_it_was_late() {
    let mut gate = mk_confirmed(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = ask(&mut gate, Time::ZERO).expect("must ask");
    // As when CDS changes the cluster under a question.
    let cut = Duration::from_secs(4);
    gate.confirmed(at(cut), call.token, ConfirmOutcome::Cut);
    assert_eq!(
        status(&mut gate, at(cut)).unreached[0].for_ms,
        3_000,
        "must tell since when it was late"
    );
    let given_up = Duration::from_secs(6);
    let just_before = given_up - Duration::from_millis(1);
    let done = run(&mut gate, at(just_before));
    assert_eq!(done.decisions, [], "must wait for give-up");
    gate.confirmed(at(just_before), done.questions[0].token, ConfirmOutcome::Cut);
    assert_eq!(decide(&mut gate, at(given_up)), [Output::Resume(StreamId(1))]);
}

#[test]
fn a_question_that_is_late_after_refusals_and_cut_by_a_change_is_believed_in_time() {
    let mut gate = mk_of(Some(GateId(1)), None, |target| {
        target.confirm = Confirm::Http {
            path: "/".to_owned(),
            authority: None,
            timeout_ms: 1_000,
            give_up_ms: 45_000,
        };
    });
    hold(&mut gate, Time::ZERO, 1, "web");
    let ms = Duration::from_millis;
    for tried in [2_000, 2_050, 2_300] {
        let call = ask(&mut gate, at(ms(tried))).expect("must ask");
        gate.confirmed(at(ms(tried)), call.token, ConfirmOutcome::Failed);
    }
    let call = ask(&mut gate, at(ms(3_300))).expect("must ask");
    gate.confirmed(at(ms(22_000)), call.token, ConfirmOutcome::Cut);
    ask(&mut gate, at(ms(26_000))).expect("must ask");
    assert_eq!(decide(&mut gate, at(ms(49_299))), [], "must wait for give-up");
    assert_eq!(
        decide(&mut gate, at(ms(49_300))),
        [Output::Resume(StreamId(1))],
        "must count from when the first answer was late"
    );
}

#[test]
fn a_question_that_was_late_and_then_refused_is_no_doubt() {
    let mut gate = mk_confirmed(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = ask(&mut gate, Time::ZERO).expect("must ask");
    // A connect time-out that is longer than `confirm.timeout`.
    gate.confirmed(at(Duration::from_secs(4)), call.token, ConfirmOutcome::Refused);
    let given_up = Duration::from_secs(7);
    assert_eq!(decide(&mut gate, at(given_up)), [], "no host took the connection");
}

#[test]
fn of_a_belief_the_other_gates_hear_once_a_request_was_answered() {
    let mut gate = mk_confirmed(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = ask(&mut gate, Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, ConfirmOutcome::Cut);
    let given_up = Duration::from_secs(5);
    assert_eq!(decide(&mut gate, at(given_up)), [Output::Resume(StreamId(1))]);
    assert_eq!(
        status(&mut gate, at(given_up)).entries[0].confirmed_epoch,
        None,
        "what they ask may be answered as badly"
    );
    gate.answered(at(given_up), StreamId(1));
    let done = settle(&mut gate);
    assert!(done.notified, "must be told at once");
    assert_eq!(done.status.unwrap().entries[0].confirmed_epoch, Some(1));
}

#[test]
fn a_request_that_is_held_in_vain_is_told_why() {
    let mut gate = mk_confirmed(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = ask(&mut gate, Time::ZERO).expect("must ask");
    gate.confirmed(at(Duration::from_secs(1)), call.token, ConfirmOutcome::Refused);
    let decisions = decide(&mut gate, at(Duration::from_secs(60)));
    let [Output::Refuse(_, reply)] = &decisions[..] else {
        panic!("must be refused: {decisions:?}")
    };
    assert_eq!(reply.status, 504);
    let body = String::from_utf8(reply.body.clone()).unwrap();
    for part in [
        "urn:holdfast:hold-timeout",
        "The workload is ready, but this proxy does not reach it",
        "cluster web: refused, for 59 s",
    ] {
        assert!(body.contains(part), "must say `{part}`: {body}");
    }
}

#[test]
fn the_authority_of_the_confirm_is_asked_for() {
    let mut gate = mk_of(Some(GateId(1)), None, |target| {
        target.confirm = Confirm::Grpc {
            authority: Some("inner.test".to_owned()),
            timeout_ms: 1_000,
            give_up_ms: 5_000,
        };
    });
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = ask(&mut gate, Time::ZERO).expect("must ask");
    assert_eq!((call.authority, call.path), (b"inner.test".to_vec(), None));
}

#[test]
fn a_late_answer_to_an_older_window_makes_no_room() {
    let mut gate = mk_ready();
    for stream in 1..=4 {
        hold(&mut gate, Time::ZERO, stream, "web");
    }
    let call = ask(&mut gate, Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, YES);
    assert_eq!(
        decide(&mut gate, Time::ZERO).len(),
        1,
        "a gate that is not named may have one"
    );
    let second = Duration::from_secs(1);
    assert_eq!(
        decide(&mut gate, at(second)).len(),
        1,
        "no question was answered for a second"
    );
    gate.answered(at(second), StreamId(1));
    assert_eq!(
        decide(&mut gate, at(second)),
        [],
        "the second is unanswered still"
    );
    gate.answered(at(second), StreamId(2));
    assert_eq!(decide(&mut gate, at(second)).len(), 1, "must move on");
}

const YES: ConfirmOutcome = ConfirmOutcome::Answered {
    status: 200,
    grpc_status: None,
};

/// The one question of a root callback at `now`.
fn ask(gate: &mut Gate, now: Time) -> Option<ConfirmCall> {
    let mut questions = run(gate, now).questions;
    assert!(questions.len() <= 1, "must ask once: {questions:?}");
    questions.pop()
}

/// The decisions of a root callback at `now`.
fn decide(gate: &mut Gate, now: Time) -> Vec<Output> {
    run(gate, now).decisions
}

fn passes(gate: &mut Gate) -> bool {
    let ix = find(gate, "web");
    matches!(gate.pass(ix, b"web"), WarmDecision::Pass(_))
}

/// A gate with one target that is ready and may be asked, and was not.
fn mk_ready() -> Gate {
    mk(None, Some(1))
}

/// The same, with this gate to ask first, and a yes in this epoch.
fn mk(prober: Option<GateId>, confirmed_epoch: Option<u64>) -> Gate {
    mk_of(prober, confirmed_epoch, |_| {})
}

/// This gate asks first, and another one has had its yes in this epoch.
fn mk_confirmed(epoch: Option<u64>) -> Gate {
    mk(Some(GateId(1)), epoch)
}

fn mk_of(
    prober: Option<GateId>,
    confirmed_epoch: Option<u64>,
    change: impl FnOnce(&mut protocol::Target),
) -> Gate {
    let config = mk_config(r#","answers":{"detail":"full"}"#);
    let mut gate = Gate::new(config, ME, Time::ZERO);
    let mut target = mk_target("web");
    target.state = State::Ready;
    target.epoch = 1;
    change(&mut target);
    let record = SlotRecord {
        prober,
        confirmed_epoch,
        ..mk_record(target)
    };
    publish(&mut gate, 0, record);
    gate
}
