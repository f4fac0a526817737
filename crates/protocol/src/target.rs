//! What a proxy is told about one target.

use serde::{Deserialize, Serialize};

use crate::TargetId;

/// All that a proxy must know about one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Name; stable for the life of the target.
    pub id: TargetId,
    /// Where the target is in its life.
    pub state: State,
    /// Why it failed, for people. Set while `state` is [`State::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it failed, as one of a closed set of classes that give nothing away, such as `image` or `crash`: what clients
    /// may be told. Set while `state` is [`State::Failed`]; absent: an older control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_class: Option<String>,
    /// When a refused client should come back. Set while `state` is [`State::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Raised each time the target enters `ready` from anything but `draining`. What a worker has confirmed about one
    /// epoch says nothing about the next, even if it never saw the states in between.
    #[serde(default)]
    pub epoch: u64,
    /// True while it is in the readiness in which this control plane found it when it first saw it: it has not been away
    /// since. Only of such a target may a proxy that knows it as ready from another control plane believe that it has been
    /// up all along. Absent: it has been away, or the control plane is older and does not say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
    /// Ready endpoints, for the pace of the release.
    #[serde(default)]
    pub ready_endpoints: u32,
    /// Host keys, lower case, without port: exact, or `*.suffix`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Cluster keys: names of Envoy clusters; they win over hosts. `outbound|80|*|host` matches any subset.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Those of `clusters` that stay for a while only, because a route gave them and does so no more: an Envoy may still go by the old
    /// route, or the name may mean another workload by now. A request that was held by one of them is told to come again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<String>,
    /// Bounds of the hold.
    pub hold: Hold,
    /// Pace of the release.
    pub release: Release,
    /// How a worker makes sure that its cluster reaches the workload.
    pub confirm: Confirm,
    /// Requests that are not use.
    #[serde(default)]
    pub ignore: Ignore,
}

impl Target {
    /// True if it is found by any host or cluster.
    pub fn has_keys(&self) -> bool {
        !self.hosts.is_empty() || !self.clusters.is_empty()
    }

    /// True if it is found by the same hosts and clusters as `other`, and by any at all.
    pub fn has_same_keys(&self, other: &Self) -> bool {
        self.has_keys() && self.hosts == other.hosts && self.clusters == other.clusters
    }
}

/// The life of a target as a proxy sees it (`stopping` is published as `asleep`: both hold).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// At zero, or on its way there. Requests are held and wake it.
    Asleep,
    /// On its way up. Requests are held.
    Waking,
    /// Up. Requests pass once this worker has confirmed its cluster.
    Ready,
    /// About to be put to sleep. Requests are held; what is held or in flight turns it back.
    Draining,
    /// Could not start. Requests are refused with the reason.
    Failed,
    /// Left alone by its owner's wish: everything passes and nothing is counted.
    Suspended,
    /// A word that this version does not know: see [`Target::has_unknown_words`].
    #[serde(other)]
    Unknown,
}

/// Bounds of the hold. All are exact for each Envoy, over all its workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Longest time one request waits, in ms; the request's own `grpc-timeout` shortens it.
    pub timeout_ms: u64,
    /// Most requests held at once.
    pub max_requests: u32,
    /// Most bytes charged at once: about what Envoy keeps of the requests, their headers, and their bodies up to its buffer limit.
    pub max_bytes: u64,
    /// Charged for a body of unknown length, up to what Envoy buffers of one.
    pub unknown_body: u64,
    /// What happens to requests of a target that is not ready while the control plane is away.
    pub on_control_plane_loss: LossPolicy,
}

/// What happens to requests of a target that is not ready while the control plane is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossPolicy {
    /// Held until the deadline, in case it comes back.
    #[default]
    Hold,
    /// Let through unasked.
    Pass,
    /// Refused with 503 at once.
    Refuse,
    /// A word that this version does not know: see [`Target::has_unknown_words`].
    #[serde(other)]
    Unknown,
}

/// Pace of the release, so that a workload that has just started meets the herd a few at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// So many held requests an Envoy lets go at once, for each ready endpoint, and one more for each that is answered; as many again
    /// after a second in which its window stayed full. A pace and no bound: what never answers must not stop the line. At least 1, and
    /// each gate that holds lets one go at least.
    pub concurrency_per_endpoint: u32,
}

/// How a worker makes sure that its cluster reaches the workload before it releases anything to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Confirm {
    /// `HEAD path` through the request's own cluster, or `GET path` where that has failed.
    Http {
        /// Path and query of the request.
        path: String,
        /// `:authority` of the question. Absent: that of the first held request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
        /// After which a question counts as not answered, in ms. It stays open: a late answer is a yes.
        timeout_ms: u64,
        /// How long a workload that answers badly is taken for "not there", in ms, and after which a
        /// cluster that is not reached is warned of.
        give_up_ms: u64,
    },
    /// `grpc.health.v1.Health/Check` through the request's own cluster; UNIMPLEMENTED is a yes, NOT_SERVING is not.
    Grpc {
        /// As for `Http`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
        /// Of one attempt, in ms.
        timeout_ms: u64,
        /// As for `Http`.
        give_up_ms: u64,
    },
    /// For clusters that cannot be asked: wait a while instead.
    Off {
        /// From `ready` to the first release, in ms.
        settle_ms: u64,
    },
    /// A kind that this version does not know: see [`Target::has_unknown_words`].
    #[serde(other)]
    Unknown,
}

/// Requests that pass when the target is ready, are refused with 503 otherwise, and never count as use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignore {
    /// Exact paths, without query.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Prefixes of `user-agent`.
    #[serde(default)]
    pub user_agents: Vec<String>,
}

impl Target {
    /// True if a later version says something of it that this one does not understand. Its requests are held, whatever else is said:
    /// to pass them could send them to what is being stopped, to refuse them could be wrong a moment later.
    pub fn has_unknown_words(&self) -> bool {
        self.state == State::Unknown
            || self.hold.on_control_plane_loss == LossPolicy::Unknown
            || self.confirm == Confirm::Unknown
    }
}

impl Ignore {
    /// True if no request can match.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.user_agents.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::{SyncResponse, read_json};

    fn target(hosts: &[&str], clusters: &[&str]) -> Target {
        let response = include_bytes!("../tests/golden/sync-response-one.json");
        let mut response: SyncResponse = read_json(response).expect("must be read");
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Target {
            hosts: texts(hosts),
            clusters: texts(clusters),
            ..response.targets.remove(0)
        }
    }

    #[test]
    fn keys_are_hosts_and_clusters_and_none_are_the_same_as_none() {
        let keys: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["a"], &[]),
            (&[], &["a"]),
            (&["a"], &["a"]),
            (&["a", "b"], &["a"]),
        ];
        for (hosts, clusters) in keys {
            let one = target(hosts, clusters);
            let has_keys = !hosts.is_empty() || !clusters.is_empty();
            assert_eq!(one.has_keys(), has_keys, "{hosts:?} {clusters:?}");
            for (others, other_clusters) in keys {
                let other = target(others, other_clusters);
                let same = has_keys && (hosts, clusters) == (others, other_clusters);
                assert_eq!(
                    one.has_same_keys(&other),
                    same,
                    "{hosts:?} {clusters:?}, {others:?} {other_clusters:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_ignored_is_named_by_path_or_by_agent() {
        let some = || vec!["x".to_owned()];
        for (paths, user_agents, empty) in [
            (vec![], vec![], true),
            (some(), vec![], false),
            (vec![], some(), false),
            (some(), some(), false),
        ] {
            let ignore = Ignore { paths, user_agents };
            assert_eq!(ignore.is_empty(), empty, "{ignore:?}");
        }
    }
}
