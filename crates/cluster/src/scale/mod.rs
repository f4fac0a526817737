//! Writes replicas through the scale subresource: up from zero, down to zero, never anything else.
//!
//! Every write names the version that was read, so of two writes after one read one at most lands. A write whose
//! outcome is not known is followed by a read before anything is written again, and until it can no longer land,
//! nothing that this read shows is taken for final, and no failure is told that would let requests pass to what is
//! about to go. What is written next is decided by a pure function
//! (`decide`); what goes wrong is judged by another (`trouble`).

mod attempts;
mod decide;
mod request;
#[cfg(test)]
mod tests;
mod trouble;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use kube::Client;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use self::attempts::Attempts;
use self::decide::{Decision, decide};
use self::request::Subresource;
use self::trouble::{Trouble, judge};
use super::failure::Failure;
use super::observe::Version;
use super::resource::Scalable;
use crate::metrics::Metrics;
use fleet_actor::Fence;

/// Longest read.
const LONGEST_READ: Duration = Duration::from_secs(5);
/// Longest write, if the lease does not end sooner: as long as an admission webhook may take by default.
const LONGEST_WRITE: Duration = Duration::from_secs(10);
/// The API server is told to give a write up when we do; this much later it surely has.
const MARGIN: Duration = Duration::from_secs(1);
/// Between two looks at a fence that is closed. A reconciler ends with its leadership, so this is seldom.
const CLOSED: Duration = Duration::from_millis(250);

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From zero to this many; more than zero stand as they are.
    Up(NonZeroU32),
    /// To zero, if there are as many as this; others stand as they are.
    Down {
        /// Replicas when it was decided.
        from: u32,
    },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up(want) => write!(f, "up from 0 to {want}"),
            Self::Down { from } => write!(f, "down from {from} to 0"),
        }
    }
}

/// The scale of a workload, as the API server last gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Of the whole workload object.
    pub version: Version,
    /// Replicas wanted.
    pub replicas: u32,
    /// Label selector of its Pods, if the kind tells.
    pub selector: Option<String>,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What came of it.
    pub outcome: Outcome,
    /// What is there now: wait until the watch shows its version.
    pub scale: Scale,
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written, by us.
    Written,
    /// It was so already.
    Already,
    /// What is there stands: replicas that others set, or ours, where we may not write.
    Abandoned,
}

impl Outcome {
    /// In logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Already => "already",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Writes the replicas of one workload. Keep it as long as the workload: it remembers a write whose outcome is not
/// known, also one whose future was dropped.
pub struct Scaler {
    subresource: Subresource,
    fence: Fence,
    metrics: Metrics,
    /// Set before a write is sent, taken back when its outcome is known.
    doubt: Option<Doubt>,
    attempts: Attempts,
}

/// A write whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Doubt {
    /// It lands on this version or not at all.
    version: Version,
    /// What it writes.
    replicas: u32,
    /// It has landed by then or never will.
    until: Instant,
}

impl Scaler {
    /// For the object `name` in `namespace`.
    pub fn new(
        client: Client,
        kind: &Scalable,
        namespace: &str,
        name: &str,
        fence: Fence,
        metrics: Metrics,
    ) -> Self {
        Self {
            subresource: Subresource::new(client, &kind.resource, namespace, name),
            fence,
            metrics,
            doubt: None,
            attempts: Attempts::default(),
        }
    }

    /// Carries `order` out, however long that takes: ends only when it is done. May be dropped at any time.
    ///
    /// `tell` is called when it finds out why it cannot (for people), and with `None` when that is over. An API server
    /// that cannot be reached is no such reason: that says nothing of the workload. A proxy that hears of one lets requests pass
    /// again. So an order down that has found one out writes no more, and tells it only when nothing that was written
    /// can still land; an order up goes on trying.
    pub async fn carry_out(&mut self, order: Order, mut tell: impl FnMut(Option<Failure>) + Send) -> Done {
        let mut told = None;
        let mut found = None;
        self.attempts.reset();
        loop {
            let gives_up = found.is_some() && matches!(order, Order::Down { .. });
            let mut pause = match self.attempt(order, gives_up).await {
                // It is to be heard before it is over.
                Attempt::Done(done) if done.outcome == Outcome::Abandoned && found != told => CLOSED,
                Attempt::Done(done) => {
                    if told.is_some() {
                        tell(None);
                    }
                    self.metrics.scale_ordered(done.outcome.name());
                    return done;
                }
                Attempt::NotNow => CLOSED,
                Attempt::InDoubt(end) => self.attempts.next().min(end),
                Attempt::Failed(trouble) => {
                    debug!(%order, ?trouble, "{}: scale: {trouble:?}", self.subresource);
                    found = trouble.tell(self.attempts.misses()).or(found);
                    self.attempts.after(&trouble)
                }
            };
            match self.may_go_to_zero() {
                Some(end) if found != told => pause = pause.min(end),
                Some(_) => {}
                None if found != told => {
                    told.clone_from(&found);
                    tell(found.clone());
                }
                None => {}
            }
            self.metrics.scale_retries.inc();
            sleep(pause).await;
        }
    }

    /// Waits until nothing that was written can land any more: at most as long as a write may take. Before the workload
    /// is left to another scaler, which knows nothing of it.
    pub async fn settle(&mut self) {
        if let Some(doubt) = self.doubt.take() {
            sleep_until(doubt.until).await;
        }
    }

    /// For how long a write of ours to zero, whose outcome is not known, may still land.
    fn may_go_to_zero(&self) -> Option<Duration> {
        let doubt = self.doubt.as_ref().filter(|doubt| doubt.replicas == 0)?;
        let left = doubt.until.saturating_duration_since(Instant::now());
        Some(left).filter(|left| !left.is_zero())
    }

    /// Reads the scale once.
    ///
    /// # Errors
    /// Why it could not be read, for people.
    pub async fn read(&self) -> Result<Scale, Failure> {
        let read = self.get().await;
        read.map(|read| read.scale)
            .map_err(|trouble| trouble.into_failure(&self.subresource))
    }

    async fn attempt(&mut self, order: Order, gives_up: bool) -> Attempt {
        if self.fence.write_budget().is_none() {
            return Attempt::NotNow;
        }
        // A read that takes long may have been answered long ago: what it shows is no younger than this.
        let now = Instant::now();
        let read = match self.get().await {
            Ok(read) => read,
            Err(trouble) => return Attempt::Failed(trouble),
        };
        // What was read now is what an earlier write of ours has left there.
        let mut ours = false;
        if let Some(doubt) = &self.doubt {
            let landed_or_lost = doubt.version != read.scale.version;
            ours = landed_or_lost && doubt.replicas == read.scale.replicas;
            if landed_or_lost || now >= doubt.until {
                self.doubt = None;
            }
        }
        let decision = match decide(order, read.scale.replicas, ours) {
            Decision::Write(_) if gives_up => Decision::End(Outcome::Abandoned),
            decision => decision,
        };
        match (decision, &self.doubt) {
            (Decision::End(_), Some(doubt)) => Attempt::InDoubt(doubt.until - now),
            (Decision::End(outcome), None) => Attempt::Done(Done {
                outcome,
                scale: read.scale,
            }),
            (Decision::Write(replicas), _) => self.put(read, replicas).await,
        }
    }

    async fn get(&self) -> Result<request::Read, Trouble> {
        let read = timeout(LONGEST_READ, self.subresource.read()).await;
        match read {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(judge(&error, &self.subresource)),
            Err(_) => Err(Trouble::Unanswered),
        }
    }

    async fn put(&mut self, read: request::Read, replicas: u32) -> Attempt {
        let Some(budget) = self.fence.write_budget() else {
            return Attempt::NotNow;
        };
        // The API server's own timer starts later than ours: a tenth of the lease is for the way.
        let longest = (budget - budget / 10).min(LONGEST_WRITE);
        let until = Instant::now() + longest + MARGIN;
        let earlier = self.doubt.take();
        self.doubt = Some(Doubt {
            version: read.scale.version.clone(),
            replicas,
            until: earlier.as_ref().map_or(until, |earlier| until.max(earlier.until)),
        });
        let write = timeout(longest, self.subresource.write(read, replicas, longest)).await;
        let trouble = match write {
            Ok(Ok(scale)) => {
                self.doubt = None;
                self.metrics.scale_written("written");
                return Attempt::Done(Done {
                    outcome: Outcome::Written,
                    scale,
                });
            }
            Ok(Err(error)) => judge(&error, &self.subresource),
            Err(_) => Trouble::Unanswered,
        };
        match trouble {
            Trouble::Internal(_) | Trouble::Unanswered => {}
            // Nor can an earlier one land any more.
            Trouble::Conflict => self.doubt = None,
            Trouble::Refused(_) | Trouble::NotYet(_) | Trouble::Busy(_) => self.doubt = earlier,
        }
        self.metrics.scale_written(trouble.name());
        Attempt::Failed(trouble)
    }
}

/// One read, and one write at most.
enum Attempt {
    /// The order is carried out.
    Done(Done),
    /// The fence is closed.
    NotNow,
    /// There is nothing to be done unless an earlier write still lands, which it may for this long.
    InDoubt(Duration),
    /// Something went wrong.
    Failed(Trouble),
}
