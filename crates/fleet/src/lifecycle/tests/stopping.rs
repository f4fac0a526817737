//! From draining to asleep, and demand that comes meanwhile.

use super::super::*;
use super::*;

#[test]
fn demand_waits_while_stopping_and_then_wakes() {
    let life = Lifecycle {
        command: 4,
        seen: seen(4, 0, 0, 1),
        ..mk_life(Phase::Stopping)
    };
    let wanted = Facts {
        held: 9,
        ..mk_facts(100)
    };
    check_life(&life, Event::Tick, &wanted, "stopping", None);
    let step = check_life(
        &life,
        Event::Observed(seen(4, 0, 0, 0)),
        &wanted,
        "asleep",
        Some(Reason::Gone),
    );
    check_life(&step.life, Event::Tick, &wanted, "waking", Some(Reason::Demand));
}

#[test]
fn a_drain_ends_when_another_manager_scales_meanwhile() {
    for replicas in [2, 5] {
        let scaled = Event::Observed(seen(0, replicas, 1, replicas));
        let step = check_life(
            &mk_draining(),
            scaled,
            &mk_facts(101),
            "ready",
            Some(Reason::SetByOthers),
        );
        assert_eq!(
            (step.effects, step.life.epoch),
            (vec![], mk_draining().epoch),
            "must let theirs stand, in the same epoch"
        );
        check_life(&step.life, Event::Tick, &mk_facts(160), "ready", None);
        check_life(
            &step.life,
            Event::Tick,
            &mk_facts(161),
            "draining",
            Some(Reason::Idle),
        );
    }
}

#[test]
fn a_stop_names_the_replicas_that_the_drain_began_with() {
    let life = Lifecycle {
        seen: seen(0, 3, 3, 3),
        ..mk_ready()
    };
    let drained = step(&life, Event::Tick, &mk_facts(200)).life;
    let stopped = step(&drained, Event::Tick, &mk_facts(201));
    assert_eq!(
        stopped.effects,
        [Effect::Stop { command: 1, from: 3 }],
        "must stop three and no other number"
    );
}

#[test]
fn an_abandoned_stop_returns_to_service_at_once() {
    let life = Lifecycle {
        command: 4,
        seen: seen(3, 1, 1, 1),
        ..mk_life(Phase::Stopping)
    };
    let back = check_life(
        &life,
        Event::Observed(seen(4, 5, 1, 5)),
        &mk_facts(100),
        "ready",
        Some(Reason::Abandoned),
    );
    assert_eq!(
        (back.life.epoch, back.effects),
        (life.epoch + 1, vec![]),
        "must be confirmed anew: whose endpoints they are is not known"
    );
    check_life(
        &life,
        Event::Observed(seen(4, 5, 0, 0)),
        &mk_facts(100),
        "waking",
        Some(Reason::Abandoned),
    );
}

#[test]
fn replicas_set_after_the_stop_are_no_abandoned_drain() {
    let life = Lifecycle {
        command: 4,
        seen: seen(4, 0, 0, 1),
        ..mk_life(Phase::Stopping)
    };
    check_life(
        &life,
        Event::Observed(seen(4, 2, 0, 1)),
        &mk_facts(100),
        "waking",
        Some(Reason::SetByOthers),
    );
}

#[test]
fn stopping_ends_only_when_the_stop_was_seen_and_nothing_is_left() {
    let life = Lifecycle {
        command: 4,
        seen: seen(3, 1, 1, 1),
        ..mk_life(Phase::Stopping)
    };
    for unfinished in [seen(3, 0, 0, 0), seen(4, 0, 0, 1), seen(4, 0, 1, 1)] {
        check_life(
            &life,
            Event::Observed(unfinished),
            &mk_facts(100),
            "stopping",
            None,
        );
    }
}

#[test]
fn a_wake_asked_for_while_stopping_is_kept() {
    let life = Lifecycle {
        command: 4,
        seen: seen(4, 0, 0, 1),
        ..mk_life(Phase::Stopping)
    };
    let asked = step(&life, Event::Wake, &mk_facts(100)).life;
    let asleep = step(&asked, Event::Observed(seen(4, 0, 0, 0)), &mk_facts(101)).life;
    check_life(
        &asleep,
        Event::Tick,
        &mk_facts(101),
        "waking",
        Some(Reason::Asked),
    );
}

#[test]
fn no_request_waits_for_a_wake_that_has_not_begun_so_it_stops() {
    let life = Lifecycle {
        command: 1,
        seen: seen(0, 0, 0, 0),
        ..mk_life(Phase::Waking { start_at: None })
    };
    let held = Facts {
        held: 1,
        ..mk_facts(500)
    };
    check_life(&life, Event::Tick, &held, "waking", None);
    let step = check_life(&life, Event::Tick, &mk_facts(110), "stopping", Some(Reason::Idle));
    assert_eq!(
        step.effects,
        [Effect::Stop { command: 2, from: 0 }],
        "must stop it"
    );
    let unconfirmed = Facts {
        consent: DrainConsent::Unconfirmed,
        ..mk_facts(110)
    };
    check_life(&life, Event::Tick, &unconfirmed, "waking", None);
}

#[test]
fn no_request_comes_back_to_what_failed_so_it_stops() {
    let failed = Phase::Failed {
        class: FailureClass::Other,
        reason: "x".to_owned(),
        retry_at: at(60),
        retry_after: Duration::ZERO,
    };
    check(failed, Event::Tick, mk_facts(110), "stopping", Some(Reason::Idle));
}
