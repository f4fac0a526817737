//! What a life is judged by: gathered by the caller, never changed here.

use std::time::Duration;

use super::Failure;
use crate::time::Time;

/// The world at one moment, as far as it concerns one target.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The moment.
    pub now: Time,
    /// Requests held, over all proxies that speak.
    pub held: u64,
    /// Requests in flight, over all proxies that speak.
    pub in_flight: u64,
    /// Newest matched arrival ever reported, refused ones included.
    pub last_arrival: Option<Time>,
    /// The later of `last_arrival` and the last moment something was held or in flight.
    pub last_use: Option<Time>,
    /// What the proxies say to a stop.
    pub consent: DrainConsent,
    /// A live proxy has matched a request since the match keys last changed, or a person asked for a sleep.
    pub matched: bool,
    /// No drain begins before it: after a start the control plane does not yet know every proxy.
    pub may_drain_at: Time,
    /// The target's `idle.after`.
    pub idle_after: Duration,
    /// The target's `suspend`.
    pub suspend: bool,
    /// False where only a person puts to sleep.
    pub sleeps_when_idle: bool,
    /// Spreads retries, 0 to 1000.
    pub jitter: u16,
    /// What holds for every target.
    pub policy: Policy,
}

impl Facts {
    /// True if anything is held or in flight.
    pub fn busy(&self) -> bool {
        self.held > 0 || self.in_flight > 0
    }

    /// Demand of a target that has been away since `since`: held now, or an arrival after it.
    pub fn demand(&self, since: Time) -> bool {
        self.held > 0 || self.last_arrival.is_some_and(|arrival| arrival > since)
    }
}

/// What the proxies say to a stop of this target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainConsent {
    /// None is live: whether it is used is not known.
    NoProxy,
    /// One that is not forgotten says nothing.
    Silent,
    /// One has not yet applied that requests are no longer passed.
    Unconfirmed,
    /// All have.
    Confirmed,
}

/// What the backend sees of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Number of the last command that it has carried out; 0 if none.
    pub command: u64,
    /// Replicas wanted, as the workload states them.
    pub replicas: u32,
    /// Endpoints that are ready and not terminating.
    pub ready: u32,
    /// Processes or endpoints that are still there, terminating ones included.
    pub left: u32,
    /// There is no workload, or none that can be scaled: `replicas` says nothing, and `failure` says why. Its endpoints
    /// may be up all the same, run by something else.
    pub absent: bool,
    /// It has ended by itself, and well: `replicas` is zero because of that, and was not set.
    pub finished: bool,
    /// Why it cannot start.
    pub failure: Option<Failure>,
    /// Who set the replicas last, if it was not us and is known.
    pub set_by: Option<String>,
}

/// What holds for every target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A drain without all confirms is given up after this.
    pub drain_timeout: Duration,
    /// Test only: confirms are not taken sooner after the drain has begun.
    pub drain_pause: Duration,
    /// Wait after the first failure.
    pub retry_initial: Duration,
    /// Longest wait after a failure.
    pub retry_max: Duration,
    /// What was up for at least this long has started well.
    pub stable: Duration,
    /// Others who set zero this soon after a start undo it; and so soon after another, they insist.
    pub undone_within: Duration,
    /// A start that is neither ready nor failed after this has failed, once no request waits for it any more. `None` where
    /// the backend itself says when a start has taken too long.
    pub start_limit: Option<Duration>,
    /// A removed target that is asleep is woken before it is let go: its workload is not ours to leave at zero.
    pub leaves_awake: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            drain_timeout: Duration::from_secs(10),
            drain_pause: Duration::ZERO,
            retry_initial: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            stable: Duration::from_secs(10),
            undone_within: Duration::from_secs(60),
            // As long as a Deployment or a Knative revision may take to make progress, if nothing else is said.
            start_limit: Some(Duration::from_secs(600)),
            leaves_awake: true,
        }
    }
}
