use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, Revision, TargetId};

/// Body of `POST /v1/report`: who is waiting and what is in use, for a whole Envoy. Answered with 204.
///
/// It states all there is, not what changed, so a lost report heals with the next. It is the wake-up call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who reports.
    pub proxy: Reporter,
    /// What every gate of this Envoy has applied. Absent until there is such a revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Revision>,
    /// Every target with something held, in flight, or a recent arrival. Absent means nothing held and nothing in flight.
    #[serde(default)]
    pub targets: BTreeMap<TargetId, Usage>,
    /// True in the last report of a proxy that ends well: it blocks nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// Who reports. For one `(id, incarnation)`, a report with a lower `(term, seq)` than one seen before is ignored.
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
