//! Reduces a Pod to what it tells of its workload.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::failure::{self, Failure, Unscheduled};

/// One Pod, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Another one under the same name has another.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Which template of the workload it was made from: its owner and its hash.
    pub template: (String, String),
    /// Being deleted.
    pub terminating: bool,
    /// Succeeded or Failed: its containers have ended and will not be started again.
    pub finished: bool,
    /// Why a container of it cannot start.
    pub failure: Option<Failure>,
    /// That no node takes it, if so.
    pub unscheduled: Option<Unscheduled>,
}

impl PodFacts {
    /// What matters of `pod`.
    pub fn reduce(pod: &Pod) -> Self {
        let owner = pod
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true));
        let hash = ["pod-template-hash", "controller-revision-hash"]
            .iter()
            .find_map(|label| pod.labels().get(*label));
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        Self {
            uid: pod.uid().unwrap_or_default(),
            name: pod.name_any(),
            created: pod.creation_timestamp().map(|time| time.0),
            template: (
                owner.map(|owner| owner.uid.clone()).unwrap_or_default(),
                hash.cloned().unwrap_or_default(),
            ),
            terminating: pod.metadata.deletion_timestamp.is_some(),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            failure: failure::of_containers(pod),
            unscheduled: failure::of_scheduling(pod),
        }
    }
}
