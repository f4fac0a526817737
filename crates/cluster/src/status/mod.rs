//! Writes the status of ScaleTargets: what differs from what the API server has, and nothing else.
//!
//! The fleet tells which targets changed, and so does the watch of the ScaleTargets; only these are compared. What a status
//! should be is decided in `desired`, whose turn it is in `write_queue`; both are pure. Only the writer here speaks to the API
//! server. It runs in the active replica, and asks the fence before every write. While nothing changes it does nothing.

mod desired;
mod shown;
mod write;
mod write_queue;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use protocol::TargetId;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, warn};

pub use shown::{Shown, ShownTarget};
use write_queue::{Job, Outcome, WriteQueue};

use crate::metrics::Metrics;
use fleet::time::Time;
use fleet_actor::{Clock, Fence, FleetHandle, Gone};

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
        // The end of the fleet is the end of the leadership: there is nothing more to be done.
        let Err(Gone) = self.write_all().await;
    }

    async fn write_all(self) -> Result<Infallible, Gone> {
        // Asked for first: nothing that changes from now on is missed.
        let mut wanted = self.fleet.changes()?;
        let mut shown = self.shown.changes();
        let mut write_queue = WriteQueue::default();
        let mut writes = JoinSet::new();
        let mut changed = self.shown.ids();
        loop {
            for id in changed {
                write_queue.changed(id, self.clock.now());
            }
            let turn = self.hand_out(&mut write_queue, &mut writes).await?;
            let waiting = i64::try_from(write_queue.waiting()).unwrap_or(i64::MAX);
            self.metrics.status_writes_waiting.set(waiting);
            let turn = async {
                match turn {
                    Some(turn) => sleep_until(self.clock.instant(turn)).await,
                    None => std::future::pending().await,
                }
            };
            changed = tokio::select! {
                changed = self.changed(&mut wanted) => changed?,
                changed = self.changed(&mut shown) => changed?,
                Some(done) = writes.join_next() => {
                    // One that panicked is a bug that the log has shown: its target is left to the next leadership.
                    if let Ok((id, outcome)) = done {
                        write_queue.done(id, outcome, self.clock.now());
                    }
                    Vec::new()
                }
                () = turn => Vec::new(),
            };
        }
    }

    /// Waits for targets that have changed: all of them if some changes were missed.
    async fn changed(&self, changes: &mut broadcast::Receiver<TargetId>) -> Result<Vec<TargetId>, Gone> {
        match changes.recv().await {
            Ok(id) => Ok(vec![id]),
            Err(RecvError::Lagged(_)) => Ok(self.shown.ids()),
            Err(RecvError::Closed) => Err(Gone),
        }
    }

    /// Begins the writes whose turn it is. Returns when the next turn is; `None`: not before something happens.
    async fn hand_out(
        &self,
        write_queue: &mut WriteQueue,
        writes: &mut JoinSet<(TargetId, Outcome)>,
    ) -> Result<Option<Time>, Gone> {
        loop {
            let now = self.clock.now();
            if self.fence.write_budget().is_none() {
                return Ok(write_queue.poll_timeout(now).map(|turn| turn.max(now + FENCED)));
            }
            let Some(id) = write_queue.poll(now) else {
                return Ok(write_queue.poll_timeout(now));
            };
            let seen = self.fleet.target(id.clone()).await?;
            let (shown, now) = (self.shown.find(&id), self.clock.now());
            if let Some(job) = write_queue.compare(&id, seen.as_ref(), shown, Timestamp::now(), now) {
                writes.spawn(self.clone().write(job));
            }
        }
    }

    async fn write(self, job: Job) -> (TargetId, Outcome) {
        let Job {
            target,
            status,
            tries,
        } = job;
        let id = target.id.clone();
        let result = match self.fence.write_budget() {
            Some(budget) => {
                let writing = write::apply(&self.client, &target, &status);
                let result = timeout(budget.min(WRITE_TIMEOUT), writing).await;
                result.unwrap_or(Err(write::Error::Late))
            }
            None => Err(write::Error::Late),
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
