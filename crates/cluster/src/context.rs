//! What everything that works for one target in one leadership shares.

use std::time::Duration;

use kube::Client;

use super::index::Index;
use super::metrics::Metrics;
use super::pods::PodWatches;
use fleet_actor::{Fence, FleetHandle};

/// Shared by all reconcilers of one leadership.
#[derive(Clone)]
pub struct Context {
    /// Speaks to the API server.
    pub client: Client,
    /// What is known.
    pub index: Index,
    /// May we still write.
    pub fence: Fence,
    /// Told what is seen.
    pub fleet: FleetHandle,
    /// Opens watches of Pods.
    pub pods: PodWatches,
    /// How long a Pod may be unschedulable before that counts as a failure.
    pub unschedulable_grace: Duration,
    /// What is counted.
    pub metrics: Metrics,
}
