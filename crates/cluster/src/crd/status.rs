//! The status of a ScaleTarget, field for field: its comments are for users, the schema and the reference are made from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most hosts, and most clusters, that a status lists: an object must not grow with the routes of its Service.
pub const MAX_KEYS: usize = 32;

/// Every condition there is, and when it holds. `Ready` is always there; the others only while they hold.
pub const CONDITIONS: &[(&str, &str)] = &[
    (
        "Ready",
        "`True` while requests pass. Else `False`, with the state as the reason: `Asleep` and `Waking` are no faults, `Failed` and `Invalid` are.",
    ),
    (
        "NeverMatched",
        "It is up, but no live proxy has matched a request to it since its match keys last changed, so it is not put to sleep: traffic may be passing by another way.",
    ),
    (
        "Unreached",
        "It is ready, but an Envoy does not reach it by one of its clusters, and holds the requests that would go there. The message says which, and what that Envoy saw; `GET /v1/targets/NAMESPACE/NAME` of the control plane lists more.",
    ),
    (
        "AmbiguousHost",
        "A host of its routes leads to other Services as well, so it is not taken as a key. Write it into `spec.match.hosts` if you mean it.",
    ),
    (
        "AmbiguousAuthority",
        "Its routes rewrite the host to different names on the way to its Service, so the confirm asks with the client's. Write one of them into `spec.confirm.authority` if the workload does not answer to that.",
    ),
    (
        "KeyConflict",
        "An older target has one of its hosts or clusters, and keeps it.",
    ),
    (
        "Contended",
        "Another manager keeps setting the replicas back that a wake has set. Wakes are tried less and less often.",
    ),
    (
        "WorkloadNotFound",
        "The object of `spec.workload` is not there, or its kind has no scale subresource.",
    ),
    (
        "TooManyKeys",
        "It has more than 1,000 hosts and clusters. The rest is left out, and its requests pass unseen.",
    ),
    (
        "ServiceNotFound",
        "The Service of `spec.service` is not there, or it has no such port.",
    ),
    (
        "Invalid",
        "The API server took the spec, but its fields cannot mean this together. What was wanted before goes on.",
    ),
];

/// What is seen of a ScaleTarget. Written by the active control plane only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleTargetStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where it is in its life: `Asleep`, `Waking`, `Ready`, `Draining`, `Stopping`, `Failed`; `Invalid` if its spec
    /// cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Replicas that the workload is set to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Endpoints of the Service that are ready and not terminating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_endpoints: Option<i32>,
    /// Deprecated: ask `GET /v1/targets` of the control plane. No longer written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<i64>,
    /// When, how fast and by whom it was last woken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_wake: Option<LastWake>,
    /// Why it last failed. It stays when the failure is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reason: Option<String>,
    /// Hosts that it is found by, yours and the derived ones; the first 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Envoy clusters that it is found by, yours and the derived ones; the first 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Hosts and clusters that are not listed; `GET /v1/targets/NAMESPACE/NAME` of the control plane lists all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_not_shown: Option<i32>,
    /// What a person should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The last wake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastWake {
    /// When it was woken.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// From then to the first ready endpoint, such as `1.234s`; absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// By whom: a request, a person, or the field manager that scaled the workload.
    pub by: String,
}

/// A condition, as everywhere in Kubernetes.
// Its time is text as the API server has it: it is compared and carried over, never computed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its name, such as `Ready`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 316))]
    pub kind: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Generation of the spec that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Since when its status is what it is.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, in one word for programs.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// Why, in a sentence for people.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Not known.
    Unknown,
}
