//! Targets that are no longer configured: when they are let go, and when they are woken first.

use super::super::*;
use super::*;

/// Removed, with no request waiting.
fn mk_retired(phase: Phase) -> Lifecycle {
    Lifecycle {
        retiring: true,
        ..mk_life(phase)
    }
}

fn check_let_go(life: &Lifecycle, facts: &Facts) {
    let taken = step(life, Event::Tick, facts);
    assert_eq!(taken.effects, [Effect::Drop], "must be let go: {:?}", life.phase);
}

#[test]
fn what_is_removed_after_it_failed_is_let_go_once_no_request_waits() {
    let failed = mk_retired(Phase::Failed {
        class: FailureClass::Other,
        reason: "x".to_owned(),
        retry_at: at(90),
        retry_after: Duration::ZERO,
    });
    check_let_go(&failed, &mk_facts(60));
    let waited_for = |now| Facts {
        held: 1,
        ..mk_facts(now)
    };
    let kept = check_life(&failed, Event::Tick, &waited_for(89), "failed", None);
    assert_eq!(kept.effects, [], "must not be let go under those who wait");
    check_life(
        &failed,
        Event::Tick,
        &waited_for(90),
        "waking",
        Some(Reason::Retry),
    );
}

#[test]
fn what_is_removed_while_asleep_is_woken_only_if_it_is_to_be_left_awake() {
    let asleep = mk_retired(Phase::Asleep);
    let mut ours = mk_facts(100);
    ours.policy.leaves_awake = false;
    check_let_go(&asleep, &ours);
    ours.held = 1;
    check_life(&asleep, Event::Tick, &ours, "waking", Some(Reason::Retired));

    let undone = Lifecycle {
        undone: Some(Undone {
            times: 1,
            last: at(60),
            by: None,
            held_until: at(60),
        }),
        ..asleep
    };
    check_let_go(&undone, &mk_facts(100));
}

#[test]
fn what_is_removed_on_its_way_up_is_not_waited_for_without_end() {
    let starting = mk_retired(Phase::Waking { start_at: None });
    let kept = check_life(&starting, Event::Tick, &mk_facts(649), "waking", None);
    assert_eq!(kept.effects, [], "must be waited for");
    assert_eq!(
        deadline(&starting, &mk_facts(100)),
        Some(at(650)),
        "must come back to it"
    );
    check_let_go(
        &starting,
        &Facts {
            held: 1,
            ..mk_facts(650)
        },
    );
    let dying = mk_retired(Phase::Waking {
        start_at: Some(at(500)),
    });
    check_let_go(&dying, &mk_facts(100));

    // Manual: no person has done it yet.
    let unheard = Lifecycle {
        command: 1,
        ..starting
    };
    let mut ours = mk_facts(100);
    ours.policy.leaves_awake = false;
    check_let_go(&unheard, &ours);
}
