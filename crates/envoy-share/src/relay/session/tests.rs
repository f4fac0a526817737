//! When to sync and to report, as facts.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The moment `since_start` after the start of the VM.
const fn at(since_start: Duration) -> Time {
    Time::new(since_start)
}

/// A session that has just synced for the first time.
fn mk_session() -> Session {
    let mut session = Session::new(Time::ZERO, false, false);
    assert!(session.poll_sync(Time::ZERO).is_some());
    session.sync_succeeded(Time::ZERO, HEARTBEAT, Brought::News);
    session
}

fn mk_use(held: u32, in_flight: u32, idle_ms: Option<u64>) -> Usage {
    Usage {
        held,
        in_flight,
        idle_ms,
    }
}

fn report(session: &mut Session, now: Time, state: Option<State>, uses: &[(&str, Usage)]) -> bool {
    let targets = uses
        .iter()
        .map(|(id, usage)| (TargetId::new(*id), *usage))
        .collect();
    session
        .poll_report(now, &None, &targets, false, |_| state)
        .is_some()
}

/// When `next` is reported after `last`, which was reported at 0.
fn due_after(state: Option<State>, last: &[(&str, Usage)], next: &[(&str, Usage)]) -> Time {
    let times = [Time::ZERO, at(SECOND), at(HEARTBEAT)];
    let due = times.into_iter().find(|due| {
        let mut session = mk_session();
        assert!(
            report(&mut session, Time::ZERO, state, last),
            "the first goes at once"
        );
        session.report_answered(Time::ZERO, true);
        let just_before = due.before(MS);
        let early = *due > Time::ZERO && report(&mut session, just_before, state, next);
        assert!(!early, "must not go {just_before:?} after {last:?}: {next:?}");
        report(&mut session, *due, state, next)
    });
    due.expect("must be reported with the heartbeat")
}

#[test]
fn demand_on_what_is_not_ready_goes_at_once() {
    let held = |n| [("a", mk_use(n, 0, None))];
    let flying = |n| [("a", mk_use(0, n, None))];
    let arrived = |idle| [("a", mk_use(0, 0, Some(idle)))];
    for state in [State::Asleep, State::Waking, State::Failed, State::Unknown] {
        let state = Some(state);
        assert_eq!(due_after(state, &[], &held(1)), Time::ZERO, "{state:?}");
        assert_eq!(due_after(state, &held(1), &held(2)), at(SECOND), "{state:?}");
        assert_eq!(due_after(state, &[], &flying(1)), at(SECOND), "{state:?}");
        assert_eq!(due_after(state, &[], &arrived(999)), Time::ZERO, "{state:?}");
        assert_eq!(due_after(state, &[], &arrived(1_000)), at(SECOND), "{state:?}");
        assert_eq!(
            due_after(state, &arrived(1_000), &arrived(0)),
            Time::ZERO,
            "{state:?}"
        );
    }
    let draining = Some(State::Draining);
    assert_eq!(due_after(draining, &[], &held(1)), Time::ZERO);
    assert_eq!(due_after(draining, &held(1), &held(2)), at(SECOND));
    assert_eq!(due_after(draining, &[], &flying(1)), Time::ZERO);
    assert_eq!(due_after(draining, &flying(1), &flying(2)), at(SECOND));
    assert_eq!(due_after(draining, &[], &arrived(0)), at(SECOND));
    for state in [None, Some(State::Ready), Some(State::Suspended)] {
        assert_eq!(due_after(state, &[], &held(1)), at(SECOND), "{state:?}");
        assert_eq!(due_after(state, &[], &arrived(0)), at(SECOND), "{state:?}");
    }
}

/// The last arrival ages while nothing is reported.
#[test]
fn a_refused_arrival_a_second_after_the_last_goes_at_once() {
    let arrived = |idle| [("a", mk_use(0, 0, Some(idle)))];
    for (ms, is_due) in [(499, false), (500, true)] {
        let mut session = mk_session();
        let state = Some(State::Failed);
        assert!(report(&mut session, Time::ZERO, state, &arrived(500)));
        session.report_answered(Time::ZERO, true);
        assert_eq!(
            report(&mut session, at(MS * ms), state, &arrived(0)),
            is_due,
            "{ms}"
        );
    }
}

#[test]
fn what_has_changed_goes_after_a_second_and_what_has_not_with_the_heartbeat() {
    let ready = Some(State::Ready);
    let mk = |held, in_flight, idle| ("a", mk_use(held, in_flight, idle));
    for (last, next) in [
        (mk(1, 0, None), mk(2, 0, None)),
        (mk(0, 1, None), mk(0, 2, None)),
        (mk(1, 0, None), mk(1, 0, Some(5))),
        (mk(1, 0, Some(6)), mk(1, 0, Some(5))),
    ] {
        assert_eq!(
            due_after(ready, &[last], &[next]),
            at(SECOND),
            "{last:?}, {next:?}"
        );
    }
    for (last, next) in [
        (mk(1, 0, None), mk(1, 0, None)),
        (mk(0, 1, None), mk(0, 1, None)),
        (mk(1, 1, Some(5)), mk(1, 1, Some(5))),
        (mk(0, 0, Some(5)), mk(0, 0, Some(6))),
        (mk(0, 0, Some(5)), mk(0, 0, None)),
    ] {
        assert_eq!(
            due_after(ready, &[last], &[next]),
            at(HEARTBEAT),
            "{last:?}, {next:?}"
        );
    }
    let other = |held, in_flight, idle| ("b", mk_use(held, in_flight, idle));
    for (gone, due) in [
        (other(1, 0, None), SECOND),
        (other(0, 1, None), SECOND),
        (other(0, 0, Some(5)), HEARTBEAT),
    ] {
        assert_eq!(
            due_after(ready, &[mk(1, 0, None), gone], &[mk(1, 0, None)]),
            at(due),
            "without {gone:?}"
        );
    }
    assert_eq!(
        due_after(ready, &[mk(1, 0, None)], &[other(1, 0, None)]),
        at(SECOND),
        "another is in use"
    );
}

#[test]
fn a_report_that_failed_is_repeated_after_a_pause_whatever_it_says() {
    let mut session = mk_session();
    assert!(report(&mut session, Time::ZERO, None, &[]));
    let mut now = Time::ZERO;
    for gap in [100, 200, 400, 800, 1_000, 1_000] {
        session.report_answered(now, false);
        let next = now + MS * gap;
        let demand = [("a", mk_use(1, 0, None))];
        assert!(
            !report(&mut session, next.before(MS), Some(State::Asleep), &demand),
            "must pause for {gap} ms"
        );
        assert!(report(&mut session, next, None, &[]), "after {gap} ms");
        now = next;
    }
    session.report_answered(now, true);
    assert!(
        !report(&mut session, now + (HEARTBEAT - MS), None, &[]),
        "must be quiet again"
    );
}

#[test]
fn a_poll_is_given_up_a_heartbeat_after_it_was_sent_and_once_for_each_leader() {
    let mut session = mk_session();
    assert!(!session.give_up_sync(at(HEARTBEAT), "b"), "there is none");
    assert!(session.poll_sync(at(SECOND)).is_some());
    let old = SECOND + HEARTBEAT;
    assert!(
        !session.give_up_sync(at(old - MS), "b"),
        "the answer may be on its way"
    );
    assert!(session.give_up_sync(at(old), "b"));
    assert!(session.poll_sync(at(old)).is_some(), "must ask anew at once");
    assert!(
        !session.give_up_sync(at(old + HEARTBEAT), "b"),
        "a snapshot may take longer"
    );
    assert!(session.give_up_sync(at(old + HEARTBEAT), "c"), "leads now");
}

#[test]
fn each_kind_of_failure_is_told_once() {
    let mut session = mk_session();
    for (failure, is_told) in [
        (SyncFailure::Unreachable, true),
        (SyncFailure::Unreachable, false),
        (SyncFailure::Status(401), true),
        (SyncFailure::Status(500), true),
        (SyncFailure::Status(500), false),
        (SyncFailure::Garbled("x".to_owned()), true),
    ] {
        let told = session.sync_failed(Time::ZERO, failure.clone());
        assert_eq!(told.is_some(), is_told, "{failure:?}");
    }
    session.sync_succeeded(Time::ZERO, HEARTBEAT, Brought::News);
    assert!(
        session
            .sync_failed(Time::ZERO, SyncFailure::Garbled("x".to_owned()))
            .is_some(),
        "it is another time"
    );
}

#[test]
fn an_answer_without_news_that_was_waited_for_a_second_is_asked_for_again_at_once() {
    for (waited, pause) in [(SECOND - MS, MS * 100), (SECOND, Duration::ZERO)] {
        let mut session = mk_session();
        assert!(session.poll_sync(at(SECOND)).is_some());
        let now = SECOND + waited;
        session.sync_succeeded(at(now), HEARTBEAT, Brought::Nothing);
        assert_eq!(session.poll_timeout(), Some(at(now + pause)), "after {waited:?}");
    }
}

#[test]
fn the_control_plane_is_lost_after_three_heartbeats() {
    let session = mk_session();
    assert!(!session.is_lost(at(HEARTBEAT * 3 - MS)));
    assert!(session.is_lost(at(HEARTBEAT * 3)));
    assert_eq!(session.sync_age_ms(at(SECOND * 7)), 7_000);
}

#[test]
fn what_is_due_next_is_the_sync_or_the_report() {
    let mut session = Session::new(at(SECOND), false, false);
    assert_eq!(session.poll_timeout(), Some(at(SECOND)), "must sync");
    assert!(session.poll_sync(at(SECOND)).is_some());
    assert_eq!(session.poll_timeout(), None, "must wait for the answer");
    session.sync_succeeded(at(SECOND * 2), HEARTBEAT, Brought::News);
    assert!(session.poll_sync(at(SECOND * 2)).is_some());
    assert!(report(&mut session, at(SECOND * 2), None, &[]));
    assert_eq!(session.poll_timeout(), None, "must wait for both answers");
    session.report_answered(at(SECOND * 2), true);
    assert_eq!(
        session.poll_timeout(),
        Some(at(SECOND * 2 + HEARTBEAT)),
        "must report as a heartbeat"
    );
    assert!(report(&mut session, at(SECOND * 12), None, &[]));
    session.report_answered(at(SECOND * 12), false);
    assert_eq!(
        session.poll_timeout(),
        Some(at(SECOND * 12 + MS * 100)),
        "must try again"
    );
}
