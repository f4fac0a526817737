//! Why a workload cannot start, in people's words: read from conditions of the workload and of its Pods.
//!
//! What it says reaches clients, so it is one line of bounded length, and repeats nothing that a container has said.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;

use super::observe::{PodFacts, Unscheduled, Workload};

/// Why a workload cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which kind of reason.
    pub kind: Kind,
    /// For people.
    pub reason: String,
}

/// Kinds of reasons, in the order in which they are told: where several apply, the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The API server does not know the kind, or the kind has no scale subresource.
    KindNotScalable,
    /// There is no such object.
    WorkloadNotFound,
    /// We may not read or write it, or the API server refuses what we write.
    Refused,
    /// No Pod can be created: a quota, an admission plugin.
    NoPods,
    /// An image cannot be pulled.
    Image,
    /// A container cannot be created.
    Create,
    /// A container ends again and again.
    CrashLoop,
    /// No node takes a Pod.
    Unschedulable,
    /// It made no progress in its `progressDeadlineSeconds`.
    Deadline,
}

/// What is to be said at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it cannot start, if it cannot.
    pub failure: Option<Failure>,
    /// When to look again although nothing has changed.
    pub look_again: Option<Timestamp>,
}

/// Why `workload` with these Pods cannot start.
pub fn of_workload(_workload: &Workload, _pods: &[&PodFacts], _now: Timestamp, _grace: Duration) -> Verdict {
    Verdict::default()
}

/// What its own conditions tell.
pub(super) fn of_conditions(_object: &DynamicObject) -> Option<Failure> {
    None
}

/// Why a container of `pod` cannot start.
pub(super) fn of_containers(_pod: &Pod) -> Option<Failure> {
    None
}

/// That no node takes `pod`.
pub(super) fn of_scheduling(_pod: &Pod) -> Option<Unscheduled> {
    None
}
