//! The life of one target as one pure function: [`step`]`(life, event, facts) -> Step`.
//!
//! Never starts, stops, sends or waits: what must be done comes back as [`Effect`]s, at most one change of phase a
//! step. The caller steps with [`Event::Tick`] until nothing changes ([`Step::moved`]), and again at [`deadline`].

mod backoff;
mod beginning;
mod contention;
mod deadline;
mod facts;
mod failure;
mod sleep;
mod step;

#[cfg(test)]
mod props;
#[cfg(test)]
mod rivals;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use backoff::backoff;
pub use contention::Undone;
pub use deadline::deadline;
pub use facts::{DrainConsent, Facts, Observed, Policy};
pub use failure::{Failure, FailureClass};
pub use sleep::{Refusal, may_sleep};
pub use step::step;

use crate::time::Time;

/// One target's life. Changed by [`step`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// Where it is.
    pub phase: Phase,
    /// When it entered the phase.
    pub since: Time,
    /// When it last left for zero: an arrival after it is demand. The start of the life, if it never did.
    pub away_since: Time,
    /// When it last entered ready from anything but draining.
    pub up_since: Option<Time>,
    /// Raised each time it enters ready from anything but draining.
    pub epoch: u64,
    /// It was ready when it was first seen, and has not entered ready since but from draining.
    pub found_up: bool,
    /// Counts the commands given to the backend.
    pub command: u64,
    /// What the backend last saw.
    pub seen: Observed,
    /// Starts in a row that did not last, for the back-off.
    pub attempts: u32,
    /// When it was last started from zero; `None` again once others have set it to zero.
    pub started: Option<Time>,
    /// Wakes in a row that others undid, until one has lasted.
    pub undone: Option<Undone>,
    /// A person asked for a wake while it was on its way to zero.
    pub wake_asked: bool,
    /// Removed from the configuration: it is woken, and dropped when it is up.
    pub retiring: bool,
}

impl Lifecycle {
    /// A life that begins asleep at `now`, with nothing seen yet but zero.
    pub fn asleep(now: Time) -> Self {
        Self {
            phase: Phase::Asleep,
            since: now,
            away_since: now,
            up_since: None,
            epoch: 0,
            found_up: false,
            command: 0,
            seen: Observed::default(),
            attempts: 0,
            started: None,
            undone: None,
            wake_asked: false,
            retiring: false,
        }
    }

    /// True while it is in the readiness that it was found in.
    pub fn is_as_found(&self) -> bool {
        self.found_up && matches!(self.phase, Phase::Ready | Phase::Draining { .. })
    }

    /// True once the backend has carried out the last command.
    pub fn obeyed(&self) -> bool {
        self.seen.command == self.command
    }
}

/// Where a target is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// At zero.
    Asleep,
    /// On its way up.
    Waking {
        /// When to start what died too often; `None`: it has been started.
        start_at: Option<Time>,
    },
    /// Up.
    Ready,
    /// About to be put to sleep.
    Draining {
        /// By a person, not because it was idle.
        asked: bool,
        /// Replicas when it began: if others set another number meanwhile, theirs stands.
        from: u32,
    },
    /// On its way to zero.
    Stopping,
    /// Could not start.
    Failed {
        /// Why, in one word.
        class: FailureClass,
        /// Why, for people.
        reason: String,
        /// When it is tried again, if a request comes.
        retry_at: Time,
        /// The wait from the failure to `retry_at`.
        retry_after: Duration,
    },
    /// Left alone.
    Suspended,
}

impl Phase {
    /// Its name in logs, metrics and `GET /v1/targets`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Waking { .. } => "waking",
            Self::Ready => "ready",
            Self::Draining { .. } => "draining",
            Self::Stopping => "stopping",
            Self::Failed { .. } => "failed",
            Self::Suspended => "suspended",
        }
    }

    /// As a proxy sees it.
    pub fn on_the_wire(&self) -> protocol::State {
        match self {
            Self::Asleep | Self::Stopping => protocol::State::Asleep,
            Self::Waking { .. } => protocol::State::Waking,
            Self::Ready => protocol::State::Ready,
            Self::Draining { .. } => protocol::State::Draining,
            Self::Failed { .. } => protocol::State::Failed,
            Self::Suspended => protocol::State::Suspended,
        }
    }

    /// True if it matters to [`step`] and [`deadline`] whether every proxy has confirmed that it holds.
    pub fn minds_confirms(&self) -> bool {
        match self {
            Self::Waking { .. } | Self::Draining { .. } | Self::Failed { .. } => true,
            Self::Asleep | Self::Ready | Self::Stopping | Self::Suspended => false,
        }
    }

    /// True if proxies let requests pass.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Ready | Self::Suspended)
    }
}

/// What happens to a life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed, or the facts have changed.
    Tick,
    /// The backend saw something. Ignored if it is from before the last command.
    Observed(Observed),
    /// A person asks for it to be up.
    Wake,
    /// A person asks for it to be put to sleep. Ignored if [`may_sleep`] refuses.
    Sleep,
    /// It was removed from the configuration.
    Retire,
    /// It is back in the configuration.
    Restore,
}

/// What must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Scale from zero, if it is at zero.
    Start {
        /// Number of this command.
        command: u64,
        /// Why.
        cause: Cause,
    },
    /// Scale to zero.
    Stop {
        /// Number of this command.
        command: u64,
        /// Replicas when the drain began, or when it was decided if there was none: if others have set another number
        /// since, theirs stand.
        from: u32,
    },
    /// Forget the target and leave its workload as it is.
    Drop,
}

/// Why something is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A request came.
    Demand,
    /// A person asked.
    Person,
    /// What was up is gone.
    Lost,
    /// It failed, the back-off is over, and a request came.
    Retry,
    /// It is to be left awake.
    Retired,
}

/// Outcome of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The life after it.
    pub life: Lifecycle,
    /// What must be done, in order.
    pub effects: Vec<Effect>,
    /// Why the phase changed, if it did.
    pub moved: Option<Reason>,
}

/// Why a target changed its phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A request came.
    Demand,
    /// A person asked.
    Asked,
    /// Others set the replicas.
    SetByOthers,
    /// Endpoints are ready.
    Endpoints,
    /// No ready endpoint is left.
    Lost,
    /// It cannot start.
    CannotStart,
    /// No request used it for `idle.after`.
    Idle,
    /// Every live proxy has confirmed the drain.
    Confirmed,
    /// Something is held or in flight.
    InUse,
    /// An arrival was reported that the drain did not know of.
    Used,
    /// Not every live proxy confirmed in time.
    Unconfirmed,
    /// The stop found that others had set another number of replicas: it stands.
    Abandoned,
    /// Nothing is left.
    Gone,
    /// The back-off is over and a request came.
    Retry,
    /// Its owner suspended it, or took that back.
    Suspend,
    /// It was removed from the configuration.
    Retired,
    /// It has ended by itself, and well, and no request used it.
    Finished,
}

impl Reason {
    /// In logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Asked => "asked",
            Self::SetByOthers => "set_by_others",
            Self::Endpoints => "endpoints",
            Self::Lost => "lost",
            Self::CannotStart => "cannot_start",
            Self::Idle => "idle",
            Self::Confirmed => "confirmed",
            Self::InUse => "in_use",
            Self::Used => "used",
            Self::Unconfirmed => "unconfirmed",
            Self::Abandoned => "abandoned",
            Self::Gone => "gone",
            Self::Retry => "retry",
            Self::Suspend => "suspend",
            Self::Retired => "retired",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
