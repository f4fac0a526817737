//! Starts that others undo are held back, longer each time.

use super::super::*;
use super::*;

#[test]
fn set_to_zero_by_hand_once_it_sleeps_and_a_request_wakes_it() {
    let woken = wake(&mk_life(Phase::Asleep), 100);
    let asleep = undo(&woken, 110, Some("kubectl"));
    assert_eq!(asleep.phase, Phase::Asleep, "must follow");
    check_life(&asleep, Event::Tick, &mk_facts(111), "asleep", None);
    let step = check_life(&asleep, Event::Tick, &wanted(111), "waking", Some(Reason::Demand));
    assert_eq!(step.effects.len(), 1, "must be started at once");
}

#[test]
fn undone_twice_the_next_start_waits_and_doubles() {
    let mut life = mk_life(Phase::Asleep);
    let mut now = 100;
    let mut waits = Vec::new();
    for _ in 0..6 {
        life = undo(&wake(&life, now), now, Some("keda"));
        let due = deadline(&life, &wanted(now)).map_or(now, |at| at.as_duration().as_secs());
        waits.push(due - now);
        now = due;
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16], "must wait longer each time");
}

#[test]
fn while_it_is_held_back_nothing_starts_it_but_a_person() {
    let life = contended(100);
    check_life(&life, Event::Tick, &wanted(100), "asleep", None);
    check_life(&life, Event::Wake, &mk_facts(100), "waking", Some(Reason::Asked));
    check_life(&life, Event::Tick, &wanted(101), "waking", Some(Reason::Demand));
    assert_eq!(
        deadline(&life, &mk_facts(100)),
        None,
        "must not be stepped without a request"
    );
}

#[test]
fn it_names_who_insists_even_if_that_is_unknown_the_next_time() {
    let known = undo(&wake(&mk_life(Phase::Asleep), 100), 100, Some("keda"));
    let twice = undo(&wake(&known, 100), 100, None);
    let undone = twice.undone.unwrap();
    assert!(undone.is_contended(), "must be contended from the second on");
    assert_eq!(undone.by.as_deref(), Some("keda"), "must remember the name");
}

#[test]
fn zero_set_later_than_a_minute_after_the_start_undoes_nothing() {
    for (at, undone) in [(159, true), (160, false)] {
        let life = undo(&wake(&mk_life(Phase::Asleep), 100), at, None);
        assert_eq!(life.undone.is_some(), undone, "must be judged so at second {at}");
    }
}

#[test]
fn two_that_are_more_than_a_minute_apart_are_not_in_a_row() {
    for (second, contended) in [(170, true), (171, false)] {
        let first = undo(&wake(&mk_life(Phase::Asleep), 100), 110, None);
        let life = undo(&wake(&first, 165), second, None);
        assert_eq!(
            life.undone.unwrap().is_contended(),
            contended,
            "must be judged so at second {second}"
        );
    }
}

#[test]
fn a_wake_that_lasts_a_minute_ends_it() {
    let up = step(
        &wake(&contended(100), 101),
        Event::Observed(seen(3, 1, 1, 1)),
        &wanted(102),
    )
    .life;
    assert_eq!(
        deadline(&up, &wanted(102)),
        Some(at(161)),
        "must be looked at when the minute is over"
    );
    assert!(
        step(&up, Event::Tick, &wanted(160)).life.undone.is_some(),
        "must not be forgotten before"
    );
    assert_eq!(
        step(&up, Event::Tick, &wanted(161)).life.undone,
        None,
        "must be forgotten then"
    );
}

#[test]
fn zero_set_during_a_drain_undoes_nothing() {
    let draining = Lifecycle {
        started: Some(at(90)),
        ..mk_draining()
    };
    let zero = Event::Observed(seen(0, 0, 0, 1));
    let step = check_life(
        &draining,
        zero,
        &mk_facts(101),
        "stopping",
        Some(Reason::SetByOthers),
    );
    assert_eq!(step.life.undone, None, "must be taken for agreement");
}

#[test]
fn what_others_have_raised_and_lowered_undoes_nothing() {
    let raised = step(
        &mk_life(Phase::Asleep),
        Event::Observed(seen(0, 2, 0, 2)),
        &mk_facts(100),
    )
    .life;
    assert_eq!(
        undo(&raised, 101, None).undone,
        None,
        "must concern our own wakes alone"
    );
}

#[test]
fn a_failed_workload_that_is_set_to_zero_sleeps() {
    let failed = Phase::Failed {
        class: FailureClass::Other,
        reason: "x".to_owned(),
        retry_at: at(90),
        retry_after: Duration::ZERO,
    };
    let zero = || Event::Observed(seen(0, 0, 0, 0));
    check(
        failed.clone(),
        zero(),
        mk_facts(60),
        "asleep",
        Some(Reason::SetByOthers),
    );
    let missing = Event::Observed(Observed {
        failure: Some(Failure::new(
            FailureClass::NotFound,
            "there is no such Deployment",
        )),
        ..seen(0, 0, 0, 0)
    });
    check(failed, missing, mk_facts(60), "failed", None);
}

fn wanted(now: u64) -> Facts {
    Facts {
        held: 1,
        ..mk_facts(now)
    }
}

fn wake(life: &Lifecycle, now: u64) -> Lifecycle {
    let step = check_life(life, Event::Tick, &wanted(now), "waking", Some(Reason::Demand));
    assert_eq!(step.effects.len(), 1, "must be started");
    step.life
}

/// Its start is seen to be carried out, and then zero.
fn undo(life: &Lifecycle, now: u64, by: Option<&str>) -> Lifecycle {
    let zero = Observed {
        set_by: by.map(str::to_owned),
        ..seen(life.command, 0, 0, 0)
    };
    step(life, Event::Observed(zero), &wanted(now)).life
}

/// Undone for the second time at `now`: the next start waits a second.
fn contended(now: u64) -> Lifecycle {
    let once = undo(&wake(&mk_life(Phase::Asleep), now), now, Some("keda"));
    undo(&wake(&once, now), now, Some("keda"))
}
