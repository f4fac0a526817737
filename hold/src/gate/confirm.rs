//! Does this worker's cluster reach the workload? Asked with one small request before the first release.

use std::fmt;
use std::time::Duration;

use protocol::Confirm;

use crate::Time;
use crate::gate::TargetIx;

/// What a gate knows of one cluster in this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing.
    Unasked,
    /// A question is on its way.
    Asking { token: ConfirmToken, tries: Tries },
    /// The answer was no; ask again then.
    Waiting { again: Time, tries: Tries },
    /// It does.
    Yes,
}

/// Noes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tries {
    first: Time,
    no_endpoint: u32,
    unreachable: u32,
    warned: bool,
}

impl Tries {
    pub(super) fn new(now: Time) -> Self {
        Self {
            first: now,
            no_endpoint: 0,
            unreachable: 0,
            warned: false,
        }
    }
}

/// Names one question and the target that it was asked for, so that a late answer is known for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfirmToken {
    n: u64,
    target: TargetIx,
}

impl ConfirmToken {
    pub(super) fn new(n: u64, target: TargetIx) -> Self {
        Self { n, target }
    }

    pub(super) fn target(self) -> TargetIx {
        self.target
    }
}

/// A question to send through a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmCall {
    /// To be given back with the outcome.
    pub token: ConfirmToken,
    /// Envoy's name of the cluster.
    pub cluster: Vec<u8>,
    /// `:authority` of the first held request.
    pub authority: Vec<u8>,
    /// Path of a GET, or `None` for `grpc.health.v1.Health/Check`.
    pub path: Option<String>,
    /// Of this attempt.
    pub timeout: Duration,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Envoy knows no such cluster (any more), and said so at once.
    NoCluster,
    /// Envoy had no endpoint to send it to, and said so at once.
    NoEndpoint,
    /// Envoy answered in the upstream's place, or nobody did: refused, reset, timed out.
    Unreachable,
    /// The upstream answered (`x-envoy-upstream-service-time` is there), with this HTTP status and this grpc-status.
    Answered {
        /// HTTP status.
        status: u16,
        /// For a question in gRPC.
        grpc_status: Option<u32>,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCluster => f.write_str("Envoy has no such cluster"),
            Self::NoEndpoint => f.write_str("it has no endpoint"),
            Self::Unreachable => f.write_str("nobody answers"),
            Self::Answered {
                grpc_status: Some(status),
                ..
            } => write!(f, "it answers with grpc-status {status}"),
            Self::Answered { status, .. } => write!(f, "it answers {status}"),
        }
    }
}

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    No { check: Check, warn: bool },
}

/// Gaps after the first, second, ... unreachable answer. Envoy's outlier detection ejects a host for 30 s after five
/// such answers in a row (its default), so there are four in the first five seconds; see ARCHITECTURE.md, confirm.
const UNREACHABLE_GAPS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
];
const UNREACHABLE_GAP_LATER: Duration = Duration::from_secs(5);

/// No host is touched when there is none to send to, so these may be quick.
const NO_ENDPOINT_GAP_MIN: Duration = Duration::from_millis(5);
const NO_ENDPOINT_GAP_MAX: Duration = Duration::from_millis(200);

pub(super) fn judge(now: Time, mut tries: Tries, outcome: Outcome, confirm: &Confirm) -> Verdict {
    let give_up = match confirm {
        Confirm::Http { give_up_ms, .. } | Confirm::Grpc { give_up_ms, .. } => {
            Duration::from_millis(*give_up_ms)
        }
        Confirm::Off { .. } => return Verdict::Yes,
    };
    let over = now.saturating_sub(tries.first) >= give_up;
    let gap = match outcome {
        // A sidecar whose application is not there says so by 502, 503, 504 or UNAVAILABLE: believed only for a while.
        Outcome::Answered {
            status: 502..=504, ..
        }
        | Outcome::Answered {
            grpc_status: Some(14),
            ..
        } if !over => unreachable_gap(&mut tries),
        Outcome::Answered { .. } => return Verdict::Yes,
        Outcome::Unreachable => unreachable_gap(&mut tries),
        Outcome::NoEndpoint | Outcome::NoCluster => {
            let gap = NO_ENDPOINT_GAP_MIN
                .saturating_mul(1 << tries.no_endpoint.min(10))
                .min(NO_ENDPOINT_GAP_MAX);
            tries.no_endpoint = tries.no_endpoint.saturating_add(1);
            gap
        }
    };
    let warn = over && !tries.warned;
    tries.warned |= warn;
    Verdict::No {
        check: Check::Waiting {
            again: now + gap,
            tries,
        },
        warn,
    }
}

fn unreachable_gap(tries: &mut Tries) -> Duration {
    let gap = UNREACHABLE_GAPS
        .get(tries.unreachable as usize)
        .copied()
        .unwrap_or(UNREACHABLE_GAP_LATER);
    tries.unreachable = tries.unreachable.saturating_add(1);
    gap
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const HTTP: Confirm = Confirm::Http {
        path: String::new(),
        authority: None,
        timeout_ms: 1_000,
        give_up_ms: 5_000,
    };

    fn check(outcome: Outcome, after: Duration, yes: bool) {
        let verdict = judge(after, Tries::new(Time::ZERO), outcome, &HTTP);
        assert_eq!(
            verdict == Verdict::Yes,
            yes,
            "{outcome:?} after {after:?}: {verdict:?}"
        );
    }

    fn answered(status: u16, grpc_status: Option<u32>) -> Outcome {
        Outcome::Answered { status, grpc_status }
    }

    #[test]
    fn any_answer_of_the_upstream_is_a_yes() {
        for status in [200, 301, 401, 404, 500, 501] {
            check(answered(status, None), Duration::ZERO, true);
        }
        check(answered(200, Some(12)), Duration::ZERO, true);
    }

    #[test]
    fn a_gateways_no_is_believed_for_a_while() {
        for status in [502, 503, 504] {
            check(answered(status, None), Duration::from_secs(4), false);
            check(answered(status, None), Duration::from_secs(5), true);
        }
        check(answered(200, Some(14)), Duration::from_secs(4), false);
        check(answered(200, Some(14)), Duration::from_secs(5), true);
    }

    #[test]
    fn an_answer_of_envoy_is_never_a_yes() {
        check(Outcome::Unreachable, Duration::from_secs(60), false);
        check(Outcome::NoEndpoint, Duration::from_secs(60), false);
    }

    #[test]
    fn four_unreachable_answers_fit_into_five_seconds() {
        let mut now = Time::ZERO;
        let mut tries = Tries::new(now);
        let mut answers = 0;
        while now < Duration::from_secs(5) {
            answers += 1;
            let Verdict::No {
                check: Check::Waiting { again, tries: next },
                ..
            } = judge(now, tries, Outcome::Unreachable, &HTTP)
            else {
                panic!("must wait")
            };
            assert!(again > now, "must not spin");
            (now, tries) = (again, next);
        }
        assert_eq!(answers, 4, "must stay below the five that eject a host");
    }

    #[test]
    fn a_silent_cluster_is_named_once() {
        let late = Duration::from_secs(6);
        let Verdict::No {
            check: Check::Waiting { tries, .. },
            warn: true,
        } = judge(late, Tries::new(Time::ZERO), Outcome::Unreachable, &HTTP)
        else {
            panic!("must warn")
        };
        assert!(matches!(
            judge(late, tries, Outcome::Unreachable, &HTTP),
            Verdict::No { warn: false, .. }
        ));
    }
}
