//! Bodies of `POST /v1/sync`: what changed after a revision.

use serde::{Deserialize, Serialize};

use crate::{Proxy, Revision, Target, TargetId};

/// Body of `POST /v1/sync`: "tell me what changed after `since`". A long poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// The proxy that asks. From its first sync a proxy is live and blocks every drain that it has not confirmed.
    pub proxy: Proxy,
    /// The newest revision the proxy has. Absent, of another instance, or too old: a full snapshot is the answer, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Revision>,
    /// Longest time to wait for something new, in ms. The control plane may answer sooner.
    #[serde(default)]
    pub wait_ms: u64,
    /// Version of the module that asks, such as `0.1.0`. Absent: older than this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// Answer of `POST /v1/sync`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncResponse {
    /// What the proxy has once it has taken this in.
    pub revision: Revision,
    /// True: `targets` is everything there is. False: `targets` and `removed` are what changed since the request's `since`.
    pub full: bool,
    /// New and changed targets.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Targets that are no longer there.
    #[serde(default)]
    pub removed: Vec<TargetId>,
    /// The proxy reports at least this often, in ms; after three of them without a word either side takes the other for lost.
    pub heartbeat_ms: u64,
    /// How long something that went silent goes on blocking sleeps (`proxyForgetAfter`), in ms.
    pub forget_after_ms: u64,
}
