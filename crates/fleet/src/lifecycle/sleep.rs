//! When a target may be put to sleep. Silence never permits it.

use thiserror::Error;

use super::{DrainConsent, Facts, Lifecycle, Phase};
use crate::time::Time;

impl Lifecycle {
    /// True while the backend is about a start: the workload has its replicas, or its process, and is on its way up. It ends
    /// in ready or failed, whether or not a request still waits: one that takes longer than clients wait would never be up otherwise.
    pub(super) fn start_has_begun(&self) -> bool {
        matches!(self.phase, Phase::Waking { start_at: None }) && self.obeyed() && self.seen.replicas > 0
    }

    /// When a start that has begun has taken too long for a workload that tells of no failure by itself.
    pub(super) fn overdue_at(&self, facts: &Facts) -> Option<Time> {
        let limit = facts.policy.start_limit.filter(|_| self.start_has_begun())?;
        Some(self.since + limit)
    }
}

/// Why a target may not be put to sleep now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Something is held or in flight.
    #[error("it is in use: {held} held, {in_flight} in flight")]
    InUse {
        /// Requests held.
        held: u64,
        /// Requests in flight.
        in_flight: u64,
    },
    /// Whether it is used would not be known.
    #[error("no proxy is live, so it is not known whether it is in use")]
    NoProxy,
    /// A proxy that is not forgotten says nothing.
    #[error("a proxy has gone silent and may still be passing requests")]
    Silent,
    /// The control plane has just started.
    #[error("the control plane has only just started and may not know every proxy yet")]
    TooEarly,
    /// A proxy does not yet know that its requests do not pass.
    #[error("not every proxy has confirmed that it holds")]
    Unconfirmed,
    /// Left alone by its owner's wish.
    #[error("it is suspended")]
    Suspended,
    /// What runs behind its Service, if anything does, is not ours to stop.
    #[error("its workload is not there, or cannot be scaled")]
    Absent,
    /// Removed from the configuration.
    #[error("it has been removed and is being woken")]
    Retiring,
}

/// Whether a person's wish to put it to sleep is taken now: a drain where requests pass, a stop where they are held.
pub fn may_sleep(life: &Lifecycle, facts: &Facts) -> Result<(), Refusal> {
    if life.retiring {
        return Err(Refusal::Retiring);
    }
    if life.seen.absent {
        return Err(Refusal::Absent);
    }
    match life.phase {
        Phase::Suspended => Err(Refusal::Suspended),
        Phase::Asleep | Phase::Stopping | Phase::Draining { .. } => Ok(()),
        Phase::Ready => may_begin(facts, facts.now),
        Phase::Waking { .. } | Phase::Failed { .. } => {
            may_begin(facts, facts.now).and_then(|()| may_stop(facts))
        }
    }
}

/// Whether a drain may begin at `now`.
fn may_begin(facts: &Facts, now: Time) -> Result<(), Refusal> {
    if facts.busy() {
        return Err(Refusal::InUse {
            held: facts.held,
            in_flight: facts.in_flight,
        });
    }
    match facts.consent {
        DrainConsent::NoProxy => return Err(Refusal::NoProxy),
        DrainConsent::Silent => return Err(Refusal::Silent),
        DrainConsent::Unconfirmed | DrainConsent::Confirmed => {}
    }
    if now < facts.may_drain_at {
        return Err(Refusal::TooEarly);
    }
    Ok(())
}

/// Whether the workload may be stopped: every proxy holds.
pub(super) fn may_stop(facts: &Facts) -> Result<(), Refusal> {
    match facts.consent {
        DrainConsent::Confirmed => Ok(()),
        DrainConsent::Unconfirmed => Err(Refusal::Unconfirmed),
        DrainConsent::NoProxy => Err(Refusal::NoProxy),
        DrainConsent::Silent => Err(Refusal::Silent),
    }
}

/// When it will have been idle for long enough, if nothing but time is missing. A start that has begun is not idle before it is
/// overdue.
pub(super) fn idle_at(life: &Lifecycle, facts: &Facts) -> Option<Time> {
    if !facts.sleeps_when_idle || !facts.matched || life.retiring || life.seen.absent {
        return None;
    }
    may_begin(facts, facts.now.max(facts.may_drain_at)).ok()?;
    if !life.phase.passes() {
        may_stop(facts).ok()?;
    }
    let quiet_since = facts.last_use.map_or(life.since, |used| used.max(life.since));
    let idle_at = (quiet_since + facts.idle_after).max(facts.may_drain_at);
    if life.start_has_begun() {
        // The time without use counts from ready.
        return Some(idle_at.max(life.overdue_at(facts)?));
    }
    Some(idle_at)
}

/// True if it has been idle for long enough and nothing stands in the way of a sleep.
pub(super) fn idle(life: &Lifecycle, facts: &Facts) -> bool {
    idle_at(life, facts).is_some_and(|at| facts.now >= at)
}
