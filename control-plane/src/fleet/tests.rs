use protocol::{Confirm, Hold, Ignore, LossPolicy, Release, State, Target, TargetId};

pub(crate) fn mk_wire_target(id: &str) -> Target {
    Target {
        id: TargetId::new(id),
        state: State::Asleep,
        reason: None,
        retry_after_ms: None,
        epoch: 0,
        ready_endpoints: 0,
        hosts: Vec::new(),
        clusters: Vec::new(),
        hold: Hold {
            timeout_ms: 60_000,
            max_requests: 1,
            max_bytes: 1,
            unknown_body: 1,
            on_control_plane_loss: LossPolicy::Hold,
        },
        release: Release {
            concurrency_per_endpoint: 1,
        },
        confirm: Confirm::Off { settle_ms: 0 },
        ignore: Ignore::default(),
    }
}
