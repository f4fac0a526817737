//! The next moment at which time alone may change a life.

use super::sleep::idle_at;
use super::{DrainConsent, Facts, Lifecycle, Phase};
use crate::time::Time;

/// When the life must be stepped with a tick if nothing else happens. Later than `facts.now` once it has been stepped
/// until nothing moves, so a caller that waits for it never spins.
pub fn deadline(life: &Lifecycle, facts: &Facts) -> Option<Time> {
    let earliest = |times: &[Option<Time>]| times.iter().copied().flatten().min();
    let forgives_at = life.forgives_at(facts);
    match life.phase {
        Phase::Stopping | Phase::Suspended => None,
        Phase::Asleep => {
            let wanted = life.retiring || facts.demand(life.away_since);
            life.held_until(facts).filter(|_| wanted)
        }
        Phase::Ready => earliest(&[idle_at(life, facts), forgives_at]),
        Phase::Waking { start_at } => {
            let let_go_at = life.overdue_at(facts).filter(|_| life.retiring);
            earliest(&[start_at, idle_at(life, facts), forgives_at, let_go_at])
        }
        Phase::Draining { .. } => {
            let pause_over = life.since + facts.policy.drain_pause;
            let paused = facts.consent == DrainConsent::Confirmed && facts.now < pause_over;
            earliest(&[
                Some(life.since + facts.policy.drain_timeout),
                paused.then_some(pause_over),
                forgives_at,
            ])
        }
        Phase::Failed { retry_at, .. } => {
            let wanted = facts.demand(life.since);
            earliest(&[wanted.then_some(retry_at), idle_at(life, facts)])
        }
    }
}
