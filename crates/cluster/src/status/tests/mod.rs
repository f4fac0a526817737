//! What a status should be, and whose turn it is.

mod desired;
mod shown;
mod write_queue;
mod writer;

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use protocol::TargetId;

use super::ShownTarget;
use crate::crd::ScaleTargetStatus;
use crate::observe::Version;
use fleet::{Condition, TargetStatus, UnreachedBy};

/// What the API server has of a target without a status.
fn mk_shown(name: &str) -> ShownTarget {
    ShownTarget {
        id: TargetId::new(format!("shop/{name}")),
        uid: format!("uid-{name}"),
        version: Version::new("1"),
        generation: 3,
        invalid: None,
        status: None,
    }
}

/// The same with a status, at a later version.
fn with_status(shown: &ShownTarget, version: u64, status: &ScaleTargetStatus) -> Arc<ShownTarget> {
    Arc::new(ShownTarget {
        version: Version::new(version.to_string()),
        status: Some(status.clone()),
        ..shown.clone()
    })
}

/// What the fleet knows of a target.
fn mk_seen(name: &str, state: &'static str) -> TargetStatus {
    TargetStatus {
        id: TargetId::new(format!("shop/{name}")),
        state,
        since_ms: 0,
        reason_class: None,
        reason: None,
        retry_in_ms: None,
        epoch: 1,
        replicas: 1,
        ready_endpoints: 1,
        held: 0,
        in_flight: 0,
        idle_ms: None,
        last_wake: None,
        hosts: vec!["web.shop".to_owned()],
        clusters: Vec::new(),
        unreached: Vec::new(),
        unreached_clusters: 0,
        conditions: Vec::new(),
    }
}

fn mk_unreached(saw: &str, for_ms: u64) -> UnreachedBy {
    UnreachedBy {
        proxy: "edge-1".to_owned(),
        incarnation: "i".to_owned(),
        cluster: "web".to_owned(),
        saw: saw.to_owned(),
        for_ms,
    }
}

fn mk_condition(kind: &'static str, message: &'static str) -> Condition {
    Condition {
        kind,
        message: message.into(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000_000 + second).unwrap()
}
