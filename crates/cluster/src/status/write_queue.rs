//! Which status is to be compared next, and which of them written. Pure: takes `now`, does nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use protocol::TargetId;

use super::ShownTarget;
use super::desired::{changes_in, desired, differs};
use crate::crd::ScaleTargetStatus;
use fleet::TargetStatus;
use fleet::backoff::Backoff;
use fleet::bucket::{Bucket, Rate};
use fleet::time::Time;

/// Changes of one target that are closer than this are written together. With the write itself it stays below half a second.
const TOGETHER: Duration = Duration::from_millis(200);
/// Writes under way at once. One takes some ten milliseconds, so these are enough for [`RATE`], and an API server that
/// hangs has no more than these to hang on to.
const IN_FLIGHT: usize = 8;
/// Fifty writes at once, and as many a second, over all targets: a thousand targets that change together are told within
/// twenty seconds, and scaling, which is what people wait for, finds an API server that is not busy with us.
const RATE: Rate = Rate {
    burst: 50,
    period: Duration::from_millis(20),
};
/// Writes of one target. A wake has three or four and a sleep as many, so what people wait for is told at once; what changes
/// all the time is told once a second.
const TARGET_RATE: Rate = Rate {
    burst: 10,
    period: Duration::from_secs(1),
};
/// Waits of one target after writes that failed.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// The targets that were told to have changed, and what was written of them.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    /// As many as there are ScaleTargets: one that is not there is dropped when it is compared.
    files: BTreeMap<TargetId, File>,
    /// Those that are to be compared, in the order of their turns.
    turns: BTreeSet<(Time, TargetId)>,
    in_flight: usize,
    bucket: Bucket,
}

/// What is known of one target's status.
#[derive(Debug, Default)]
struct File {
    /// When it is compared next; `None` while it is written, and if nothing has changed.
    turn: Option<Time>,
    /// It is not compared before.
    not_before: Time,
    /// What we wrote last.
    written: Option<Written>,
    bucket: Bucket,
    /// Failed writes in a row.
    tries: u32,
    /// What is being written.
    under_way: Option<ScaleTargetStatus>,
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
    /// What should be shown of a target has changed, or what is shown of it.
    pub(super) fn changed(&mut self, id: TargetId, now: Time) {
        self.schedule(id, now + TOGETHER);
    }

    /// The target whose turn it is to be compared.
    pub(super) fn poll(&mut self, now: Time) -> Option<TargetId> {
        self.poll_timeout(now).filter(|turn| *turn <= now)?;
        let (_, id) = self.turns.pop_first()?;
        self.files.get_mut(&id)?.turn = None;
        Some(id)
    }

    /// When [`Self::poll`] may have something, if nothing else happens.
    pub(super) fn poll_timeout(&self, now: Time) -> Option<Time> {
        let (turn, _) = self.turns.first().filter(|_| self.in_flight < IN_FLIGHT)?;
        Some(self.bucket.next(RATE, now).max(*turn))
    }

    /// Compares what should be shown of the target that [`Self::poll`] named with what is. What is to be written, if anything,
    /// is under way until [`Self::done`].
    pub(super) fn compare(
        &mut self,
        id: &TargetId,
        seen: Option<&TargetStatus>,
        target: Option<Arc<ShownTarget>>,
        wall: Timestamp,
        now: Time,
    ) -> Option<Job> {
        let Some(target) = target else {
            self.files.remove(id);
            return None;
        };
        let file = self.files.get_mut(id)?;
        let known = file.known(&target);
        let wanted = desired(&target, seen, known, wall)
            .filter(|wanted| differs(wanted, known) && !file.is_settled(wanted, known));
        let Some(status) = wanted else {
            if let Some(wait) = seen.and_then(changes_in) {
                self.schedule(id.clone(), now + wait);
            }
            return None;
        };
        self.bucket.take(RATE, now);
        self.in_flight += 1;
        file.bucket.take(TARGET_RATE, now);
        file.under_way = Some(status.clone());
        Some(Job {
            target,
            status,
            tries: file.tries,
        })
    }

    /// A write has ended.
    pub(super) fn done(&mut self, id: TargetId, outcome: Outcome, now: Time) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(file) = self.files.get_mut(&id) else {
            return;
        };
        file.done(outcome, now);
        // What has changed meanwhile was not noted.
        self.changed(id, now);
    }

    /// Targets that wait to be compared.
    pub(super) fn waiting(&self) -> usize {
        self.turns.len()
    }

    /// At `at`, or before if it is to be compared before.
    fn schedule(&mut self, id: TargetId, at: Time) {
        let file = self.files.entry(id.clone()).or_default();
        let at = at.max(file.not_before);
        if file.under_way.is_some() || file.turn.is_some_and(|turn| turn <= at) {
            return;
        }
        if let Some(turn) = file.turn.replace(at) {
            self.turns.remove(&(turn, id.clone()));
        }
        self.turns.insert((at, id));
    }
}

impl File {
    /// The newest status that we know of: what we wrote, until the watch shows it or something later.
    fn known<'a>(&'a self, target: &'a ShownTarget) -> Option<&'a ScaleTargetStatus> {
        let echo = self.written.as_ref().map(|written| &written.echo);
        let newer = echo.filter(|echo| echo.uid == target.uid && !target.version.reaches(&echo.version));
        newer.map_or(target, |echo| echo).status.as_ref()
    }

    /// True if just this was written, and is there in the form that the API server gave it. Without this, a
    /// definition that drops a field would make us write it for ever.
    fn is_settled(&self, wanted: &ScaleTargetStatus, known: Option<&ScaleTargetStatus>) -> bool {
        let written = self.written.as_ref();
        written.is_some_and(|written| written.sent == *wanted && written.echo.status.as_ref() == known)
    }

    fn done(&mut self, outcome: Outcome, now: Time) {
        let Some(sent) = self.under_way.take() else { return };
        match outcome {
            Outcome::Written(echo) => {
                self.tries = 0;
                self.not_before = self.bucket.next(TARGET_RATE, now);
                self.written = Some(Written { sent, echo });
            }
            Outcome::Failed => {
                self.not_before = now + RETRY.wait(self.tries);
                self.tries = self.tries.saturating_add(1);
            }
        }
    }
}
