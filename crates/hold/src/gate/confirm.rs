//! Does this worker's cluster reach the workload? Asked with one small request before the first release.
//!
//! What each answer proves and what follows from it is one table in docs/confirm.md; [`judge`] is that
//! table. How often is asked is said by [`pace`] alone.

use std::borrow::Cow;
use std::time::Duration;

use protocol::Confirm;

use crate::Time;
use crate::gate::TargetIx;
use crate::gate::counts::Tally;

/// What a gate knows of one cluster in this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing.
    Unasked,
    /// A question is on its way.
    Asking {
        token: ConfirmToken,
        since: Time,
        tries: Tries,
    },
    /// The answer was no; ask again then.
    Waiting { again: Time, tries: Tries },
    /// It does.
    Yes,
}

/// Noes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// The first of them.
    since: Option<Time>,
    /// The first that shows that somebody is there.
    doubted: Option<Time>,
    /// The last of them.
    saw: Option<Outcome>,
    no_endpoint: u32,
    failed: u32,
    warned: bool,
}

impl Tries {
    /// True if the next question is a HEAD: every second one is, because what Envoy says to it of itself has no text.
    pub(super) fn head(&self) -> bool {
        self.failed.is_multiple_of(2)
    }

    /// Includes the time in which a question asked at `since` was late before it ended at `now`: a doubtful end, such as a cluster that CDS
    /// changes, does not begin the doubt anew.
    pub(super) fn with_late(mut self, since: Time, now: Time, outcome: Outcome, terms: &Terms) -> Self {
        let late = since + terms.timeout;
        if outcome.is_doubtful() && late < now {
            self.since.get_or_insert(late);
            self.doubted.get_or_insert(late);
        }
        self
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
    /// What it says in `:authority`: `confirm.authority`, or that of the first held request.
    pub authority: Vec<u8>,
    /// Path, or `None` for `grpc.health.v1.Health/Check`.
    pub path: Option<String>,
    /// HEAD, whose answer is whole with its headers, and not GET.
    pub head: bool,
    /// How long the call may stay open. Far longer than `confirm.timeout`: Envoy counts every call that it ends by a
    /// time-out against the host, and an answer is a yes however late it comes.
    pub timeout: Duration,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Envoy knows no such cluster (any more), and said so at once.
    NoCluster,
    /// Envoy had no endpoint to send it to, and said so at once.
    NoEndpoint,
    /// Nobody took the connection: Envoy was refused, or has given up connecting.
    Refused,
    /// Somebody took the connection and closed or reset it; or an answer began and did not end; or the cluster was changed
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

impl Outcome {
    /// What Envoy says in the upstream's place: its status and its text, which is the body or the `grpc-message`.
    pub fn of_envoy(status: u16, text: &[u8]) -> Self {
        let says = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
        // The texts of its router and of `Http::Utility::resetReasonToString`.
        if status == 504 || says(b"request timeout") {
            Self::NoAnswer
        } else if says(b"no healthy upstream") {
            Self::NoEndpoint
        } else if says(b"TLS_error") {
            // Somebody took the connection, and they did not agree.
            Self::Cut
        } else if says(b"connection failure") || says(b"connection timeout") {
            Self::Refused
        } else if status == 503 && text.is_empty() {
            Self::Failed
        } else {
            Self::Cut
        }
    }

    /// What the body of an answer of `grpc.health.v1.Health/Check` says: [`Outcome::NotServing`], or `None` for
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
    pub(super) fn text(self, timeout: Duration) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NoCluster => "no cluster",
            Self::NoEndpoint => "no endpoint",
            Self::Refused | Self::Failed => "refused",
            Self::Cut => "closed",
            Self::NoAnswer => {
                let ms = crate::units::millis(timeout);
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
    pub(super) fn tally(self) -> Tally {
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

    /// True if it shows that somebody is there, and not that it is the workload.
    fn is_doubtful(self) -> bool {
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

/// By which rules one gate asks for one target in this epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// After which an open question counts as not answered.
    pub(super) timeout: Duration,
    /// How long doubtful answers are believed. Zero once another worker of this Envoy has had its yes.
    pub(super) doubt: Duration,
    /// After which a silent cluster is told of.
    give_up: Duration,
    /// A gate of this Envoy has had its yes: any endpoint will do.
    pub(super) proven: bool,
    /// How many gates share the slow pace; 0 for the one that asks for all.
    sharers: u32,
}

impl Terms {
    /// `None` if nothing is asked at all.
    pub(super) fn new(confirm: &Confirm, proven: bool, sharers: u32) -> Option<Self> {
        let (timeout, give_up) = match confirm {
            Confirm::Http {
                timeout_ms,
                give_up_ms,
                ..
            }
            | Confirm::Grpc {
                timeout_ms,
                give_up_ms,
                ..
            } => (*timeout_ms, Duration::from_millis(*give_up_ms)),
            Confirm::Off { .. } | Confirm::Unknown => return None,
        };
        Some(Self {
            timeout: Duration::from_millis(timeout),
            doubt: if proven { Duration::ZERO } else { give_up },
            give_up,
            proven,
            sharers,
        })
    }

    /// How long a question may stay open.
    pub(super) fn open(&self) -> Duration {
        self.timeout + self.give_up + OPEN
    }
}

/// Beyond the time after which it counts as not answered. A busy workload answers late, and is found healthy.
const OPEN: Duration = Duration::from_secs(60);

/// An endpoint that refuses does so at once: a question that is open for so long has been taken.
pub(super) const TAKEN: Duration = Duration::from_millis(250);

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// `believed`: somebody is there, and that has to do.
    Yes {
        believed: bool,
    },
    No {
        check: Check,
        warn: bool,
    },
}

/// Gaps after the first, second, ... try that failed. Envoy's outlier detection ejects a host for 30 s after five such
/// in a row (its default), over all workers, so there are four in the first five seconds; see docs/confirm.md.
const FAILED_GAPS: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
];
/// From one slow try to the next, of all gates of an Envoy but the one that asks for all.
pub(super) const SLOW_GAP: Duration = Duration::from_secs(5);

/// No host is touched when there is none to send to, so these may be quick.
const NO_ENDPOINT_GAP_MIN: Duration = Duration::from_millis(5);
const NO_ENDPOINT_GAP_MAX: Duration = Duration::from_millis(200);

/// When to ask again after this outcome: the one place that says how often a host is asked.
fn pace(tries: &mut Tries, outcome: Outcome, terms: &Terms) -> Duration {
    if matches!(outcome, Outcome::NoEndpoint | Outcome::NoCluster) {
        let gap = NO_ENDPOINT_GAP_MIN
            .saturating_mul(1 << tries.no_endpoint.min(10))
            .min(NO_ENDPOINT_GAP_MAX);
        tries.no_endpoint = tries.no_endpoint.saturating_add(1);
        return gap;
    }
    let gap = match terms.sharers {
        0 => FAILED_GAPS
            .get(tries.failed as usize)
            .copied()
            .unwrap_or(SLOW_GAP),
        sharers => SLOW_GAP * sharers,
    };
    tries.failed = tries.failed.saturating_add(1);
    gap
}

pub(super) fn judge(now: Time, mut tries: Tries, outcome: Outcome, terms: &Terms) -> Verdict {
    let since = *tries.since.get_or_insert(now);
    let outcome = match (outcome, tries.saw) {
        // The same as before, until the next question, which is a GET, tells.
        (Outcome::Failed, Some(Outcome::Cut)) => Outcome::Cut,
        (Outcome::Failed, _) => Outcome::Refused,
        (outcome, _) => outcome,
    };
    tries.saw = Some(outcome);
    if outcome.is_doubtful() {
        let doubted = *tries.doubted.get_or_insert(now);
        if now.saturating_sub(doubted) >= terms.doubt {
            return Verdict::Yes { believed: true };
        }
    } else if matches!(outcome, Outcome::Answered { .. }) {
        return Verdict::Yes { believed: false };
    }
    let again = now + pace(&mut tries, outcome, terms);
    let warn = now.saturating_sub(since) >= terms.give_up && !tries.warned;
    tries.warned |= warn;
    Verdict::No {
        check: Check::Waiting { again, tries },
        warn,
    }
}

impl Check {
    /// From when it is a yes although nothing else comes: somebody is there.
    pub(super) fn believed_at(&self, terms: &Terms) -> Option<Time> {
        match self {
            Self::Waiting { tries, .. } if tries.saw.is_some_and(Outcome::is_doubtful) => {
                tries.doubted.map(|doubted| doubted + terms.doubt)
            }
            Self::Asking { since, tries, .. } => {
                let unanswered = *since + terms.timeout;
                let doubted = tries.doubted.unwrap_or(unanswered);
                Some((doubted + terms.doubt).max(unanswered))
            }
            Self::Waiting { .. } | Self::Unasked | Self::Yes => None,
        }
    }

    /// From when one request at a time may take the part of a question that is still open.
    pub(super) fn taken_at(&self, terms: &Terms) -> Option<Time> {
        match self {
            Self::Asking { since, .. } if terms.proven => Some(*since + TAKEN),
            _ => None,
        }
    }

    /// What was seen last, and since when there was nothing better; `None` if nothing bad was seen.
    pub(super) fn seen(&self, now: Time, terms: &Terms) -> Option<(Outcome, Time)> {
        let (tries, open) = match self {
            Self::Waiting { tries, .. } => (tries, None),
            Self::Asking { since, tries, .. } => (tries, Some(*since + terms.timeout)),
            Self::Unasked | Self::Yes => return None,
        };
        match open.filter(|unanswered| *unanswered <= now) {
            Some(unanswered) => Some((Outcome::NoAnswer, tries.since.unwrap_or(unanswered))),
            None => tries.saw.zip(tries.since),
        }
    }
}

#[cfg(test)]
mod tests;
