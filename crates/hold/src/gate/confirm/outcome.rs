//! What came of a question that a gate sent through a cluster, as far as Envoy tells.

use std::borrow::Cow;
use std::time::Duration;

use crate::gate::counts::Tally;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmOutcome {
    /// Envoy knows no such cluster (any more), and said so at once.
    NoCluster,
    /// Envoy had no endpoint to send it to, and said so at once.
    NoEndpoint,
    /// No process accepted the connection: Envoy was refused, or has given up connecting.
    Refused,
    /// A process accepted the connection and closed or reset it; or an answer began and did not end; or the cluster was changed
    /// meanwhile. Envoy does not tell these apart.
    Cut,
    /// One of these two: what Envoy says in the upstream's place to a HEAD has no text.
    Failed,
    /// No answer within `confirm.timeout`.
    NoAnswer,
    /// The health service says that it is up and does not serve.
    NotServing,
    /// The upstream answered (`x-envoy-upstream-service-time` is there), with this HTTP status and this grpc-status.
    Answered {
        /// HTTP status.
        status: u16,
        /// For a question in gRPC.
        grpc_status: Option<u32>,
    },
}

impl ConfirmOutcome {
    /// What Envoy says in the upstream's place: its status and its text, which is the body or the `grpc-message`.
    pub fn of_envoy(status: u16, text: &[u8]) -> Self {
        let says = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
        // The texts of its router and of `Http::Utility::resetReasonToString`.
        if status == 504 || says(b"request timeout") {
            Self::NoAnswer
        } else if says(b"no healthy upstream") {
            Self::NoEndpoint
        } else if says(b"TLS_error") {
            // A process accepted the connection, and they did not agree. Envoy says so before 1.38.1, or if its runtime has it say so.
            Self::Cut
        } else if says(b"connection failure") || says(b"connection timeout") {
            Self::Refused
        } else if status == 503 && text.is_empty() {
            Self::Failed
        } else {
            Self::Cut
        }
    }

    /// What the body of an answer of `grpc.health.v1.Health/Check` says: [`ConfirmOutcome::NotServing`], or `None` for
    /// SERVING and for whatever cannot be read.
    pub fn of_health(body: &[u8]) -> Option<Self> {
        // One message: not compressed, its length, and in it `status`, field 1, a varint, left out if it is 0 (UNKNOWN).
        let (prefix, message) = body.split_first_chunk::<5>()?;
        let length = u32::try_from(message.len()).ok()?;
        let [0, size @ ..] = *prefix else { return None };
        if u32::from_be_bytes(size) != length {
            return None;
        }
        match message {
            [] | [8, 0 | 2..=127] => Some(Self::NotServing),
            _ => None,
        }
    }

    /// What was seen, for people.
    pub(in crate::gate) fn text(self, timeout: Duration) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NoCluster => "no cluster",
            Self::NoEndpoint => "no endpoint",
            Self::Refused | Self::Failed => "refused",
            Self::Cut => "closed",
            Self::NoAnswer => {
                let ms = protocol::millis(timeout);
                return Cow::Owned(if ms.is_multiple_of(1_000) {
                    format!("no answer in {} s", ms / 1_000)
                } else {
                    format!("no answer in {ms} ms")
                });
            }
            Self::NotServing => "NOT_SERVING",
            Self::Answered {
                grpc_status: Some(Self::UNAVAILABLE),
                ..
            } => "UNAVAILABLE",
            Self::Answered { status, .. } => return Cow::Owned(format!("status {status}")),
        })
    }

    const UNAVAILABLE: u32 = 14;

    /// The place in [`crate::Counts::confirms`].
    pub(in crate::gate) fn tally(self) -> Tally {
        match self {
            Self::NoCluster => Tally::NoCluster,
            Self::NoEndpoint => Tally::NoEndpoint,
            Self::Refused | Self::Failed => Tally::Unreachable,
            Self::Cut => Tally::Cut,
            Self::NoAnswer => Tally::NoAnswer,
            _ if self.is_doubtful() => Tally::NotThere,
            Self::NotServing | Self::Answered { .. } => Tally::Yes,
        }
    }

    /// True if it shows that a process is there, and not that it is the workload.
    pub(super) fn is_doubtful(self) -> bool {
        match self {
            Self::Cut | Self::NoAnswer | Self::NotServing => true,
            // A sidecar whose application is not there says so by these.
            Self::Answered { status, grpc_status } => {
                matches!(status, 502..=504) || grpc_status == Some(Self::UNAVAILABLE)
            }
            Self::NoCluster | Self::NoEndpoint | Self::Refused | Self::Failed => false,
        }
    }
}
