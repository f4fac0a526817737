//! Facts about one life, step by step.

mod beginning;
mod contention;
mod edges;
mod others;
mod removal;
mod sleeping;
mod stopping;
mod waking;

use std::time::Duration;

use super::*;

const IDLE: Duration = Duration::from_secs(60);

pub(super) fn at(second: u64) -> Time {
    Time::new(Duration::from_secs(second))
}

pub(super) fn seen(command: u64, replicas: u32, ready: u32, left: u32) -> Observed {
    Observed {
        command,
        replicas,
        ready,
        left,
        absent: false,
        finished: false,
        failure: None,
        set_by: None,
    }
}

/// Idle, matched, and every proxy agrees.
pub(super) fn mk_facts(now: u64) -> Facts {
    Facts {
        now: at(now),
        held: 0,
        in_flight: 0,
        last_arrival: None,
        last_use: None,
        consent: DrainConsent::Confirmed,
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
pub(super) fn mk_life(phase: Phase) -> Lifecycle {
    let up = matches!(phase, Phase::Ready | Phase::Draining { .. });
    let away = matches!(phase, Phase::Asleep | Phase::Stopping);
    let replicas = u32::from(!away);
    Lifecycle {
        seen: seen(0, replicas, u32::from(up), replicas),
        phase,
        epoch: 7,
        ..Lifecycle::asleep(at(50))
    }
}

pub(super) fn mk_ready() -> Lifecycle {
    Lifecycle {
        up_since: Some(at(50)),
        ..mk_life(Phase::Ready)
    }
}

/// Draining since second 100.
pub(super) fn mk_draining() -> Lifecycle {
    Lifecycle {
        since: at(100),
        ..mk_life(Phase::Draining {
            asked: false,
            from: 1,
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
pub(super) fn check(phase: Phase, event: Event, facts: Facts, to: &str, why: Option<Reason>) -> Step {
    check_life(&mk_life(phase), event, &facts, to, why)
}

pub(super) fn check_life(
    life: &Lifecycle,
    event: Event,
    facts: &Facts,
    to: &str,
    why: Option<Reason>,
) -> Step {
    let what = format!("{event:?}");
    let taken = step(life, event, facts);
    let from = life.phase.name();
    assert_eq!(
        (taken.life.phase.name(), taken.moved),
        (to, why),
        "{what} must take {from} there, with {facts:?}"
    );
    taken
}
