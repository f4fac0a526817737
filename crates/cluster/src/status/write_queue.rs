//! Whose status is to be written next, and when. Pure: takes `now`, does nothing itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use protocol::TargetId;

use super::ShownTarget;
use super::desired::{Urgency, compare, desired};
use crate::crd::ScaleTargetStatus;
use fleet::TargetStatus;
use fleet::backoff::Backoff;
use fleet::bucket::{Bucket, Rate};
use fleet::time::Time;

/// Writes under way at once. One takes some ten milliseconds, so these are enough for [`RATE`], and an API server that
/// hangs has no more than these to hang on to.
const IN_FLIGHT: usize = 8;
/// Fifty writes at once, and as many a second, over all targets: a thousand targets that change together are told within
/// twenty seconds, and scaling, which is what people wait for, finds an API server that is not busy with us.
const RATE: Rate = Rate {
    burst: 50,
    period: Duration::from_millis(20),
};
/// Waits of one target after writes that failed.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
/// Between two writes of one target, if the state or a condition has changed.
const GAP: Duration = Duration::from_millis(250);
/// Between two writes of one target, if only numbers or keys have.
const GAP_LATER: Duration = Duration::from_secs(5);

/// All targets that have something to be written, or had.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    /// As many as there are ScaleTargets: what is no longer there is dropped at each look.
    files: BTreeMap<TargetId, File>,
    in_flight: usize,
    bucket: Bucket,
    lively: bool,
}

/// What is known of one target's status.
#[derive(Debug)]
struct File {
    target: Arc<ShownTarget>,
    /// What is to be written, since when, and how urgently.
    due: Option<Due>,
    /// What we wrote last.
    written: Option<Written>,
    /// No write of this target begins before it.
    not_before: Time,
    /// The same for one that is not urgent.
    later_not_before: Time,
    /// Failed writes in a row.
    tries: u32,
    /// What is being written.
    under_way: Option<ScaleTargetStatus>,
}

#[derive(Debug)]
struct Due {
    status: ScaleTargetStatus,
    urgency: Urgency,
    since: Time,
}

#[derive(Debug)]
struct Written {
    sent: ScaleTargetStatus,
    /// The object as the API server then had it.
    echo: Arc<ShownTarget>,
}

/// One write to be done.
#[derive(Debug)]
pub(super) struct Job {
    /// Of what.
    pub(super) target: Arc<ShownTarget>,
    /// What to write.
    pub(super) status: ScaleTargetStatus,
    /// Failed writes of it in a row.
    pub(super) tries: u32,
}

/// How a write ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The object as it then was.
    Written(Arc<ShownTarget>),
    /// It is tried again later.
    Failed,
}

impl WriteQueue {
    /// Compares what should be shown of each target with what is.
    pub(super) fn look(
        &mut self,
        seen: &[TargetStatus],
        shown: &[Arc<ShownTarget>],
        wall: Timestamp,
        now: Time,
    ) {
        let seen: BTreeMap<_, _> = seen.iter().map(|one| (&one.id, one)).collect();
        let mut before = std::mem::take(&mut self.files);
        self.lively = false;
        for target in shown {
            let mut file = before.remove(&target.id).unwrap_or_else(|| File::new(target));
            file.look(target, seen.get(&target.id).copied(), wall, now);
            self.lively |= file.due.is_some() || seen.get(&target.id).is_some_and(|one| is_restless(one));
            self.files.insert(target.id.clone(), file);
        }
    }

    /// The next write whose turn it is; it is under way until [`Self::done`].
    pub(super) fn poll(&mut self, now: Time) -> Option<Job> {
        if self.in_flight >= IN_FLIGHT {
            return None;
        }
        let ready = self
            .files
            .values_mut()
            .filter(|file| file.turn().is_some_and(|turn| turn <= now));
        // The urgent ones first, then those that have waited longest.
        let next = ready.min_by_key(|file| {
            file.due
                .as_ref()
                .map(|due| (due.urgency == Urgency::Later, due.since))
        })?;
        if !self.bucket.take(RATE, now) {
            return None;
        }
        let status = next.due.as_ref()?.status.clone();
        next.under_way = Some(status.clone());
        self.in_flight += 1;
        Some(Job {
            target: Arc::clone(&next.target),
            status,
            tries: next.tries,
        })
    }

    /// A write has ended.
    pub(super) fn done(&mut self, id: &TargetId, outcome: Outcome, now: Time) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(file) = self.files.get_mut(id) {
            file.done(outcome, now);
        }
    }

    /// When [`Self::poll`] may have something, if nothing else happens.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        if self.in_flight >= IN_FLIGHT {
            return None;
        }
        let turn = self.files.values().filter_map(File::turn).min()?;
        Some(turn.max(self.bucket.next(RATE, now)))
    }

    /// Targets that wait for their write.
    pub(super) fn waiting(&self) -> usize {
        self.files.values().filter(|file| file.due.is_some()).count()
    }

    /// True while something waits, or may change without being told: a target on its way, requests held.
    pub(super) fn is_lively(&self) -> bool {
        self.lively
    }
}

impl File {
    fn new(target: &Arc<ShownTarget>) -> Self {
        Self {
            target: Arc::clone(target),
            due: None,
            written: None,
            not_before: Time::default(),
            later_not_before: Time::default(),
            tries: 0,
            under_way: None,
        }
    }

    fn look(&mut self, target: &Arc<ShownTarget>, seen: Option<&TargetStatus>, wall: Timestamp, now: Time) {
        let mut under_way = self.under_way.as_ref();
        if self.target.uid != target.uid {
            // Another of the same name.
            self.written = None;
            under_way = None;
        }
        self.target = Arc::clone(target);
        let known = self.known();
        // Built on what is being written, so that what has not changed since keeps its times, and is no difference.
        let wanted = desired(target, seen, under_way.or(known), wall);
        let urgency = wanted.as_ref().and_then(|wanted| compare(wanted, known));
        self.due = match (wanted, urgency) {
            (Some(status), Some(urgency)) if !self.is_settled(&status) => Some(Due {
                since: self.due.as_ref().map_or(now, |due| due.since),
                status,
                urgency,
            }),
            _ => None,
        };
    }

    /// The newest status that we know of: what we wrote, until the watch shows it or something later.
    fn known(&self) -> Option<&ScaleTargetStatus> {
        match &self.written {
            Some(written) if !self.target.version.reaches(&written.echo.version) => {
                written.echo.status.as_ref()
            }
            _ => self.target.status.as_ref(),
        }
    }

    /// True if just this was written, and is there in the form that the API server gave it. Without this, a
    /// definition that drops a field would make us write it for ever.
    fn is_settled(&self, status: &ScaleTargetStatus) -> bool {
        let written = self.written.as_ref();
        written.is_some_and(|written| written.sent == *status && written.echo.status.as_ref() == self.known())
    }

    /// When its write may begin.
    fn turn(&self) -> Option<Time> {
        let due = self.due.as_ref().filter(|_| self.under_way.is_none())?;
        Some(match due.urgency {
            Urgency::Now => self.not_before,
            Urgency::Later => self.later_not_before.max(self.not_before),
        })
    }

    fn done(&mut self, outcome: Outcome, now: Time) {
        let Some(sent) = self.under_way.take() else { return };
        match outcome {
            Outcome::Written(echo) => {
                self.tries = 0;
                self.not_before = now + GAP;
                self.later_not_before = now + GAP_LATER;
                // What is due by now may be newer than what was written.
                self.due.take_if(|due| due.status == sent);
                self.written = Some(Written { sent, echo });
            }
            Outcome::Failed => {
                self.not_before = now + RETRY.wait(self.tries);
                self.tries = self.tries.saturating_add(1);
            }
        }
    }
}

/// True if it may change without a publication.
fn is_restless(seen: &TargetStatus) -> bool {
    seen.held > 0 || !seen.unreached.is_empty() || !matches!(seen.state, "ready" | "asleep" | "suspended")
}
