//! What a replica does while it leads: it has a fleet, reconcilers, and the writers of statuses and Events.
//!
//! Each leadership begins with a fleet of its own, rebuilt from the index and from what the proxies report; nothing else
//! is kept but the proxies that the one before it knew. It ends the moment the lease does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::backend::Kubernetes;
use super::configuration::{Configuration, configured};
use super::context::Context;
use super::events;
use super::index::Index;
use super::known::KnownProxies;
use super::lease::Role;
use super::pods::PodWatches;
use super::status::{self, Shown};
use crate::metrics::Metrics;
use fleet::Settings;
use fleet::view::View;
use fleet_actor::active::ActiveFleet;
use fleet_actor::{Clock, Fence, FleetHandle, Gone, known, unix_ms};

/// What a leadership is made with.
pub struct Candidate {
    /// Whether we lead, and the fence of each leadership.
    pub role: watch::Receiver<Role>,
    /// The configuration; `None` until everything has been read.
    pub derived: watch::Receiver<Option<Arc<Configuration>>>,
    /// Settings of a fleet that starts now, with a name of its own.
    pub settings: Box<dyn Fn() -> Settings + Send>,
    /// The one clock of this process.
    pub clock: Clock,
    /// Set while we lead: the fleet that answers.
    pub active: ActiveFleet,
    /// Speaks to the API server.
    pub client: Client,
    /// What is known.
    pub index: Index,
    /// The ScaleTargets as they are shown.
    pub shown: Shown,
    /// Name of this replica.
    pub identity: String,
    /// Namespace and name of the Lease.
    pub lease: (String, String),
    /// Opens watches of Pods.
    pub pods: PodWatches,
    /// How long a Pod may be unschedulable.
    pub unschedulable_grace: Duration,
    /// What is counted of the work in the cluster.
    pub metrics: Metrics,
    /// What is counted of fleets.
    pub fleet_metrics: fleet_actor::Metrics,
    /// Cancelled when the control plane ends.
    pub end: CancellationToken,
}

/// Leads whenever the lease is ours, until `end` is cancelled or the election is over.
pub async fn run(mut candidate: Candidate) {
    let end = candidate.end.clone();
    loop {
        let leads = async {
            let role = candidate.role.wait_for(|role| role.fence().is_some()).await;
            role.ok().and_then(|role| role.fence().cloned())
        };
        let fence = tokio::select! {
            fence = leads => match fence {
                Some(fence) => fence,
                None => return,
            },
            () = end.cancelled() => return,
        };
        // Whatever comes next, even another leadership: it has a fence of its own.
        let mut role = candidate.role.clone();
        tokio::select! {
            _ = role.changed() => {}
            () = end.cancelled() => {}
            // It ends only when its fleet does, which nothing but this function ends.
            _ = candidate.lead(fence) => {}
        }
        candidate.active.leave();
    }
}

impl Candidate {
    /// Leads until the future is dropped: with it the fleet and all its reconcilers end.
    async fn lead(&mut self, fence: Fence) -> Result<(), Gone> {
        let (settings, clock) = ((self.settings)(), self.clock);
        let (client, index) = (self.client.clone(), self.index.clone());
        let of_backend = fence.clone();
        let (pods, metrics, unschedulable_grace) =
            (self.pods.clone(), self.metrics.clone(), self.unschedulable_grace);
        let mount = move |fleet: FleetHandle| {
            Kubernetes::new(Context {
                client,
                index,
                fence: of_backend,
                fleet,
                pods,
                unschedulable_grace,
                metrics,
            })
        };
        let ending = CancellationToken::new();
        let (fleet, actor) = fleet_actor::new(settings, clock, self.fleet_metrics.clone(), mount, ending);
        let _actor = AbortOnDropHandle::new(tokio::spawn(actor));
        let proxies = KnownProxies::new(
            self.client.clone(),
            self.lease.clone(),
            fence.clone(),
            fleet.clone(),
        );
        known::recall(&proxies, &fleet).await?;
        let kept = known::keep(
            proxies,
            fleet.clone(),
            self.fleet_metrics.clone(),
            CancellationToken::new(),
        );
        let _known = AbortOnDropHandle::new(tokio::spawn(kept));
        let _status = AbortOnDropHandle::new(tokio::spawn(self.status_writer(&fleet, fence.clone()).run()));
        let _events = AbortOnDropHandle::new(tokio::spawn(self.events_writer(&fleet, fence.clone()).run()));
        let mut known = BTreeSet::new();
        let mut answers = false;
        loop {
            let configuration = self.derived.borrow_and_update().clone();
            if let Some(configuration) = configuration {
                fleet
                    .configure(configured(&self.index, &configuration, &mut known))
                    .await?;
                if !answers {
                    // Everything has been read: no proxy need be told to come back.
                    fleet.view().wait_for(View::is_complete).await.map_err(|_| Gone)?;
                    info!(
                        event = "leading",
                        targets = known.len(),
                        unix_ms = unix_ms(),
                        "leading, {} targets",
                        known.len()
                    );
                    self.active.take(fleet.clone(), Some(fence.clone()));
                    answers = true;
                }
            }
            self.derived.changed().await.map_err(|_| Gone)?;
        }
    }

    fn events_writer(&self, fleet: &FleetHandle, fence: Fence) -> events::Writer {
        events::Writer {
            client: self.client.clone(),
            fence,
            fleet: fleet.clone(),
            index: self.index.clone(),
            clock: self.clock,
            metrics: self.metrics.clone(),
            identity: self.identity.clone(),
        }
    }

    fn status_writer(&self, fleet: &FleetHandle, fence: Fence) -> status::Writer {
        status::Writer {
            client: self.client.clone(),
            fence,
            fleet: fleet.clone(),
            shown: self.shown.clone(),
            clock: self.clock,
            metrics: self.metrics.clone(),
        }
    }
}
