//! By which rules a gate takes an answer for a yes, and how often it asks. Pure: an outcome, what was seen before, and the
//! terms of the target, to what is known of the cluster from now on.
//!
//! What each answer proves and what follows from it is one table in docs/confirm.md; [`judge`] is that
//! table. How often is asked is said by [`pace`] alone.

use std::time::Duration;

use protocol::Confirm;

use super::{ConfirmOutcome, ConfirmToken};
use crate::Time;

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
    /// The first that shows that a process is there.
    doubted: Option<Time>,
    /// The last of them.
    saw: Option<ConfirmOutcome>,
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
    pub(super) fn with_late(
        mut self,
        since: Time,
        now: Time,
        outcome: ConfirmOutcome,
        terms: &Terms,
    ) -> Self {
        let late = since + terms.timeout;
        if outcome.is_doubtful() && late < now {
            self.since.get_or_insert(late);
            self.doubted.get_or_insert(late);
        }
        self
    }
}

/// By which rules one gate asks for one target in this epoch.
#[derive(Clone, Copy, Debug)]
pub(in crate::gate) struct Terms {
    /// After which an open question counts as not answered.
    pub(in crate::gate) timeout: Duration,
    /// How long doubtful answers are believed. Zero once another worker of this Envoy has had its yes.
    pub(super) doubt: Duration,
    /// After which a silent cluster is told of.
    pub(super) give_up: Duration,
    /// A gate of this Envoy has had its yes: any endpoint will do.
    pub(super) confirmed: bool,
    /// How many gates share the slow pace; 0 for the one that asks for all.
    sharers: u32,
}

impl Terms {
    /// `None` if nothing is asked at all.
    pub(super) fn new(confirm: &Confirm, confirmed: bool, sharers: u32) -> Option<Self> {
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
            doubt: if confirmed { Duration::ZERO } else { give_up },
            give_up,
            confirmed,
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
pub(super) enum ConfirmVerdict {
    /// `believed`: a process is there, and that has to do.
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
fn pace(tries: &mut Tries, outcome: ConfirmOutcome, terms: &Terms) -> Duration {
    if matches!(outcome, ConfirmOutcome::NoEndpoint | ConfirmOutcome::NoCluster) {
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

pub(super) fn judge(now: Time, mut tries: Tries, outcome: ConfirmOutcome, terms: &Terms) -> ConfirmVerdict {
    let since = *tries.since.get_or_insert(now);
    let outcome = match (outcome, tries.saw) {
        // The same as before, until the next question, which is a GET, tells.
        (ConfirmOutcome::Failed, Some(ConfirmOutcome::Cut)) => ConfirmOutcome::Cut,
        (ConfirmOutcome::Failed, _) => ConfirmOutcome::Refused,
        (outcome, _) => outcome,
    };
    tries.saw = Some(outcome);
    if outcome.is_doubtful() {
        let doubted = *tries.doubted.get_or_insert(now);
        if now.since(doubted) >= terms.doubt {
            return ConfirmVerdict::Yes { believed: true };
        }
    } else if matches!(outcome, ConfirmOutcome::Answered { .. }) {
        return ConfirmVerdict::Yes { believed: false };
    }
    let again = now + pace(&mut tries, outcome, terms);
    let warn = now.since(since) >= terms.give_up && !tries.warned;
    tries.warned |= warn;
    ConfirmVerdict::No {
        check: Check::Waiting { again, tries },
        warn,
    }
}

impl Check {
    /// From when it is a yes although nothing else comes: a process is there.
    pub(super) fn believed_at(&self, terms: &Terms) -> Option<Time> {
        match self {
            Self::Waiting { tries, .. } if tries.saw.is_some_and(ConfirmOutcome::is_doubtful) => {
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
            Self::Asking { since, .. } if terms.confirmed => Some(*since + TAKEN),
            _ => None,
        }
    }

    /// What was seen last, and since when there was nothing better; `None` if nothing bad was seen.
    pub(super) fn seen(&self, now: Time, terms: &Terms) -> Option<(ConfirmOutcome, Time)> {
        let (tries, open) = match self {
            Self::Waiting { tries, .. } => (tries, None),
            Self::Asking { since, tries, .. } => (tries, Some(*since + terms.timeout)),
            Self::Unasked | Self::Yes => return None,
        };
        match open.filter(|unanswered| *unanswered <= now) {
            Some(unanswered) => Some((ConfirmOutcome::NoAnswer, tries.since.unwrap_or(unanswered))),
            None => tries.saw.zip(tries.since),
        }
    }
}
