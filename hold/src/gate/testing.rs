//! Shorthand for tests.

use protocol::{Confirm, Hold, Ignore, LossPolicy, Release, State, Target, TargetId};

/// An asleep target with generous bounds and no keys.
pub(crate) fn mk_target(id: &str) -> Target {
    Target {
        id: TargetId::new(id),
        state: State::Asleep,
        reason: None,
        reason_class: None,
        retry_after_ms: None,
        epoch: 0,
        ready_endpoints: 0,
        hosts: Vec::new(),
        clusters: vec![id.to_owned()],
        hold: Hold {
            timeout_ms: 60_000,
            max_requests: 1_000,
            max_bytes: 64 << 20,
            unknown_body: 64 << 10,
            on_control_plane_loss: LossPolicy::Hold,
        },
        release: Release {
            concurrency_per_endpoint: 100,
        },
        confirm: Confirm::Http {
            path: "/".to_owned(),
            authority: None,
            timeout_ms: 1_000,
            give_up_ms: 5_000,
        },
        ignore: Ignore::default(),
    }
}
