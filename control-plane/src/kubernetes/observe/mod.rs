//! Reduces objects of the API to the few facts that a life is judged by. Pure: asks nobody, and knows no clock.

mod endpoints;
mod pods;
mod version;
mod workload;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

pub use endpoints::{Endpoint, Endpoints, Slice, endpoints_of};
pub use pods::{PodFacts, Unscheduled};
pub use version::Version;
pub use workload::{ReplicasAt, Workload};

use super::failure::{self, Failure};
use crate::life::Observed;

/// Who writes: the field manager of every write of ours.
pub const MANAGER: &str = "holdfast";

/// What is known of one target's workload.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The object; `None`: there is none.
    pub workload: Option<&'a Workload>,
    /// What its scale subresource said, for kinds whose object does not tell ([`Workload::replicas`] is `None`).
    pub scale: Option<u32>,
    /// Of its Service.
    pub endpoints: Endpoints,
    /// Why it cannot even be read or written, if so.
    pub trouble: Option<&'a Failure>,
    /// Replicas that we last wrote: while the workload has them, nobody else is said to have set them. API servers
    /// before 1.22 do not note who wrote through the scale subresource.
    pub ours: Option<u32>,
    /// Number of the last command carried out.
    pub command: u64,
}

/// What a life is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// For the life.
    pub observed: Observed,
    /// Why it cannot start, as in `observed`, with what kind of failure it is.
    pub failure: Option<Failure>,
    /// When it may look different although nothing changes: a grace time ends.
    pub look_again: Option<Timestamp>,
}

/// What is to be said of a workload whose Pods are `pods`, at `now` by the wall clock. `grace`: how long a Pod may be
/// unschedulable before that counts as a failure.
pub fn observed<'a>(
    known: Known<'_>,
    pods: impl IntoIterator<Item = &'a PodFacts>,
    now: Timestamp,
    grace: Duration,
) -> Seen {
    let replicas = known
        .workload
        .and_then(|workload| workload.replicas.or(known.scale))
        .unwrap_or(0);
    let pods: Vec<_> = pods.into_iter().collect();
    // A Pod whose endpoint is gone may still be on its way out.
    let there = pods.iter().filter(|pod| !pod.finished).count();
    let left = known.endpoints.left.max(u32::try_from(there).unwrap_or(u32::MAX));
    let verdict = match known.workload {
        // At zero nothing is meant to start.
        Some(workload) if replicas > 0 => failure::of_workload(workload, &pods, now, grace),
        _ => failure::Verdict::default(),
    };
    let failure = known.trouble.cloned().or(verdict.failure);
    let set_by = known
        .workload
        .filter(|_| known.ours != Some(replicas))
        .and_then(|workload| workload.set_by.clone());
    Seen {
        observed: Observed {
            command: known.command,
            replicas,
            ready: known.endpoints.ready,
            left,
            failure: failure.as_ref().map(|failure| failure.reason.clone()),
            set_by,
        },
        failure,
        look_again: verdict.look_again,
    }
}
