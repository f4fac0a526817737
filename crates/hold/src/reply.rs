//! Words the answer to a request that is refused: HTTP status or grpc-status, `retry-after`, problem+json.

use std::time::Duration;

use protocol::Problem;

use crate::Detail;

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
    /// While it was held its route became another's, or went away: only a new request gets a new route.
    RouteChanged,
}

impl Refusal {
    /// Every reason, in the order of their metrics.
    pub const ALL: [Self; 12] = [
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
        Self::RouteChanged,
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
            Self::RouteChanged => "route_changed",
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
            Self::RouteChanged => "The route has changed while the request was waiting: send it again",
        }
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Timeout => 504,
            Self::ControlPlaneRoute => 404,
            _ => 503,
        }
    }

    /// <https://grpc.io/docs/guides/status-codes/>: 4 DEADLINE_EXCEEDED, 8 RESOURCE_EXHAUSTED, 12 UNIMPLEMENTED, 14 UNAVAILABLE.
    pub fn grpc_status(self) -> u32 {
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
    /// What happened, for people; also what [`Reply::grpc_message`] says.
    pub message: String,
    /// `application/problem+json`.
    pub body: Vec<u8>,
}

/// What is known of the target of a refused request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About<'a> {
    /// Its name.
    pub(crate) target: Option<&'a str>,
    /// It is ready, and `reason` says why this proxy does not reach it.
    pub(crate) unreached: bool,
    /// Why it failed, in the words of the workload or the API server.
    pub(crate) reason: Option<&'a str>,
    /// Why it failed, as the control plane classed it.
    pub(crate) class: Option<&'a str>,
    /// When it is tried again.
    pub(crate) retry_after: Option<Duration>,
}

impl Reply {
    /// The reply to a refused request; `detail` says how much of what is known it tells.
    pub(crate) fn new(refusal: Refusal, grpc: bool, detail: Detail, about: &About<'_>) -> Self {
        let title = match about.unreached {
            true => "The workload is ready, but this proxy does not reach it",
            false => refusal.title(),
        };
        let (title, target, detail) = match detail {
            Detail::Full => (title, about.target, about.reason),
            Detail::Class if refusal == Refusal::Failed => (title, None, Some(known(about.class))),
            Detail::Class => (title, None, None),
            Detail::None => ("", None, None),
        };
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
        let retry_after = about.retry_after;
        Self {
            refusal,
            status: refusal.status(),
            grpc_status: grpc.then(|| refusal.grpc_status()),
            retry_after: retry_after.map_or(1, |after| protocol::millis(after).div_ceil(1_000).max(1)),
            message,
            body: protocol::write_json(&problem),
        }
    }
}

impl Reply {
    /// The message as a header may have it: other bytes than printable ASCII, and `%`, as `%` and two digits.
    pub fn grpc_message(&self) -> String {
        let mut out = String::with_capacity(self.message.len());
        for byte in self.message.bytes() {
            match byte {
                b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
                _ => {
                    out.push('%');
                    for digit in [byte >> 4, byte & 15] {
                        let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                        out.push(digit.to_ascii_uppercase());
                    }
                }
            }
        }
        out
    }
}

/// The classes that clients may be told. What else the wire says is a later version's, or no class at all.
fn known(class: Option<&str>) -> &'static str {
    const CLASSES: [&str; 12] = [
        "image",
        "crash",
        "command",
        "config",
        "quota",
        "unschedulable",
        "scale_refused",
        "forbidden",
        "not_found",
        "unreachable",
        "start_timeout",
        "progress",
    ];
    CLASSES
        .into_iter()
        .find(|known| Some(*known) == class)
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const SECRET: &str = "FATAL: postgres://app:s3cret@db/prod";

    fn all(detail: Detail, class: Option<&str>) -> impl Iterator<Item = (Reply, String)> {
        Refusal::ALL
            .into_iter()
            .flat_map(|refusal| [(refusal, false), (refusal, true)])
            .map(move |(refusal, grpc)| {
                let about = About {
                    target: Some("shop/web"),
                    unreached: refusal == Refusal::Timeout,
                    reason: Some(SECRET),
                    class,
                    retry_after: None,
                };
                let reply = Reply::new(refusal, grpc, detail, &about);
                let text = format!(
                    "{} {}",
                    reply.message,
                    String::from_utf8(reply.body.clone()).unwrap()
                );
                (reply, text)
            })
    }

    #[test]
    fn no_refusal_gives_away_names_or_words_of_workloads() {
        for detail in [Detail::Class, Detail::None] {
            for class in [None, Some("crash"), Some(SECRET), Some("shop/web")] {
                for (reply, text) in all(detail, class) {
                    assert!(
                        !text.contains("s3cret") && !text.contains("shop"),
                        "{:?} must not say {text}",
                        reply.refusal
                    );
                }
            }
        }
    }

    #[test]
    fn each_refusal_has_its_status() {
        use Refusal::*;
        for refusal in Refusal::ALL {
            let (status, grpc_status) = match refusal {
                Timeout => (504, 4),
                TargetRequests | TargetBytes | EnvoyRequests | EnvoyBytes | Clusters => (503, 8),
                ControlPlaneRoute => (404, 12),
                Failed | Ignored | ControlPlaneLost | NoSnapshot | RouteChanged => (503, 14),
            };
            assert_eq!(
                (refusal.status(), refusal.grpc_status()),
                (status, grpc_status),
                "{refusal:?}"
            );
            assert_eq!(refusal.is_bound(), grpc_status == 8, "{refusal:?}");
        }
    }

    #[test]
    fn a_failure_is_classed() {
        for (class, told) in [
            (Some("crash"), "crash"),
            (Some("later"), "other"),
            (None, "other"),
        ] {
            let (reply, text) = all(Detail::Class, class)
                .find(|(reply, _)| reply.refusal == Refusal::Failed)
                .expect("there is one");
            assert_eq!(reply.message, format!("The workload cannot start: {told}"));
            assert!(text.contains(&format!(r#""detail":"{told}""#)), "{text}");
        }
    }

    #[test]
    fn a_message_is_a_header_value_whatever_it_says() {
        let about = About {
            reason: Some("100 %\r\n\u{e4}~"),
            ..About::default()
        };
        let reply = Reply::new(Refusal::Failed, true, Detail::Full, &about);
        assert_eq!(
            reply.grpc_message(),
            "The workload cannot start: 100 %25%0D%0A%C3%A4~"
        );
    }

    #[test]
    fn all_is_told_where_that_is_wanted() {
        for (reply, text) in all(Detail::Full, Some("crash")) {
            let is_told = text.contains(SECRET) && text.contains(r#""target":"shop/web""#);
            assert!(is_told, "{:?} must say it: {text}", reply.refusal);
        }
    }

    #[test]
    fn status_and_type_alone_are_told_where_nothing_is_wanted() {
        for (reply, _) in all(Detail::None, Some("crash")) {
            let kind = format!("urn:holdfast:{}", reply.refusal.name().replace('_', "-"));
            let body = format!(r#"{{"type":"{kind}","title":"","status":{}}}"#, reply.status);
            assert_eq!(String::from_utf8(reply.body).unwrap(), body);
            assert_eq!(reply.message, "");
        }
    }
}
