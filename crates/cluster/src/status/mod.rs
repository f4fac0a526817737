//! Writes the status of ScaleTargets: what differs from what the API server has, and nothing else.
//!
//! What a status should be is decided in `desired`, whose turn it is in `write_queue`; both are pure. Only the writer here
//! speaks to the API server. It runs in the active replica, and asks the fence before every write. In the steady state
//! it makes no request.

mod desired;
mod shown;
mod write;
mod write_queue;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, warn};

pub use shown::{Shown, ShownTarget};
use write_queue::{Job, Outcome, WriteQueue};

use crate::metrics::Metrics;
use fleet_actor::{Clock, Fence, FleetHandle};

/// Changes closer than this are looked at together. With the write itself it stays below half a second.
const TOGETHER: Duration = Duration::from_millis(200);
/// While a target changes by itself, or something waits, the fleet is looked at this often: not all that a status says
/// is published to proxies.
const LIVELY: Duration = Duration::from_secs(1);
/// Else this often. It asks the fleet, in this process, never the API server.
const CALM: Duration = Duration::from_secs(5);
/// Before the fence is asked again.
const FENCED: Duration = Duration::from_millis(500);
/// Longest time that one write may take; the rest of the lease, if that is shorter.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the writer works with.
#[derive(Clone)]
pub struct Writer {
    /// Speaks to the API server.
    pub client: Client,
    /// May we still write.
    pub fence: Fence,
    /// What should be shown.
    pub fleet: FleetHandle,
    /// What is shown.
    pub shown: Shown,
    /// The clock of the fleet.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
}

impl Writer {
    /// Writes until the fleet has ended, or the future is dropped; writes under way end with it.
    pub async fn run(self) {
        let mut published = self.fleet.view();
        let mut shown = self.shown.changes();
        let mut write_queue = WriteQueue::default();
        let mut writes = JoinSet::new();
        let mut look_at = self.clock.now();
        loop {
            let fenced = self.hand_out(&mut write_queue, &mut writes);
            let turn = if fenced {
                Some(self.clock.now() + FENCED)
            } else {
                write_queue.poll_timeout(self.clock.now())
            };
            let wake = turn.map_or(look_at, |turn| turn.min(look_at));
            let together = || self.clock.now() + TOGETHER;
            tokio::select! {
                changed = published.changed() => match changed {
                    Ok(()) => look_at = look_at.min(together()),
                    Err(_) => return,
                },
                changed = shown.changed() => match changed {
                    Ok(()) => look_at = look_at.min(together()),
                    Err(_) => return,
                },
                Some(done) = writes.join_next() => {
                    // A write that panicked is a bug that the log has shown; its target is written at the next look.
                    if let Ok((id, outcome)) = done {
                        write_queue.done(&id, outcome, self.clock.now());
                    }
                }
                () = sleep_until(self.clock.instant(wake)) => {}
            }
            if self.clock.now() >= look_at {
                if !self.look(&mut write_queue).await {
                    return;
                }
                look_at = self.clock.now() + if write_queue.is_lively() { LIVELY } else { CALM };
            }
        }
    }

    /// Compares what should be shown with what is. False if the fleet has ended.
    async fn look(&self, write_queue: &mut WriteQueue) -> bool {
        let Ok(status) = self.fleet.status().await else {
            return false;
        };
        write_queue.look(
            &status.targets,
            &self.shown.list(),
            Timestamp::now(),
            self.clock.now(),
        );
        let waiting = i64::try_from(write_queue.waiting()).unwrap_or(i64::MAX);
        self.metrics.status_writes_waiting.set(waiting);
        true
    }

    /// Begins the writes whose turn it is. True if the fence forbids it.
    fn hand_out(
        &self,
        write_queue: &mut WriteQueue,
        writes: &mut JoinSet<(protocol::TargetId, Outcome)>,
    ) -> bool {
        loop {
            let now = self.clock.now();
            let Some(budget) = self.fence.write_budget() else {
                return write_queue.waiting() > 0;
            };
            let Some(job) = write_queue.poll(now) else {
                return false;
            };
            let writer = self.clone();
            writes.spawn(async move { writer.write(job, budget.min(WRITE_TIMEOUT)).await });
        }
    }

    async fn write(self, job: Job, limit: Duration) -> (protocol::TargetId, Outcome) {
        let Job {
            target,
            status,
            tries,
        } = job;
        let id = target.id.clone();
        let result = match timeout(limit, write::apply(&self.client, &target, &status)).await {
            Ok(result) => result,
            Err(_) => Err(write::Error::Late),
        };
        let outcome = match result {
            Ok(written) => Outcome::Written(Arc::new(written)),
            Err(error) => {
                if tries == 0 && !error.is_gone() {
                    warn!(event = "status_not_written", target = %id, "{id}: its status cannot be written: {error}");
                } else {
                    debug!(target = %id, tries, "{id}: its status cannot be written: {error}");
                }
                Outcome::Failed
            }
        };
        self.metrics
            .status_written(matches!(outcome, Outcome::Written(_)));
        (id, outcome)
    }
}
