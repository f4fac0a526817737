use protocol::State;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use crate::gate::Warm;
use crate::gate::testing::{ME, claim, find, hold, mk_config, mk_record, mk_target, publish};
use crate::{Bound, SlotRecord, StreamId};

use super::*;

#[test]
fn a_worker_without_a_place_left_asks_all_the_same() {
    let mut gate = mk_ready();
    for stream in 1..100 {
        let claim = claim(&mut gate, Time::ZERO, stream, "web");
        gate.deny(Time::ZERO, &claim, Bound::Requests, true);
    }

    assert!(gate.wants_root(Time::ZERO), "must have a question to send");
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    assert_eq!(gate.poll_confirm(Time::ZERO), None, "once for all of them");
    gate.confirmed(Time::ZERO, call.token, YES);
    assert!(passes(&mut gate), "must pass from now on");
}

#[test]
fn an_answer_finds_its_cluster_however_late_it_comes() {
    for outcome in [YES, Outcome::Refused] {
        let mut gate = mk_ready();
        let ticket = hold(&mut gate, Time::ZERO, 1, "web");
        let call = gate.poll_confirm(Time::ZERO).expect("must ask");
        gate.ended(Time::ZERO, StreamId(1), ticket);
        // Long enough for the row to name the target no more.
        let late = crate::Row::RECENT * 2;
        assert!(gate.row(late).entries.is_empty(), "must be at rest");
        gate.confirmed(late, call.token, outcome);
        if outcome == YES {
            assert!(passes(&mut gate), "must pass from now on");
            continue;
        }
        let later = late + Duration::from_secs(60);
        hold(&mut gate, later, 2, "web");
        assert!(gate.poll_confirm(later).is_some(), "must ask anew");
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
        assert!(!gate.wants_root(Time::ZERO), "{told:?} asks for all");
        assert_eq!(
            gate.poll_timeout(Time::ZERO),
            Some(wait),
            "must know when {told:?} has given up"
        );
        let before = wait - Duration::from_millis(1);
        assert_eq!(gate.poll_confirm(before), None, "must not ask beside {told:?}");
        assert!(
            gate.poll_confirm(wait).is_some(),
            "{told:?} may be asking what leads nowhere"
        );
    }
}

#[test]
fn one_request_at_a_time_goes_where_another_worker_has_been_answered() {
    let mut gate = mk_proven(Some(1));
    let ticket = hold(&mut gate, Time::ZERO, 1, "web");
    hold(&mut gate, Time::ZERO, 2, "web");
    hold(&mut gate, Time::ZERO, 3, "web");
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    assert!(
        call.timeout > Duration::from_secs(60),
        "must not add a time-out of its own"
    );

    let taken = confirm::TAKEN;
    let just_before = taken - Duration::from_millis(1);
    gate.handle_timeout(just_before);
    assert_eq!(gate.poll_command(just_before), None, "a refusal may still come");
    assert_eq!(gate.poll_timeout(Time::ZERO), Some(taken));
    gate.handle_timeout(taken);
    assert_eq!(release(&mut gate, taken), Some(StreamId(1)));
    assert_eq!(gate.poll_command(taken), None, "one until it is answered");
    gate.ended(taken, StreamId(1), ticket);
    assert_eq!(
        release(&mut gate, taken),
        Some(StreamId(2)),
        "one that left says nothing"
    );
    assert_eq!(gate.poll_command(taken), None, "one until it is answered");
    gate.answered(StreamId(2));
    assert_eq!(release(&mut gate, taken), Some(StreamId(3)));
    assert!(passes(&mut gate), "must pass from now on");
}

#[test]
fn no_request_goes_before_this_worker_has_an_endpoint() {
    for outcome in [Outcome::NoEndpoint, Outcome::Refused] {
        let mut gate = mk_proven(Some(1));
        hold(&mut gate, Time::ZERO, 1, "web");
        let call = gate.poll_confirm(Time::ZERO).expect("must ask");
        gate.confirmed(Time::ZERO, call.token, outcome);
        // Short of the next question.
        let later = Duration::from_millis(4);
        gate.handle_timeout(later);
        assert_eq!(gate.poll_command(later), None, "{outcome:?}");
    }
}

#[test]
fn a_worker_that_is_not_answered_lets_nobody_go_before_it_gives_up() {
    let mut gate = mk_proven(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    gate.poll_confirm(Time::ZERO).expect("must ask");
    let given_up = Duration::from_secs(6);
    let just_before = given_up - Duration::from_millis(1);
    gate.handle_timeout(just_before);
    assert_eq!(gate.poll_command(just_before), None, "must wait for an answer");
    let told = gate.row(just_before).unreached;
    assert_eq!(
        told.iter()
            .map(|one| (one.saw.as_str(), one.for_ms))
            .collect::<Vec<_>>(),
        [("no answer in 1 s", 4_999)],
        "must be told of"
    );
    gate.handle_timeout(given_up);
    assert_eq!(release(&mut gate, given_up), Some(StreamId(1)));
    assert_eq!(gate.row(given_up).unreached, [], "must be told of no more");
    let warning = gate.poll_warning().expect("must name the cluster");
    assert!(warning.contains("no answer in 1 s"), "{warning}");
    assert_eq!(gate.poll_warning(), None, "once");
}

#[test]
fn an_answer_that_is_late_and_then_cut_counts_from_when_it_was_late() {
    let mut gate = mk_proven(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    // As when CDS changes the cluster under a question.
    let cut = Duration::from_secs(4);
    gate.confirmed(cut, call.token, Outcome::Cut);
    assert_eq!(
        gate.row(cut).unreached[0].for_ms,
        3_000,
        "must tell since when it was late"
    );
    let given_up = Duration::from_secs(6);
    let just_before = given_up - Duration::from_millis(1);
    gate.handle_timeout(just_before);
    assert_eq!(gate.poll_command(just_before), None, "must wait for give-up");
    gate.handle_timeout(given_up);
    assert_eq!(release(&mut gate, given_up), Some(StreamId(1)));
}

#[test]
fn a_question_that_was_late_and_then_refused_is_no_doubt() {
    let mut gate = mk_proven(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    // A connect time-out that is longer than `confirm.timeout`.
    gate.confirmed(Duration::from_secs(4), call.token, Outcome::Refused);
    let given_up = Duration::from_secs(7);
    gate.handle_timeout(given_up);
    assert_eq!(gate.poll_command(given_up), None, "nobody took the connection");
}

#[test]
fn of_a_belief_the_others_hear_once_somebody_was_answered() {
    let mut gate = mk_proven(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, Outcome::Cut);
    let given_up = Duration::from_secs(5);
    gate.handle_timeout(given_up);
    assert_eq!(release(&mut gate, given_up), Some(StreamId(1)));
    assert_eq!(
        gate.row(given_up).entries[0].proven,
        None,
        "what they ask may be answered as badly"
    );
    gate.answered(StreamId(1));
    assert!(gate.row_is_urgent(), "must be told at once");
    assert_eq!(gate.row(given_up).entries[0].proven, Some(1));
}

#[test]
fn who_is_held_in_vain_is_told_why() {
    let mut gate = mk_proven(None);
    hold(&mut gate, Time::ZERO, 1, "web");
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    gate.confirmed(Duration::from_secs(1), call.token, Outcome::Refused);
    let deadline = Duration::from_secs(60);
    gate.handle_timeout(deadline);
    let Some(crate::GateCommand::Refuse(_, reply)) = gate.poll_command(deadline) else {
        panic!("must be refused")
    };
    assert_eq!(reply.status, 504);
    let body = String::from_utf8(reply.body).unwrap();
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
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    assert_eq!((call.authority, call.path), (b"inner.test".to_vec(), None));
}

fn release(gate: &mut Gate, now: Time) -> Option<StreamId> {
    let crate::GateCommand::Release(stream) = gate.poll_command(now)? else {
        panic!("must be released")
    };
    match gate.let_go(now, stream, b"a")? {
        crate::GateCommand::Resume(stream) => Some(stream),
        other => panic!("must be released, not {other:?}"),
    }
}

#[test]
fn a_late_answer_to_an_older_window_makes_no_room() {
    let mut gate = mk_ready();
    for stream in 1..=4 {
        hold(&mut gate, Time::ZERO, stream, "web");
    }
    let call = gate.poll_confirm(Time::ZERO).expect("must ask");
    gate.confirmed(Time::ZERO, call.token, YES);
    let resumed = |gate: &mut Gate, now| std::iter::from_fn(|| release(gate, now)).count();
    assert_eq!(
        resumed(&mut gate, Time::ZERO),
        1,
        "a gate that is not named may have one"
    );
    let second = Duration::from_secs(1);
    gate.handle_timeout(second);
    assert_eq!(resumed(&mut gate, second), 1, "nobody has answered for a second");
    gate.answered(StreamId(1));
    assert_eq!(resumed(&mut gate, second), 0, "the second is unanswered still");
    gate.answered(StreamId(2));
    assert_eq!(resumed(&mut gate, second), 1, "must move on");
}

const YES: Outcome = Outcome::Answered {
    status: 200,
    grpc_status: None,
};

/// A gate with one target that is ready and may be asked, and was not.
fn mk_ready() -> Gate {
    mk(None, Some(1))
}

/// The same, with this gate to ask first, and a yes in this epoch.
fn mk(prober: Option<GateId>, proven: Option<u64>) -> Gate {
    mk_of(prober, proven, |_| {})
}

/// This gate asks first, and another one has had its yes in this epoch.
fn mk_proven(proven: Option<u64>) -> Gate {
    mk(Some(GateId(1)), proven)
}

fn mk_of(prober: Option<GateId>, proven: Option<u64>, change: impl FnOnce(&mut protocol::Target)) -> Gate {
    let config = mk_config(r#","answers":{"detail":"full"}"#);
    let mut gate = Gate::new(config, ME, Time::ZERO);
    let mut target = mk_target("web");
    target.state = State::Ready;
    target.epoch = 1;
    change(&mut target);
    let record = SlotRecord {
        prober,
        proven,
        ..mk_record(target)
    };
    publish(&mut gate, 0, record);
    gate
}

fn passes(gate: &mut Gate) -> bool {
    let ix = find(gate, "web");
    matches!(gate.pass(ix, b"web"), Warm::Pass(_))
}
