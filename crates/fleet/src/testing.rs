//! What tests of fleets begin with. Only for tests, of other crates too: feature `testing`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::cell::Cell;
use std::time::Duration;

use protocol::{Confirm, Hold, Ignore, Incarnation, LossPolicy, Proxy, Release, State, Target, TargetId};

use crate::config::{Needs, ScaleTarget, TargetsFile};
use crate::fleet::Settings;
use crate::fleet::proxies::Limits;
use crate::lifecycle::Policy;
use crate::time::Time;

thread_local! {
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

/// Targets whose status was put together in this thread.
pub fn looked_at() -> usize {
    LOOKED_AT.get()
}

/// The status of one more target is put together.
pub(crate) fn look_at() {
    LOOKED_AT.set(LOOKED_AT.get() + 1);
}

/// Settings of a fleet under test: room for four proxies, a heartbeat of 5 s.
pub fn mk_settings() -> Settings {
    Settings {
        instance: "me".to_owned(),
        started: Time::default(),
        lease: Duration::from_secs(15),
        policy: Policy::default(),
        limits: Limits {
            heartbeat: Duration::from_secs(5),
            forget_after: Duration::from_secs(600),
            max: 4,
        },
        sleeps_when_idle: true,
        arrival_jitter: Duration::from_millis(100),
        seed: 1,
        workloads_end_with_us: true,
    }
}

/// `default/NAME`.
pub fn id(name: &str) -> TargetId {
    TargetId::new(format!("default/{name}"))
}

/// A proxy in its first life.
pub fn mk_proxy(id: &str) -> Proxy {
    Proxy {
        id: id.to_owned(),
        incarnation: Incarnation::new("one"),
        term: 1,
    }
}

/// A target that has one host. `rest`: further lines of its `spec`.
pub fn mk_spec(name: &str, host: &str, rest: &str) -> ScaleTarget {
    let rest = if rest.is_empty() {
        "idle: {after: 60s}"
    } else {
        rest
    };
    let text = format!(
        "apiVersion: holdfast.dev/v1alpha1\nkind: ScaleTarget\nmetadata: {{name: {name}}}\nspec:\n  match: {{hosts: [{host}]}}\n  {rest}"
    );
    let file = TargetsFile {
        path: "test".into(),
        needs: Needs::Nothing,
    };
    file.parse(&text).unwrap().remove(0)
}

/// A target as it is published, asleep and without keys.
pub fn mk_wire_target(id: &str) -> Target {
    Target {
        id: TargetId::new(id),
        state: State::Asleep,
        reason: None,
        reason_class: None,
        retry_after_ms: None,
        epoch: 0,
        found: false,
        ready_endpoints: 0,
        hosts: Vec::new(),
        clusters: Vec::new(),
        leaving: Vec::new(),
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
