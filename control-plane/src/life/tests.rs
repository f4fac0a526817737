use std::time::Duration;

use super::*;

const IDLE: Duration = Duration::from_secs(60);

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
        Some(Why::Demand),
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
        Some(Why::Demand),
    );
    check(Phase::Asleep, Event::Tick, arrived(50), "asleep", None);
}

#[test]
fn replicas_set_by_others_wake_without_a_start() {
    let life = Life {
        seen: seen(0, 2, 0, 2),
        ..mk_life(Phase::Asleep)
    };
    let step = check_life(
        &life,
        Event::Tick,
        &mk_facts(100),
        "waking",
        Some(Why::SetByOthers),
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
        Some(Why::Endpoints),
    );
    assert_eq!(step.life.epoch, life.epoch + 1, "must be a new epoch");
}

#[test]
fn what_was_seen_before_the_last_command_is_ignored() {
    let life = Life {
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
        failure: Some("exited with status 3".to_owned()),
        ..seen(0, 1, 0, 0)
    };
    let step = check_life(
        &life,
        Event::Observed(failure),
        &mk_facts(100),
        "failed",
        Some(Why::CannotStart),
    );
    let expected = Phase::Failed {
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
fn failed_is_retried_only_when_due_and_somebody_came() {
    let failed = || Phase::Failed {
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
    check(failed(), Event::Tick, came(90, 60), "waking", Some(Why::Retry));
    check(failed(), Event::Wake, mk_facts(60), "waking", Some(Why::Asked));
}

#[test]
fn each_failure_waits_longer() {
    let mut life = mk_life(Phase::Waking { start_at: None });
    let mut waits = Vec::new();
    for _ in 0..3 {
        let failure = Observed {
            failure: Some("x".to_owned()),
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
        reason: "x".to_owned(),
        retry_at: at(90),
        retry_after: Duration::ZERO,
    };
    check(
        failed,
        Event::Observed(seen(0, 1, 1, 1)),
        mk_facts(60),
        "ready",
        Some(Why::Endpoints),
    );
}

#[test]
fn idle_begins_a_drain_and_stops_nothing() {
    let step = check_life(
        &mk_ready(),
        Event::Tick,
        &mk_facts(200),
        "draining",
        Some(Why::Idle),
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
        Some(Why::Idle),
    );
    check_life(&mk_ready(), Event::Tick, &used(119, 60), "ready", None);
    check_life(
        &mk_ready(),
        Event::Tick,
        &used(120, 60),
        "draining",
        Some(Why::Idle),
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
                quorum: Quorum::NoProxy,
                ..idle()
            },
        ),
        (
            "a silent proxy",
            Facts {
                quorum: Quorum::Silent,
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
                quorum: Quorum::NoProxy,
                ..facts()
            },
            Err(Refusal::NoProxy),
        ),
        (
            Facts {
                quorum: Quorum::Silent,
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
        Some(Why::Confirmed),
    );
    assert_eq!(step.effects, [Effect::Stop { command: 1 }], "must stop it once");
    assert_eq!(
        step.life.away_since,
        at(101),
        "must know since when an arrival is demand"
    );
}

#[test]
fn a_drain_turns_back_and_keeps_the_epoch() {
    let unconfirmed = |now| Facts {
        quorum: Quorum::Unconfirmed,
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
            Why::InUse,
        ),
        (
            Event::Tick,
            Facts {
                in_flight: 1,
                ..unconfirmed(101)
            },
            Why::InUse,
        ),
        (
            Event::Tick,
            Facts {
                last_use: Some(at(99)),
                ..mk_facts(101)
            },
            Why::Used,
        ),
        (Event::Tick, unconfirmed(110), Why::Unconfirmed),
        (
            Event::Tick,
            Facts {
                quorum: Quorum::Silent,
                ..mk_facts(110)
            },
            Why::Unconfirmed,
        ),
        (
            Event::Tick,
            Facts {
                quorum: Quorum::NoProxy,
                ..mk_facts(110)
            },
            Why::Unconfirmed,
        ),
        (Event::Wake, unconfirmed(101), Why::Asked),
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
    let life = Life {
        phase: Phase::Draining { asked: true },
        ..mk_draining()
    };
    let facts = Facts {
        last_use: Some(at(99)),
        ..mk_facts(101)
    };
    check_life(&life, Event::Tick, &facts, "stopping", Some(Why::Confirmed));
}

#[test]
fn a_drain_of_what_has_died_turns_back_to_waking() {
    let life = Life {
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
        Some(Why::Lost),
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
fn demand_waits_while_stopping_and_then_wakes() {
    let life = Life {
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
        Some(Why::Gone),
    );
    check_life(&step.life, Event::Tick, &wanted, "waking", Some(Why::Demand));
}

#[test]
fn stopping_ends_only_when_the_stop_was_seen_and_nothing_is_left() {
    let life = Life {
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
    let life = Life {
        command: 4,
        seen: seen(4, 0, 0, 1),
        ..mk_life(Phase::Stopping)
    };
    let asked = step(&life, Event::Wake, &mk_facts(100)).life;
    let asleep = step(&asked, Event::Observed(seen(4, 0, 0, 0)), &mk_facts(101)).life;
    check_life(&asleep, Event::Tick, &mk_facts(101), "waking", Some(Why::Asked));
}

#[test]
fn others_who_set_zero_are_followed_without_a_stop() {
    let zero = || Event::Observed(seen(0, 0, 0, 1));
    for life in [
        mk_ready(),
        mk_draining(),
        mk_life(Phase::Waking { start_at: None }),
    ] {
        let step = check_life(&life, zero(), &mk_facts(100), "stopping", Some(Why::SetByOthers));
        assert_eq!(step.effects, [], "must stop nothing itself");
    }
    let gone = Event::Observed(seen(0, 0, 0, 0));
    check(
        Phase::Waking { start_at: None },
        gone,
        mk_facts(100),
        "asleep",
        Some(Why::SetByOthers),
    );
}

#[test]
fn what_dies_while_ready_is_waited_for_and_started_again() {
    let died = Observed {
        failure: Some("killed".to_owned()),
        ..seen(0, 1, 0, 0)
    };
    let first = check_life(
        &mk_ready(),
        Event::Observed(died),
        &mk_facts(70),
        "waking",
        Some(Why::Lost),
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
    let life = Life {
        attempts: 1,
        up_since: Some(at(98)),
        ..mk_ready()
    };
    let lost = check_life(
        &life,
        Event::Observed(seen(0, 1, 0, 0)),
        &mk_facts(100),
        "waking",
        Some(Why::Lost),
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
    let stood = Life {
        attempts: 5,
        up_since: Some(at(90)),
        ..mk_ready()
    };
    let step = step(&stood, Event::Observed(seen(0, 1, 0, 0)), &mk_facts(100));
    assert_eq!(step.life.attempts, 1, "must forgive what stood for long enough");
}

#[test]
fn nobody_waits_for_a_wake_any_more_so_it_stops() {
    let life = mk_life(Phase::Waking { start_at: None });
    check_life(
        &life,
        Event::Tick,
        &Facts {
            held: 1,
            ..mk_facts(500)
        },
        "waking",
        None,
    );
    let step = check_life(&life, Event::Tick, &mk_facts(110), "stopping", Some(Why::Idle));
    assert_eq!(step.effects, [Effect::Stop { command: 1 }], "must stop it");
    let unconfirmed = Facts {
        quorum: Quorum::Unconfirmed,
        ..mk_facts(110)
    };
    check_life(&life, Event::Tick, &unconfirmed, "waking", None);
}

#[test]
fn nobody_comes_back_to_what_failed_so_it_stops() {
    let failed = Phase::Failed {
        reason: "x".to_owned(),
        retry_at: at(60),
        retry_after: Duration::ZERO,
    };
    check(failed, Event::Tick, mk_facts(110), "stopping", Some(Why::Idle));
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
        Phase::Draining { asked: false },
        Phase::Waking { start_at: None },
    ] {
        let step = check(
            phase,
            Event::Tick,
            suspended.clone(),
            "suspended",
            Some(Why::Suspend),
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
        Some(Why::Gone),
    );
    for (seen, to) in [
        (seen(0, 1, 1, 1), "ready"),
        (seen(0, 1, 0, 1), "waking"),
        (seen(0, 0, 0, 0), "asleep"),
    ] {
        let life = Life {
            seen,
            ..mk_life(Phase::Suspended)
        };
        check_life(&life, Event::Tick, &mk_facts(100), to, Some(Why::Suspend));
    }
}

#[test]
fn what_is_removed_while_asleep_is_woken_and_then_dropped() {
    let retired = check(
        Phase::Asleep,
        Event::Retire,
        mk_facts(100),
        "waking",
        Some(Why::Retired),
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
        Some(Why::Endpoints),
    );
    assert_eq!(
        step(&up.life, Event::Tick, &mk_facts(101)).effects,
        [Effect::Drop],
        "must be dropped once up"
    );
}

#[test]
fn what_is_removed_after_it_failed_is_retried_without_anybody_coming() {
    let failed = Phase::Failed {
        reason: "x".to_owned(),
        retry_at: at(90),
        retry_after: Duration::ZERO,
    };
    let life = Life {
        retiring: true,
        ..mk_life(failed)
    };
    check_life(&life, Event::Tick, &mk_facts(89), "failed", None);
    check_life(&life, Event::Tick, &mk_facts(90), "waking", Some(Why::Retry));
    check_life(&life, Event::Tick, &mk_facts(5000), "waking", Some(Why::Retry));
}

#[test]
fn what_comes_back_is_no_longer_dropped() {
    let life = Life {
        retiring: true,
        ..mk_ready()
    };
    assert_eq!(
        step(&life, Event::Restore, &mk_facts(60)).effects,
        [],
        "must be kept"
    );
}

fn at(second: u64) -> Time {
    Time::new(Duration::from_secs(second))
}

fn seen(command: u64, replicas: u32, ready: u32, left: u32) -> Observed {
    Observed {
        command,
        replicas,
        ready,
        left,
        failure: None,
    }
}

/// Idle, matched, and every proxy agrees.
fn mk_facts(now: u64) -> Facts {
    Facts {
        now: at(now),
        held: 0,
        in_flight: 0,
        last_arrival: None,
        last_use: None,
        quorum: Quorum::Confirmed,
        matched: true,
        may_drain_at: at(0),
        idle_after: IDLE,
        suspend: false,
        sleeps_when_idle: true,
        jitter: 500,
        policy: Policy::default(),
    }
}

/// In `phase` since second 50; the backend sees what belongs to it.
fn mk_life(phase: Phase) -> Life {
    let up = matches!(phase, Phase::Ready | Phase::Draining { .. });
    let away = matches!(phase, Phase::Asleep | Phase::Stopping);
    let replicas = u32::from(!away);
    Life {
        seen: seen(0, replicas, u32::from(up), replicas),
        phase,
        epoch: 7,
        ..Life::asleep(at(50))
    }
}

fn mk_ready() -> Life {
    Life {
        up_since: Some(at(50)),
        ..mk_life(Phase::Ready)
    }
}

/// Draining since second 100.
fn mk_draining() -> Life {
    Life {
        since: at(100),
        ..mk_life(Phase::Draining { asked: false })
    }
}

fn check(phase: Phase, event: Event, facts: Facts, to: &str, why: Option<Why>) -> Step {
    check_life(&mk_life(phase), event, &facts, to, why)
}

fn check_life(life: &Life, event: Event, facts: &Facts, to: &str, why: Option<Why>) -> Step {
    let taken = step(life, event.clone(), facts);
    let from = life.phase.name();
    assert_eq!(
        (taken.life.phase.name(), taken.moved),
        (to, why),
        "{event:?} must take {from} there, with {facts:?}"
    );
    taken
}
