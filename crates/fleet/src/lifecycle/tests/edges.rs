//! The moments at which one thing ends and another begins, and the words by which it is told.

use super::super::*;
use super::*;

#[test]
fn what_is_found_without_a_workload_is_asleep_unless_something_is_up() {
    let absent = |seen| Observed { absent: true, ..seen };
    for (seen, phase) in [
        (absent(seen(0, 2, 0, 2)), "asleep"),
        (absent(seen(0, 0, 1, 1)), "ready"),
        (seen(0, 0, 1, 1), "stopping"),
    ] {
        let life = Lifecycle::found(seen.clone(), &mk_facts(100));
        assert_eq!(life.phase.name(), phase, "{seen:?}");
    }
}

#[test]
fn what_is_found_has_tried_once_if_it_failed_and_is_up_since_now_if_it_is() {
    let failed = Observed {
        failure: Some(Failure::new(FailureClass::Image, "no image")),
        ..seen(0, 2, 0, 2)
    };
    for (seen, attempts, up_since) in [
        (failed, 1, None),
        (seen(0, 2, 0, 2), 0, None),
        (seen(0, 2, 2, 2), 0, Some(at(100))),
    ] {
        let life = Lifecycle::found(seen.clone(), &mk_facts(100));
        assert_eq!((life.attempts, life.up_since), (attempts, up_since), "{seen:?}");
    }
}

#[test]
fn what_was_undone_is_forgotten_only_while_it_is_up_as_we_want_it() {
    let undone = Undone {
        times: 2,
        last: at(100),
        by: None,
        held_until: at(100),
    };
    let mk = |phase, replicas| Lifecycle {
        undone: Some(undone.clone()),
        seen: seen(0, replicas, replicas, replicas),
        ..mk_life(phase)
    };
    let facts = mk_facts(110);
    assert_eq!(mk(Phase::Ready, 1).forgives_at(&facts), Some(at(160)));
    assert_eq!(
        mk(Phase::Ready, 0).forgives_at(&facts),
        None,
        "others are at it again"
    );
    assert_eq!(mk(Phase::Asleep, 1).forgives_at(&facts), None, "must be up");
    let told = Lifecycle {
        command: 1,
        ..mk(Phase::Ready, 1)
    };
    assert_eq!(told.forgives_at(&facts), None, "what is seen is of before");
}

#[test]
fn a_pause_of_a_drain_ends_in_time_and_only_if_all_have_confirmed() {
    let facts = |now, consent| Facts {
        consent,
        policy: Policy {
            drain_pause: Duration::from_secs(5),
            ..Policy::default()
        },
        ..mk_facts(now)
    };
    let (draining, timeout) = (mk_draining(), at(110));
    for (now, consent, due) in [
        (102, DrainConsent::Confirmed, at(105)),
        (102, DrainConsent::Unconfirmed, timeout),
        (105, DrainConsent::Confirmed, timeout),
    ] {
        assert_eq!(
            deadline(&draining, &facts(now, consent)),
            Some(due),
            "{consent:?} at {now}"
        );
    }
}

#[test]
fn a_start_has_begun_once_there_are_replicas() {
    let waking = mk_life(Phase::Waking { start_at: None });
    assert!(waking.start_has_begun());
    let before = Lifecycle {
        seen: seen(0, 0, 0, 0),
        ..waking
    };
    assert!(!before.start_has_begun());
}

#[test]
fn a_drain_may_begin_at_the_moment_from_which_it_may() {
    for (may_drain_at, taken) in [(100, Ok(())), (101, Err(Refusal::TooEarly))] {
        let facts = Facts {
            may_drain_at: at(may_drain_at),
            ..mk_facts(100)
        };
        assert_eq!(may_sleep(&mk_ready(), &facts), taken, "from {may_drain_at} on");
    }
}

#[test]
fn a_drain_that_begins_as_soon_as_it_may_is_not_turned_back_by_the_use_before() {
    for (last_use, to, why) in [(40, "stopping", Reason::Confirmed), (41, "ready", Reason::Used)] {
        let facts = Facts {
            last_use: Some(at(last_use)),
            ..mk_facts(100)
        };
        check_life(&mk_draining(), Event::Tick, &facts, to, Some(why));
    }
}

#[test]
fn what_is_removed_before_its_start_has_begun_is_let_go_only_if_it_need_not_be_up() {
    let retired = |replicas| Lifecycle {
        retiring: true,
        command: u64::from(replicas == 0),
        seen: seen(0, replicas, 0, replicas),
        ..mk_life(Phase::Waking { start_at: None })
    };
    for (leaves_awake, replicas, is_dropped) in [
        (false, 0, true),
        (false, 1, false),
        (true, 0, false),
        (true, 1, false),
    ] {
        let facts = Facts {
            policy: Policy {
                leaves_awake,
                ..Policy::default()
            },
            ..mk_facts(100)
        };
        let taken = step(&retired(replicas), Event::Tick, &facts);
        assert_eq!(
            taken.effects.contains(&Effect::Drop),
            is_dropped,
            "leaves awake: {leaves_awake}, {replicas} replicas"
        );
    }
}

/// What stands in logs, metrics and on the wire stays.
#[test]
fn reasons_and_classes_keep_their_names() {
    let reasons = [
        (Reason::Demand, "demand"),
        (Reason::Asked, "asked"),
        (Reason::SetByOthers, "set_by_others"),
        (Reason::Endpoints, "endpoints"),
        (Reason::Lost, "lost"),
        (Reason::CannotStart, "cannot_start"),
        (Reason::Idle, "idle"),
        (Reason::Confirmed, "confirmed"),
        (Reason::InUse, "in_use"),
        (Reason::Used, "used"),
        (Reason::Unconfirmed, "unconfirmed"),
        (Reason::Abandoned, "abandoned"),
        (Reason::Gone, "gone"),
        (Reason::Retry, "retry"),
        (Reason::Suspend, "suspend"),
        (Reason::Retired, "retired"),
        (Reason::Finished, "finished"),
    ];
    for (why, name) in reasons {
        assert_eq!((why.name(), why.to_string().as_str()), (name, name));
    }
    let classes = [
        "image",
        "crash",
        "command",
        "config",
        "quota",
        "unschedulable",
        "scale_refused",
        "forbidden",
        "not_found",
        "unreachable",
        "start_timeout",
        "progress",
        "other",
    ];
    assert_eq!(FailureClass::ALL.map(|class| class.to_string()), classes);
}
