//! What a client is told when its request is refused: HTTP status or grpc-status, `retry-after`, problem+json.

use std::time::Duration;

use protocol::Problem;

use crate::wire;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It was held for as long as it may be.
    Timeout,
    /// The target holds as many requests as it may.
    TargetRequests,
    /// The target's held requests weigh as much as they may.
    TargetBytes,
    /// This Envoy holds as many requests as it may.
    EnvoyRequests,
    /// This Envoy's held requests weigh as much as they may.
    EnvoyBytes,
    /// The target's requests come by more clusters than a gate keeps apart.
    Clusters,
    /// The target could not start.
    Failed,
    /// A probe or crawler asked a target that is not ready.
    Ignored,
    /// The control plane is away and the target's policy is to refuse.
    ControlPlaneLost,
    /// No snapshot came in time and the policy is to refuse.
    NoSnapshot,
    /// The route leads to the control plane itself.
    ControlPlaneRoute,
}

impl Refusal {
    /// Every reason, in the order of their metrics.
    pub const ALL: [Self; 11] = [
        Self::Timeout,
        Self::TargetRequests,
        Self::TargetBytes,
        Self::EnvoyRequests,
        Self::EnvoyBytes,
        Self::Clusters,
        Self::Failed,
        Self::Ignored,
        Self::ControlPlaneLost,
        Self::NoSnapshot,
        Self::ControlPlaneRoute,
    ];

    /// As it stands in metrics and in the problem's type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "hold_timeout",
            Self::TargetRequests => "target_requests",
            Self::TargetBytes => "target_bytes",
            Self::EnvoyRequests => "envoy_requests",
            Self::EnvoyBytes => "envoy_bytes",
            Self::Clusters => "clusters",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
            Self::ControlPlaneLost => "control_plane_lost",
            Self::NoSnapshot => "no_snapshot",
            Self::ControlPlaneRoute => "control_plane_route",
        }
    }

    /// True if it says that a bound was reached.
    pub fn is_bound(self) -> bool {
        matches!(
            self,
            Self::TargetRequests
                | Self::TargetBytes
                | Self::EnvoyRequests
                | Self::EnvoyBytes
                | Self::Clusters
        )
    }

    fn title(self) -> &'static str {
        match self {
            Self::Timeout => "The workload did not become ready in time",
            Self::TargetRequests | Self::TargetBytes => "Too many requests are waiting for this workload",
            Self::EnvoyRequests | Self::EnvoyBytes => "Too many requests are waiting in this proxy",
            Self::Clusters => "Too many clusters lead to this workload",
            Self::Failed => "The workload cannot start",
            Self::Ignored => "The workload is not ready",
            Self::ControlPlaneLost | Self::NoSnapshot => "The control plane cannot be reached",
            Self::ControlPlaneRoute => "Not found",
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Timeout => 504,
            Self::ControlPlaneRoute => 404,
            _ => 503,
        }
    }

    /// <https://grpc.io/docs/guides/status-codes/>: 4 DEADLINE_EXCEEDED, 8 RESOURCE_EXHAUSTED, 12 UNIMPLEMENTED, 14 UNAVAILABLE.
    fn grpc_status(self) -> u32 {
        match self {
            Self::Timeout => 4,
            Self::TargetRequests
            | Self::TargetBytes
            | Self::EnvoyRequests
            | Self::EnvoyBytes
            | Self::Clusters => 8,
            Self::ControlPlaneRoute => 12,
            _ => 14,
        }
    }
}

/// A refusal in the client's own terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Why.
    pub refusal: Refusal,
    /// HTTP status.
    pub status: u16,
    /// Set if the client speaks gRPC: a trailers-only answer with this status, in place of `status` and `body`.
    pub grpc_status: Option<u32>,
    /// Value of `retry-after`, in whole seconds, at least 1.
    pub retry_after: u64,
    /// What happened, for people; also the `grpc-message`.
    pub message: String,
    /// `application/problem+json`.
    pub body: Vec<u8>,
}

impl Reply {
    /// The reply to a refused request of `target`. `detail` adds what is known beyond the reason itself.
    pub(crate) fn new(
        refusal: Refusal,
        grpc: bool,
        target: Option<&str>,
        detail: Option<&str>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self::titled(refusal, refusal.title(), grpc, target, detail, retry_after)
    }

    /// The reply to a request whose time is up although its target is ready: `why` says what keeps it.
    pub(crate) fn unreached(grpc: bool, target: Option<&str>, why: &str) -> Self {
        let title = "The workload is ready, but this proxy does not reach it";
        Self::titled(Refusal::Timeout, title, grpc, target, Some(why), None)
    }

    fn titled(
        refusal: Refusal,
        title: &str,
        grpc: bool,
        target: Option<&str>,
        detail: Option<&str>,
        retry_after: Option<Duration>,
    ) -> Self {
        let message = match detail {
            Some(detail) => format!("{title}: {detail}"),
            None => title.to_owned(),
        };
        let problem = Problem {
            kind: format!("urn:holdfast:{}", refusal.name().replace('_', "-")),
            title: title.to_owned(),
            status: refusal.status(),
            detail: detail.map(str::to_owned),
            target: target.map(str::to_owned),
            field: None,
        };
        Self {
            refusal,
            status: refusal.status(),
            grpc_status: grpc.then(|| refusal.grpc_status()),
            retry_after: retry_after.map_or(1, |after| crate::units::millis(after).div_ceil(1_000).max(1)),
            message,
            body: wire::problem(&problem),
        }
    }
}
