//! From asleep to ready or failed.

use super::super::*;
use super::*;

#[test]
fn demand_wakes_what_is_asleep() {
    let step = check(
        Phase::Asleep,
        Event::Tick,
        Facts {
            held: 1,
            ..mk_facts(100)
        },
        "waking",
        Some(Reason::Demand),
    );
    assert_eq!(
        step.effects,
        [Effect::Start {
            command: 1,
            cause: Cause::Demand
        }],
        "must start it"
    );
}

#[test]
fn a_refused_arrival_is_demand_but_an_old_one_is_not() {
    let arrived = |second| Facts {
        last_arrival: Some(at(second)),
        ..mk_facts(100)
    };
    check(
        Phase::Asleep,
        Event::Tick,
        arrived(51),
        "waking",
        Some(Reason::Demand),
    );
    check(Phase::Asleep, Event::Tick, arrived(50), "asleep", None);
}

#[test]
fn replicas_set_by_others_wake_without_a_start() {
    let life = Lifecycle {
        seen: seen(0, 2, 0, 2),
        ..mk_life(Phase::Asleep)
    };
    let step = check_life(
        &life,
        Event::Tick,
        &mk_facts(100),
        "waking",
        Some(Reason::SetByOthers),
    );
    assert_eq!(
        step.effects,
        [],
        "must leave alone what another manager has scaled"
    );
}

#[test]
fn ready_endpoints_end_a_wake_and_raise_the_epoch() {
    let life = mk_life(Phase::Waking { start_at: None });
    let step = check_life(
        &life,
        Event::Observed(seen(0, 1, 1, 1)),
        &mk_facts(100),
        "ready",
        Some(Reason::Endpoints),
    );
    assert_eq!(step.life.epoch, life.epoch + 1, "must be a new epoch");
}

#[test]
fn what_was_seen_before_the_last_command_is_ignored() {
    let life = Lifecycle {
        command: 3,
        ..mk_life(Phase::Waking { start_at: None })
    };
    for old in [seen(2, 0, 0, 0), seen(2, 1, 1, 1)] {
        let step = check_life(&life, Event::Observed(old), &mk_facts(100), "waking", None);
        assert_eq!(step.life, life, "must change nothing");
    }
}

#[test]
fn a_failure_while_waking_is_told_with_its_reason() {
    let life = mk_life(Phase::Waking { start_at: None });
    let failure = Observed {
        failure: Some(Failure::new(FailureClass::Crash, "exited with status 3")),
        ..seen(0, 1, 0, 0)
    };
    let step = check_life(
        &life,
        Event::Observed(failure),
        &mk_facts(100),
        "failed",
        Some(Reason::CannotStart),
    );
    let expected = Phase::Failed {
        class: FailureClass::Crash,
        reason: "exited with status 3".to_owned(),
        retry_at: at(101),
        retry_after: Duration::from_secs(1),
    };
    assert_eq!(
        step.life.phase, expected,
        "must name the reason and the first retry"
    );
}

#[test]
fn failed_is_retried_only_when_due_and_a_request_came() {
    let failed = || Phase::Failed {
        class: FailureClass::Other,
        reason: "x".to_owned(),
        retry_at: at(90),
        retry_after: Duration::ZERO,
    };
    let came = |now, second| Facts {
        last_arrival: Some(at(second)),
        ..mk_facts(now)
    };
    check(failed(), Event::Tick, came(89, 60), "failed", None);
    check(failed(), Event::Tick, came(90, 40), "failed", None);
    check(failed(), Event::Tick, came(90, 60), "waking", Some(Reason::Retry));
    check(failed(), Event::Wake, mk_facts(60), "waking", Some(Reason::Asked));
}

#[test]
fn each_failure_waits_longer() {
    let mut life = mk_life(Phase::Waking { start_at: None });
    let mut waits = Vec::new();
    for _ in 0..3 {
        let failure = Observed {
            failure: Some(Failure::new(FailureClass::Other, "x")),
            ..seen(life.command, 1, 0, 0)
        };
        life = step(&life, Event::Observed(failure), &mk_facts(100)).life;
        let Phase::Failed { retry_after, .. } = life.phase else {
            panic!("must have failed")
        };
        waits.push(retry_after.as_secs());
        life = step(&life, Event::Wake, &mk_facts(100)).life;
    }
    assert_eq!(waits, [1, 2, 4], "must double");
}

#[test]
fn endpoints_of_a_failed_target_make_it_ready() {
    let failed = Phase::Failed {
        class: FailureClass::Other,
        reason: "x".to_owned(),
        retry_at: at(90),
        retry_after: Duration::ZERO,
    };
    check(
        failed,
        Event::Observed(seen(0, 1, 1, 1)),
        mk_facts(60),
        "ready",
        Some(Reason::Endpoints),
    );
}

#[test]
fn a_drain_of_what_has_died_turns_back_to_waking() {
    let life = Lifecycle {
        seen: seen(0, 1, 0, 0),
        ..mk_draining()
    };
    let step = check_life(
        &life,
        Event::Tick,
        &Facts {
            held: 1,
            ..mk_facts(101)
        },
        "waking",
        Some(Reason::Lost),
    );
    assert_eq!(
        step.effects,
        [Effect::Start {
            command: 1,
            cause: Cause::Lost
        }],
        "must start it again"
    );
}

#[test]
fn what_dies_while_ready_is_waited_for_and_started_again() {
    let died = Observed {
        failure: Some(Failure::new(FailureClass::Crash, "killed")),
        ..seen(0, 1, 0, 0)
    };
    let first = check_life(
        &mk_ready(),
        Event::Observed(died),
        &mk_facts(70),
        "waking",
        Some(Reason::Lost),
    );
    assert_eq!(
        first.effects,
        [Effect::Start {
            command: 1,
            cause: Cause::Lost
        }],
        "must start at once"
    );
    let after = check_life(&first.life, Event::Tick, &mk_facts(70), "waking", None);
    assert_eq!(
        after.life.seen.failure, None,
        "must not take the death for a failed start"
    );
}

#[test]
fn what_dies_again_and_again_is_started_later_and_later() {
    let life = Lifecycle {
        attempts: 1,
        up_since: Some(at(98)),
        ..mk_ready()
    };
    let lost = check_life(
        &life,
        Event::Observed(seen(0, 1, 0, 0)),
        &mk_facts(100),
        "waking",
        Some(Reason::Lost),
    );
    assert_eq!(lost.effects, [], "must not start at once");
    assert_eq!(
        deadline(&lost.life, &mk_facts(100)),
        Some(at(101)),
        "must start after the first wait"
    );
    let due = step(&lost.life, Event::Tick, &mk_facts(101));
    assert_eq!(
        due.effects,
        [Effect::Start {
            command: 1,
            cause: Cause::Lost
        }],
        "must start when due"
    );
    let stood = Lifecycle {
        attempts: 5,
        up_since: Some(at(90)),
        ..mk_ready()
    };
    let step = step(&stood, Event::Observed(seen(0, 1, 0, 0)), &mk_facts(100));
    assert_eq!(step.life.attempts, 1, "must forgive what stood for long enough");
}

#[test]
fn a_start_that_has_begun_is_not_cancelled_by_idleness() {
    let starting = Lifecycle {
        command: 1,
        seen: seen(1, 1, 0, 1),
        ..mk_life(Phase::Waking { start_at: None })
    };
    check_life(&starting, Event::Tick, &mk_facts(649), "waking", None);
    assert_eq!(
        deadline(&starting, &mk_facts(200)),
        Some(at(650)),
        "must wait for ready or for the limit"
    );
    let up = Event::Observed(seen(1, 1, 1, 1));
    let ready = check_life(&starting, up, &mk_facts(600), "ready", Some(Reason::Endpoints));
    assert_eq!(
        deadline(&ready.life, &mk_facts(600)),
        Some(at(660)),
        "must count the time without use from ready"
    );
}

#[test]
fn a_start_that_has_not_begun_is_cancelled_once_no_request_waits() {
    let started = |seen| Lifecycle {
        command: 1,
        seen,
        ..mk_life(Phase::Waking { start_at: None })
    };
    let backing_off = Lifecycle {
        phase: Phase::Waking {
            start_at: Some(at(500)),
        },
        ..started(seen(1, 1, 0, 0))
    };
    for life in [started(seen(0, 0, 0, 0)), backing_off] {
        check_life(&life, Event::Tick, &mk_facts(109), life.phase.name(), None);
        let step = check_life(&life, Event::Tick, &mk_facts(110), "stopping", Some(Reason::Idle));
        assert_eq!(step.life.command, 2, "must take the start back");
    }
}

#[test]
fn a_start_that_takes_too_long_fails_once_no_request_waits_and_then_sleeps() {
    let starting = mk_life(Phase::Waking { start_at: None });
    let held = Facts {
        held: 1,
        ..mk_facts(700)
    };
    check_life(&starting, Event::Tick, &held, "waking", None);
    let failed = check_life(
        &starting,
        Event::Tick,
        &mk_facts(700),
        "failed",
        Some(Reason::CannotStart),
    );
    let Phase::Failed { class, .. } = failed.life.phase else {
        panic!("must have failed")
    };
    assert_eq!(class, FailureClass::StartTimeout, "must say why");
    check_life(
        &failed.life,
        Event::Tick,
        &mk_facts(760),
        "stopping",
        Some(Reason::Idle),
    );

    let mut unlimited = mk_facts(1_000_000);
    unlimited.policy.start_limit = None;
    check_life(&starting, Event::Tick, &unlimited, "waking", None);
    assert_eq!(
        deadline(&starting, &unlimited),
        None,
        "must leave it to the backend"
    );
}
