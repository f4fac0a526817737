//! Writes Events on ScaleTargets: what woke them and how long it took, that they were put to sleep, what was refused or
//! failed and why.
//!
//! What an event tells is decided in `told`, how much may be told in `limits`; both are pure. It asks the fence before each
//! write and delays no other task: what cannot be written is left out and counted.

mod limits;
mod told;
mod write;

#[cfg(test)]
mod tests;

use std::time::Duration;

use kube::Client;
use tokio::time::timeout;
use tracing::{debug, warn};

use limits::Limits;
use told::{History, Told};
use write::EventRecorder;

use super::index::Index;
use crate::metrics::Metrics;
use fleet::time::Time;
use fleet_actor::{Clock, Fence, FleetEvents, FleetHandle};

/// Longest time that one write may take; the rest of the lease, if that is shorter. Meanwhile events wait in the fleet's
/// queue, which is bounded.
const PATIENCE: Duration = Duration::from_secs(2);
/// Documents that change within it are looked at together.
const TOGETHER: Duration = Duration::from_millis(500);

/// What the writer works with.
pub struct Writer {
    /// Speaks to the API server.
    pub client: Client,
    /// May we still write.
    pub fence: Fence,
    /// What happens to targets.
    pub fleet: FleetHandle,
    /// Their objects.
    pub index: Index,
    /// The clock of the fleet.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// Name of this replica.
    pub identity: String,
}

impl Writer {
    /// Writes until the fleet has ended, or the future is dropped.
    pub async fn run(self) {
        // Asked for at once: nothing that happens from now on is missed.
        let Ok(events) = self.fleet.events() else {
            return;
        };
        let writer = EventWriter {
            recorder: EventRecorder::new(self.client.clone(), &self.identity),
            writer: self,
            history: History::default(),
            limits: Limits::default(),
            complained: false,
        };
        writer.run(events).await;
    }
}

struct EventWriter {
    writer: Writer,
    history: History,
    limits: Limits,
    recorder: EventRecorder,
    complained: bool,
}

impl EventWriter {
    async fn run(mut self, mut events: FleetEvents) {
        let mut changes = self.writer.index.changes();
        changes.mark_changed();
        let mut look_at: Option<Time> = None;
        loop {
            let look = async {
                match look_at {
                    Some(at) => tokio::time::sleep_until(self.writer.clock.instant(at)).await,
                    None => std::future::pending().await,
                }
            };
            let told: Vec<Told> = tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.history.told(event).into_iter().collect(),
                    None => return,
                },
                changed = changes.changed(), if look_at.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    look_at = Some(self.writer.clock.now() + TOGETHER);
                    continue;
                }
                () = look => {
                    look_at = None;
                    changes.mark_unchanged();
                    self.history.invalid(self.writer.index.invalid())
                }
            };
            for told in told {
                let outcome = self.tell(told).await;
                self.writer.metrics.event(outcome);
            }
        }
    }

    /// Writes one, if it may be written. Says what became of it.
    async fn tell(&mut self, told: Told) -> &'static str {
        let Some(object) = self.writer.index.object(&told.target) else {
            return "gone";
        };
        if !self.limits.take(&told.target, self.writer.clock.now()) {
            return "limited";
        }
        let Some(budget) = self.writer.fence.write_budget() else {
            return "fenced";
        };
        let writing = self.recorder.write(&told, &object.uid);
        match timeout(budget.min(PATIENCE), writing).await {
            Ok(Ok(())) => {
                self.complained = false;
                "written"
            }
            Ok(Err(e)) => {
                // Once: an account that may not write Events may never.
                if std::mem::replace(&mut self.complained, true) {
                    debug!("an Event cannot be written: {e}");
                } else {
                    warn!("an Event on {} cannot be written: {e}", told.target);
                }
                "failed"
            }
            Err(_) => "failed",
        }
    }
}
