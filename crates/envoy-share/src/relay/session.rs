//! Decides when to sync and when to report, and whether the control plane is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use hold::Time;
use protocol::{Revision, State, TargetId, Usage};

/// Why a sync brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncFailure {
    /// No connection, reset, or no answer in time.
    Unreachable,
    /// Answered with another status than 200.
    Status(u16),
    /// Answered with something that is no sync response.
    Garbled(String),
}

/// What an answer to a sync was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// What changed, or the first snapshot.
    News,
    /// Everything once more: another control plane answers, as it does once after a takeover.
    Anew,
    /// Nothing that was not known.
    Nothing,
}

/// How long the control plane may keep a poll open. Under the five minutes after which Envoy ends an idle stream.
const WAIT: Duration = Duration::from_secs(25);
/// Gaps after failures, and after answers that bring nothing and were not waited for: doubled from the first to the last.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Reports that are not urgent wait this long for each other.
const REPORT_GAP: Duration = Duration::from_secs(1);
/// An arrival is reported for at least this long after it happened.
const RECENT_MIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Session {
    heartbeat: Duration,
    /// `None` if a former relay had already lost the control plane.
    last_heard: Option<Time>,
    last_sync: Option<Time>,
    /// A relay of this Envoy has synced: the control plane knows the proxy, and may be told at once.
    ever_synced: bool,
    syncing: bool,
    sync_sent: Time,
    /// The instance for whose sake a sync was given up last.
    given_up_for: Option<String>,
    next_sync: Time,
    sync_failures: u32,
    /// Answers in a row that were not waited for and not worth asking for.
    wasted: u32,
    warned: Option<SyncFailure>,
    reporting: bool,
    report_sent: Time,
    last_report_ok: Time,
    next_report: Time,
    report_failures: u32,
    seq: u64,
    last_applied: Option<Revision>,
    last_targets: BTreeMap<TargetId, Usage>,
}

impl Session {
    pub(super) fn new(now: Time, known: bool, lost: bool) -> Self {
        Self {
            heartbeat: Duration::from_secs(1),
            last_heard: (!lost).then_some(now),
            last_sync: None,
            ever_synced: known,
            syncing: false,
            sync_sent: now,
            given_up_for: None,
            next_sync: now,
            sync_failures: 0,
            wasted: 0,
            warned: None,
            reporting: false,
            report_sent: now,
            last_report_ok: now,
            next_report: now,
            report_failures: 0,
            seq: 0,
            last_applied: None,
            last_targets: BTreeMap::new(),
        }
    }

    pub(super) fn sync_succeeded(&mut self, now: Time, heartbeat: Duration, brought: Brought) {
        self.syncing = false;
        self.heartbeat = heartbeat;
        self.last_heard = Some(now);
        self.last_sync = Some(now);
        self.ever_synced = true;
        self.sync_failures = 0;
        self.warned = None;
        // Whatever the control plane does wrong, or two of them do behind one address, it is not asked without a pause.
        let early = now < self.sync_sent + RETRY_MAX;
        let (free, wasted) = match brought {
            Brought::News => (0, false),
            Brought::Anew => (1, early),
            Brought::Nothing => (0, early),
        };
        self.wasted = if wasted { self.wasted.saturating_add(1) } else { 0 };
        self.next_sync = match self.wasted.checked_sub(free + 1) {
            Some(before) => now + backoff(before),
            None => now,
        };
    }

    /// What to say of it, once for each kind of failure.
    pub(super) fn sync_failed(&mut self, now: Time, failure: SyncFailure) -> Option<String> {
        self.syncing = false;
        self.next_sync = now + backoff(self.sync_failures);
        self.sync_failures = self.sync_failures.saturating_add(1);
        if self.warned.as_ref() == Some(&failure) {
            return None;
        }
        let text = match &failure {
            SyncFailure::Unreachable => "sync: the control plane cannot be reached; trying on".to_owned(),
            SyncFailure::Status(401) => {
                "sync: the control plane refused the token (401): compare control_plane.token_env with its --token".to_owned()
            }
            SyncFailure::Status(status) => format!("sync: the control plane answered {status}; trying on"),
            SyncFailure::Garbled(error) => format!("sync: the control plane's answer cannot be read: {error}"),
        };
        self.warned = Some(failure);
        Some(text)
    }

    pub(super) fn report_answered(&mut self, now: Time, ok: bool) {
        self.reporting = false;
        if ok {
            self.last_heard = Some(now);
            self.last_report_ok = self.report_sent;
            self.report_failures = 0;
            return;
        }
        // Nothing of it is known to have arrived: whatever was news still is.
        self.last_applied = None;
        self.last_targets.clear();
        self.next_report = now + backoff(self.report_failures);
        self.report_failures = self.report_failures.saturating_add(1);
    }

    /// `wait_ms` of the sync that is due.
    pub(super) fn poll_sync(&mut self, now: Time) -> Option<u64> {
        if self.syncing || now < self.next_sync {
            return None;
        }
        self.syncing = true;
        self.sync_sent = now;
        Some(protocol::millis(WAIT))
    }

    /// Gives up the sync that is on its way, whose revision is another's than that of `leader`. True if it was. The
    /// leader answers such a one at once: one that is a heartbeat old is with another instance. Once for each leader: the
    /// next one goes to it, and a snapshot may take longer than that.
    pub(super) fn give_up_sync(&mut self, now: Time, leader: &str) -> bool {
        let early = now < self.sync_sent + self.heartbeat;
        if !self.syncing || early || self.given_up_for.as_deref() == Some(leader) {
            return false;
        }
        self.given_up_for = Some(leader.to_owned());
        self.syncing = false;
        self.next_sync = now;
        true
    }

    /// `seq` of the report that is due: at once if a request waits for it, else once a second if anything changed, else as
    /// a heartbeat.
    pub(super) fn poll_report(
        &mut self,
        now: Time,
        applied: &Option<Revision>,
        targets: &BTreeMap<TargetId, Usage>,
        draining: bool,
        state_of: impl Fn(&TargetId) -> Option<State>,
    ) -> Option<u64> {
        // Before its first sync a proxy is unknown to the control plane.
        if self.reporting || !self.ever_synced || now < self.next_report {
            return None;
        }
        let applied_news = *applied != self.last_applied;
        let urgent = (draining && applied_news)
            || targets
                .iter()
                .any(|(id, usage)| self.is_urgent(now, state_of(id), usage, self.last_targets.get(id)));
        // What has failed is tried again when its time has come, whatever it says: `poll_timeout` cannot know.
        let gap = if urgent || self.report_failures > 0 {
            Duration::ZERO
        } else if applied_news || self.is_news(targets) {
            REPORT_GAP.min(self.heartbeat)
        } else {
            self.heartbeat
        };
        if self.seq > 0 && now < self.report_sent + gap {
            return None;
        }
        self.reporting = true;
        self.report_sent = now;
        self.seq += 1;
        self.last_applied.clone_from(applied);
        self.last_targets.clone_from(targets);
        Some(self.seq)
    }

    /// Demand on a target that is not ready, which the last report did not show.
    fn is_urgent(&self, now: Time, state: Option<State>, usage: &Usage, last: Option<&Usage>) -> bool {
        let last = last.copied().unwrap_or_default();
        match state {
            None | Some(State::Ready | State::Suspended) => false,
            Some(State::Draining) => {
                (usage.held > 0 && last.held == 0) || (usage.in_flight > 0 && last.in_flight == 0)
            }
            // A refused arrival is demand too: at once if the last one that was reported is older by a second or more.
            Some(State::Failed | State::Asleep | State::Waking | State::Unknown) => {
                let known = last
                    .idle_ms
                    .map(|idle| now.since(self.report_sent) + Duration::from_millis(idle));
                let arrived =
                    |idle: u64| known.is_none_or(|known| known >= Duration::from_millis(idle) + REPORT_GAP);
                (usage.held > 0 && last.held == 0)
                    || usage.idle_ms.is_some_and(|idle| idle < 1_000 && arrived(idle))
            }
        }
    }

    fn is_news(&self, targets: &BTreeMap<TargetId, Usage>) -> bool {
        let same = |(id, usage): (&TargetId, &Usage)| {
            self.last_targets.get(id).is_some_and(|last| {
                let newer_arrival = match (usage.idle_ms, last.idle_ms) {
                    (Some(idle), Some(last)) => idle < last,
                    (idle, last) => idle.is_some() && last.is_none(),
                };
                last.held == usage.held && last.in_flight == usage.in_flight && !newer_arrival
            })
        };
        let last_busy = self
            .last_targets
            .values()
            .filter(|usage| usage.held > 0 || usage.in_flight > 0)
            .count();
        let busy = targets
            .values()
            .filter(|usage| usage.held > 0 || usage.in_flight > 0)
            .count();
        last_busy != busy || !targets.iter().all(same)
    }

    /// Arrivals up to this age are reported: until the control plane has surely heard of them.
    pub(super) fn recent(&self, now: Time) -> Duration {
        RECENT_MIN.max(now.since(self.last_report_ok) + self.heartbeat)
    }

    pub(super) fn is_lost(&self, now: Time) -> bool {
        self.last_heard
            .is_none_or(|at| now.since(at) >= self.heartbeat * 3)
    }

    pub(super) fn sync_age_ms(&self, now: Time) -> u64 {
        let age = now.since(self.last_sync.unwrap_or(Time::ZERO));
        protocol::millis(age)
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let sync = (!self.syncing).then_some(self.next_sync);
        let report = (!self.reporting && self.ever_synced).then(|| {
            if self.report_failures > 0 {
                self.next_report
            } else {
                self.report_sent + self.heartbeat
            }
        });
        sync.into_iter().chain(report).min()
    }
}

fn backoff(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << failures.min(8)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests;
