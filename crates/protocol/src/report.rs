//! Body of `POST /v1/report`: what one Envoy holds and uses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, Revision, TargetId};

/// Body of `POST /v1/report`: what is held and what is in use, for a whole Envoy. Answered with 204.
///
/// It states all there is, not what changed, so a lost report heals with the next. It is the wake-up call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The proxy that reports.
    pub proxy: Reporter,
    /// What every gate of this Envoy has applied. Absent until there is such a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Revision>,
    /// Every target with something held, in flight, or a recent arrival. Absent means nothing held and nothing in flight.
    #[serde(default)]
    pub targets: BTreeMap<TargetId, Usage>,
    /// Clusters of targets that are ready for the control plane and that this Envoy cannot reach. At most
    /// [`Report::MAX_UNREACHED`], those that have waited longest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<Unreached>,
    /// True in the last report of a proxy that signs off: it no longer blocks any sleep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

impl Report {
    /// Longest list of [`Report::unreached`]: enough to tell a person where to look, whatever the number of targets.
    pub const MAX_UNREACHED: usize = 64;
}

/// One cluster that a confirm has not reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreached {
    /// The target that has the cluster.
    pub target: TargetId,
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// What this Envoy saw last, for people: `no endpoint`, `refused`, `no answer in 1 s`, `NOT_SERVING`.
    pub saw: String,
    /// Since the first such answer in this epoch, in ms.
    pub for_ms: u64,
}

/// The proxy that reports. For one `(id, incarnation)`, a report with a lower `(term, seq)` than one seen before is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporter {
    /// Envoy's node id.
    pub id: String,
    /// Tells two lives of the same node id apart.
    pub incarnation: Incarnation,
    /// Raised each time another VM becomes the relay.
    pub term: u64,
    /// Raised with each report of a term.
    pub seq: u64,
}

/// Use of one target by one Envoy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Requests held now.
    #[serde(default)]
    pub held: u32,
    /// Requests passed or resumed and not yet ended, streams and uploads included.
    #[serde(default)]
    pub in_flight: u32,
    /// Age of the last matched arrival in ms, refused ones included. Absent: this Envoy has seen none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
}
