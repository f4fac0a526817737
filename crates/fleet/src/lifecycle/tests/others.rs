//! Replicas that others set, suspension, and removal.

use super::super::*;
use super::*;

#[test]
fn others_who_set_zero_are_followed_without_a_stop() {
    let zero = || Event::Observed(seen(0, 0, 0, 1));
    for life in [
        mk_ready(),
        mk_draining(),
        mk_life(Phase::Waking { start_at: None }),
    ] {
        let step = check_life(
            &life,
            zero(),
            &mk_facts(100),
            "stopping",
            Some(Reason::SetByOthers),
        );
        assert_eq!(step.effects, [], "must stop nothing itself");
    }
    let gone = Event::Observed(seen(0, 0, 0, 0));
    check(
        Phase::Waking { start_at: None },
        gone,
        mk_facts(100),
        "asleep",
        Some(Reason::SetByOthers),
    );
}

#[test]
fn suspension_leaves_it_alone_and_its_end_takes_it_as_it_is() {
    let suspended = Facts {
        suspend: true,
        ..mk_facts(100)
    };
    for phase in [
        Phase::Asleep,
        Phase::Ready,
        Phase::Draining {
            asked: false,
            from: 1,
        },
        Phase::Waking { start_at: None },
    ] {
        let step = check(
            phase,
            Event::Tick,
            suspended.clone(),
            "suspended",
            Some(Reason::Suspend),
        );
        assert_eq!(step.effects, [], "must leave the workload alone");
    }
    check(
        Phase::Stopping,
        Event::Tick,
        Facts {
            suspend: true,
            ..mk_facts(100)
        },
        "asleep",
        Some(Reason::Gone),
    );
    for (seen, to) in [
        (seen(0, 1, 1, 1), "ready"),
        (seen(0, 1, 0, 1), "waking"),
        (seen(0, 0, 0, 0), "asleep"),
    ] {
        let life = Lifecycle {
            seen,
            ..mk_life(Phase::Suspended)
        };
        check_life(&life, Event::Tick, &mk_facts(100), to, Some(Reason::Suspend));
    }
}

#[test]
fn what_is_removed_while_asleep_is_woken_and_then_dropped() {
    let retired = check(
        Phase::Asleep,
        Event::Retire,
        mk_facts(100),
        "waking",
        Some(Reason::Retired),
    );
    assert_eq!(
        retired.effects,
        [Effect::Start {
            command: 1,
            cause: Cause::Retired
        }],
        "must be woken"
    );
    let up = check_life(
        &retired.life,
        Event::Observed(seen(1, 1, 1, 1)),
        &mk_facts(101),
        "ready",
        Some(Reason::Endpoints),
    );
    assert_eq!(
        step(&up.life, Event::Tick, &mk_facts(101)).effects,
        [Effect::Drop],
        "must be dropped once up"
    );
}

#[test]
fn what_comes_back_is_no_longer_dropped() {
    let life = Lifecycle {
        retiring: true,
        ..mk_ready()
    };
    assert_eq!(
        step(&life, Event::Restore, &mk_facts(60)).effects,
        [],
        "must be kept"
    );
}

#[test]
fn what_is_removed_together_with_its_workload_is_dropped() {
    let gone = Observed {
        absent: true,
        failure: Some(Failure::new(FailureClass::NotFound, "there is none")),
        ..seen(0, 0, 0, 0)
    };
    let asleep = Lifecycle {
        seen: gone,
        ..mk_life(Phase::Asleep)
    };
    let dropped = check_life(&asleep, Event::Retire, &mk_facts(100), "asleep", None);
    assert_eq!(dropped.effects, [Effect::Drop], "must not be kept for ever");

    let waking = Lifecycle {
        retiring: true,
        ..mk_life(Phase::Waking { start_at: None })
    };
    let observed = Event::Observed(asleep.seen);
    let failed = check_life(
        &waking,
        observed,
        &mk_facts(100),
        "failed",
        Some(Reason::CannotStart),
    );
    assert_eq!(
        step(&failed.life, Event::Tick, &mk_facts(100)).effects,
        [Effect::Drop],
        "must not be tried for ever"
    );
}

#[test]
fn what_is_up_without_its_workload_stays_up() {
    let up = Observed {
        absent: true,
        failure: Some(Failure::new(FailureClass::NotFound, "there is none")),
        ..seen(0, 0, 1, 1)
    };
    let found = Lifecycle::found(up.clone(), &mk_facts(50));
    assert_eq!(found.phase, Phase::Ready, "must be ready from the first");
    let idle = mk_facts(1000);
    check_life(&found, Event::Tick, &idle, "ready", None);
    assert_eq!(
        may_sleep(&found, &idle),
        Err(Refusal::Absent),
        "must not be put to sleep by a person either"
    );
    let observed = Event::Observed(up);
    check_life(&mk_ready(), observed.clone(), &mk_facts(60), "ready", None);
    check_life(
        &mk_draining(),
        observed,
        &mk_facts(101),
        "ready",
        Some(Reason::SetByOthers),
    );
    let gone = Observed {
        ready: 0,
        left: 0,
        ..found.seen.clone()
    };
    check_life(
        &found,
        Event::Observed(gone),
        &mk_facts(60),
        "waking",
        Some(Reason::Lost),
    );
}

#[test]
fn a_workload_that_appears_at_zero_undoes_nothing() {
    let missing = Observed {
        absent: true,
        failure: Some(Failure::new(FailureClass::NotFound, "there is none")),
        ..seen(1, 0, 0, 0)
    };
    let wanted = Facts {
        held: 1,
        ..mk_facts(100)
    };
    let woken = check(
        Phase::Asleep,
        Event::Tick,
        wanted.clone(),
        "waking",
        Some(Reason::Demand),
    );
    let failed = check_life(
        &woken.life,
        Event::Observed(missing),
        &wanted,
        "failed",
        Some(Reason::CannotStart),
    );
    let there = step(&failed.life, Event::Observed(seen(1, 0, 0, 0)), &wanted);
    assert_eq!(there.life.undone, None, "no manager must be blamed");
}

#[test]
fn what_ends_well_and_is_not_used_sleeps_and_is_woken_by_the_next_request() {
    let finished = Observed {
        finished: true,
        ..seen(1, 0, 0, 0)
    };
    let up = Lifecycle {
        command: 1,
        up_since: Some(at(50)),
        ..mk_life(Phase::Ready)
    };
    let resting = Facts {
        last_use: Some(at(60)),
        last_arrival: Some(at(60)),
        ..mk_facts(100)
    };
    let ended = check_life(
        &up,
        Event::Observed(finished.clone()),
        &resting,
        "stopping",
        Some(Reason::Finished),
    );
    assert_eq!(ended.effects, [], "must not be told to stop what has ended");
    let asleep = check_life(&ended.life, Event::Tick, &resting, "asleep", Some(Reason::Gone));
    assert_eq!(asleep.life.undone, None, "must not be called undone by others");
    check_life(&asleep.life, Event::Tick, &resting, "asleep", None);
    let wanted = Facts {
        held: 1,
        ..mk_facts(101)
    };
    let woken = check_life(&asleep.life, Event::Tick, &wanted, "waking", Some(Reason::Demand));
    let start = Effect::Start {
        command: 2,
        cause: Cause::Demand,
    };
    assert_eq!(woken.effects, [start], "must start at once");

    let draining = Lifecycle {
        phase: Phase::Draining {
            asked: false,
            from: 1,
        },
        ..up
    };
    check_life(
        &draining,
        Event::Observed(finished),
        &mk_facts(100),
        "stopping",
        Some(Reason::Finished),
    );
}

#[test]
fn what_ends_well_under_those_who_use_it_is_started_again_with_a_back_off() {
    let finished = |command| {
        Event::Observed(Observed {
            finished: true,
            ..seen(command, 0, 0, 0)
        })
    };
    let up = Lifecycle {
        command: 1,
        up_since: Some(at(50)),
        ..mk_life(Phase::Ready)
    };
    let used = |second| Facts {
        in_flight: 1,
        ..mk_facts(second)
    };
    let first = check_life(&up, finished(1), &used(100), "waking", Some(Reason::Lost));
    let start = Effect::Start {
        command: 2,
        cause: Cause::Lost,
    };
    assert_eq!(first.effects, [start], "must start at once the first time");
    let again = Lifecycle {
        phase: Phase::Ready,
        up_since: Some(at(101)),
        ..first.life
    };
    let second = check_life(&again, finished(2), &used(102), "waking", Some(Reason::Lost));
    assert_eq!(second.effects, [], "must wait the second time");
    let waiting = check_life(&second.life, Event::Tick, &used(102), "waking", None);
    let due = deadline(&waiting.life, &used(102)).expect("must come back");
    let late = Facts {
        now: due,
        ..used(102)
    };
    let third = step(&waiting.life, Event::Tick, &late);
    let start = Effect::Start {
        command: 3,
        cause: Cause::Lost,
    };
    assert_eq!(third.effects, [start], "must start after the back-off");
}
