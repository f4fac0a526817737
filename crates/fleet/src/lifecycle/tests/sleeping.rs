//! From ready to draining, and what turns a drain back.

use super::super::*;
use super::*;

#[test]
fn idle_begins_a_drain_and_stops_nothing() {
    let step = check_life(
        &mk_ready(),
        Event::Tick,
        &mk_facts(200),
        "draining",
        Some(Reason::Idle),
    );
    assert_eq!(step.effects, [], "must wait for the proxies");
}

#[test]
fn idle_counts_from_the_later_of_last_use_and_ready() {
    let used = |now, second| Facts {
        last_use: Some(at(second)),
        ..mk_facts(now)
    };
    check_life(&mk_ready(), Event::Tick, &used(109, 10), "ready", None);
    check_life(
        &mk_ready(),
        Event::Tick,
        &used(110, 10),
        "draining",
        Some(Reason::Idle),
    );
    check_life(&mk_ready(), Event::Tick, &used(119, 60), "ready", None);
    check_life(
        &mk_ready(),
        Event::Tick,
        &used(120, 60),
        "draining",
        Some(Reason::Idle),
    );
}

#[test]
fn no_drain_begins_while_anything_speaks_against_it() {
    let idle = || mk_facts(500);
    let against = [
        ("a held request", Facts { held: 1, ..idle() }),
        (
            "a request in flight",
            Facts {
                in_flight: 1,
                ..idle()
            },
        ),
        (
            "no live proxy",
            Facts {
                consent: DrainConsent::NoProxy,
                ..idle()
            },
        ),
        (
            "a silent proxy",
            Facts {
                consent: DrainConsent::Silent,
                ..idle()
            },
        ),
        (
            "a start just now",
            Facts {
                may_drain_at: at(501),
                ..idle()
            },
        ),
        (
            "never having matched",
            Facts {
                matched: false,
                ..idle()
            },
        ),
        (
            "being left to a person",
            Facts {
                sleeps_when_idle: false,
                ..idle()
            },
        ),
    ];
    for (what, facts) in against {
        let step = step(&mk_ready(), Event::Tick, &facts);
        assert_eq!(step.moved, None, "must not drain in spite of {what}");
    }
}

#[test]
fn a_person_is_refused_for_the_same_reasons() {
    let facts = || mk_facts(500);
    let cases = [
        (
            Facts {
                held: 2,
                in_flight: 1,
                ..facts()
            },
            Err(Refusal::InUse {
                held: 2,
                in_flight: 1,
            }),
        ),
        (
            Facts {
                consent: DrainConsent::NoProxy,
                ..facts()
            },
            Err(Refusal::NoProxy),
        ),
        (
            Facts {
                consent: DrainConsent::Silent,
                ..facts()
            },
            Err(Refusal::Silent),
        ),
        (
            Facts {
                may_drain_at: at(501),
                ..facts()
            },
            Err(Refusal::TooEarly),
        ),
        (
            Facts {
                matched: false,
                ..facts()
            },
            Ok(()),
        ),
    ];
    for (facts, expected) in cases {
        assert_eq!(may_sleep(&mk_ready(), &facts), expected, "must judge {facts:?}");
        let moved = step(&mk_ready(), Event::Sleep, &facts).moved;
        assert_eq!(moved.is_some(), expected.is_ok(), "must do as it says");
    }
}

#[test]
fn a_confirmed_drain_stops_it() {
    let step = check_life(
        &mk_draining(),
        Event::Tick,
        &mk_facts(101),
        "stopping",
        Some(Reason::Confirmed),
    );
    assert_eq!(
        step.effects,
        [Effect::Stop { command: 1, from: 1 }],
        "must stop it once"
    );
    assert_eq!(
        step.life.away_since,
        at(101),
        "must know since when an arrival is demand"
    );
}

#[test]
fn a_drain_turns_back_and_keeps_the_epoch() {
    let unconfirmed = |now| Facts {
        consent: DrainConsent::Unconfirmed,
        ..mk_facts(now)
    };
    let life = mk_draining();
    let cases = [
        (
            Event::Tick,
            Facts {
                held: 1,
                ..mk_facts(101)
            },
            Reason::InUse,
        ),
        (
            Event::Tick,
            Facts {
                in_flight: 1,
                ..unconfirmed(101)
            },
            Reason::InUse,
        ),
        (
            Event::Tick,
            Facts {
                last_use: Some(at(99)),
                ..mk_facts(101)
            },
            Reason::Used,
        ),
        (Event::Tick, unconfirmed(110), Reason::Unconfirmed),
        (
            Event::Tick,
            Facts {
                consent: DrainConsent::Silent,
                ..mk_facts(110)
            },
            Reason::Unconfirmed,
        ),
        (
            Event::Tick,
            Facts {
                consent: DrainConsent::NoProxy,
                ..mk_facts(110)
            },
            Reason::Unconfirmed,
        ),
        (Event::Wake, unconfirmed(101), Reason::Asked),
    ];
    for (event, facts, why) in cases {
        let step = check_life(&life, event, &facts, "ready", Some(why));
        assert_eq!(
            (step.life.epoch, step.effects),
            (life.epoch, vec![]),
            "must have stopped nothing"
        );
    }
    check_life(&life, Event::Tick, &unconfirmed(109), "draining", None);
}

#[test]
fn a_recent_arrival_does_not_turn_a_persons_drain_back() {
    let life = Lifecycle {
        phase: Phase::Draining { asked: true, from: 1 },
        ..mk_draining()
    };
    let facts = Facts {
        last_use: Some(at(99)),
        ..mk_facts(101)
    };
    check_life(&life, Event::Tick, &facts, "stopping", Some(Reason::Confirmed));
}
