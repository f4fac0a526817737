//! Where a target begins that was found in some state.

use super::super::*;
use super::*;

#[test]
fn what_is_found_begins_where_it_is() {
    let cases = [
        (seen(0, 0, 0, 0), "asleep", 0),
        (seen(0, 0, 0, 1), "stopping", 0),
        (seen(0, 3, 0, 3), "waking", 0),
        (seen(0, 3, 3, 3), "ready", 1),
        (seen(0, 3, 1, 3), "ready", 1),
    ];
    for (seen, phase, epoch) in cases {
        let life = Lifecycle::found(seen.clone(), &mk_facts(100));
        assert_eq!(
            (life.phase.name(), life.epoch, life.since),
            (phase, epoch, at(100)),
            "{seen:?} must begin there"
        );
    }
}

#[test]
fn what_is_found_up_is_as_found_until_it_has_been_away() {
    let found = Lifecycle::found(seen(0, 1, 1, 1), &mk_facts(100));
    assert!(found.is_as_found(), "must say so");
    let asked = step(&found, Event::Sleep, &mk_facts(200)).life;
    assert_eq!(asked.phase.name(), "draining");
    assert!(asked.is_as_found(), "nothing has been stopped yet");
    let kept = step(&asked, Event::Wake, &mk_facts(201)).life;
    assert!(kept.is_as_found(), "must have been up all along");
    let lost = step(&kept, Event::Observed(seen(0, 1, 0, 1)), &mk_facts(202)).life;
    assert!(!lost.is_as_found(), "must not say it of what is not up");
    let back = step(
        &lost,
        Event::Observed(seen(lost.command, 1, 1, 1)),
        &mk_facts(203),
    )
    .life;
    assert_eq!(back.phase, Phase::Ready);
    assert!(!back.is_as_found(), "must not say it of what has been away");

    let slept = Lifecycle::found(seen(0, 0, 0, 0), &mk_facts(100));
    let woken = step(&slept, Event::Wake, &mk_facts(101)).life;
    let first = step(&woken, Event::Observed(seen(1, 1, 1, 1)), &mk_facts(102)).life;
    assert_eq!(
        (first.epoch, first.is_as_found()),
        (1, false),
        "must tell the first epoch from what was found"
    );
}

#[test]
fn what_is_found_failed_begins_failed_with_the_first_wait() {
    let broken = |ready| Observed {
        failure: Some(Failure::new(FailureClass::Image, "no image")),
        ..seen(0, 2, ready, 2)
    };
    let expected = Phase::Failed {
        class: FailureClass::Image,
        reason: "no image".to_owned(),
        retry_at: at(101),
        retry_after: Duration::from_secs(1),
    };
    let life = Lifecycle::found(broken(0), &mk_facts(100));
    assert_eq!(life.phase, expected, "must name the reason and the first retry");
    let life = Lifecycle::found(broken(1), &mk_facts(100));
    assert_eq!(life.phase, Phase::Ready, "must serve with what is ready");
}

#[test]
fn what_is_found_suspended_is_left_alone() {
    let suspended = Facts {
        suspend: true,
        ..mk_facts(100)
    };
    for seen in [seen(0, 0, 0, 0), seen(0, 0, 0, 1), seen(0, 2, 2, 2)] {
        let life = Lifecycle::found(seen, &suspended);
        assert_eq!(life.phase, Phase::Suspended, "must be suspended whatever it does");
    }
}

#[test]
fn commands_of_an_earlier_life_are_not_waited_for() {
    let life = Lifecycle::found(seen(41, 1, 1, 1), &mk_facts(100));
    assert!(life.obeyed(), "must take what is seen for the present");
}

#[test]
fn what_is_found_stays_there_and_starts_nothing() {
    for seen in [
        seen(0, 0, 0, 0),
        seen(0, 0, 0, 1),
        seen(0, 3, 0, 3),
        seen(0, 3, 3, 3),
    ] {
        let life = Lifecycle::found(seen, &mk_facts(100));
        let step = check_life(&life, Event::Tick, &mk_facts(100), life.phase.name(), None);
        assert_eq!(step.effects, [], "must do nothing by itself");
    }
}
