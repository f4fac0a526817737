//! Requests that came before the first snapshot: those that wait for it, and those that were let through without it.
//! Knows no target: what each request is for is found once the snapshot is there.

use std::time::Duration;

use crate::config::{Startup, StartupThen};
use crate::gate::headers::Owned;
use crate::maps::{FixedMap, Ordered};
use crate::{StreamId, Time};

/// What becomes of a request while nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BeforeSnapshot {
    Hold,
    Pass,
    Refuse,
}

/// One of these requests.
#[derive(Debug)]
pub(super) struct EarlyRequest {
    pub(super) request: Owned,
    /// Its place in the order of arrival.
    pub(super) order: u64,
    pub(super) since: Time,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is held, and has a permit of the Envoy's quota.
    Waiting,
    /// The same, and the shell has been asked for a permit of its target's quota.
    AskingPermits,
    /// It goes on. The first snapshot will say what it is for.
    LetThrough,
}

impl EarlyRequest {
    pub(super) fn waited(&self, now: Time) -> Duration {
        now.since(self.since)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Early {
    startup: Startup,
    /// Since when the gate waits for the first snapshot.
    started: Time,
    /// It has come.
    is_over: bool,
    requests: FixedMap<StreamId, EarlyRequest>,
    /// Those that are not let through, by arrival.
    waiting: Ordered,
}

impl Early {
    pub(super) fn new(startup: Startup, now: Time) -> Self {
        Self {
            startup,
            started: now,
            is_over: false,
            requests: FixedMap::default(),
            waiting: Ordered::default(),
        }
    }

    /// True once the first snapshot has come.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What becomes of a request that comes, or waits, while nothing is known.
    pub(super) fn rule(&self, now: Time) -> BeforeSnapshot {
        match self.startup.then {
            _ if now < self.started + self.startup.wait => BeforeSnapshot::Hold,
            StartupThen::Hold => BeforeSnapshot::Hold,
            StartupThen::Pass => BeforeSnapshot::Pass,
            StartupThen::Refuse => BeforeSnapshot::Refuse,
        }
    }

    /// A request is held until the first snapshot.
    pub(super) fn hold(&mut self, now: Time, stream: StreamId, order: u64, request: Owned) {
        self.waiting.insert(order, stream.0);
        let early = EarlyRequest {
            request,
            order,
            since: now,
            state: State::Waiting,
        };
        self.requests.insert(stream, early);
    }

    /// A request passes before the first snapshot; [`Early::end`] forgets it.
    pub(super) fn let_through(&mut self, stream: StreamId, request: Owned) {
        let early = EarlyRequest {
            request,
            order: 0,
            since: Time::ZERO,
            state: State::LetThrough,
        };
        self.requests.insert(stream, early);
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The first request that waits and need not wait any more.
    pub(super) fn next(&self, now: Time) -> Option<StreamId> {
        if !self.is_over && self.rule(now) == BeforeSnapshot::Hold {
            return None;
        }
        let is_due = |stream: &StreamId| {
            let early = self.requests.get(stream);
            early.is_some_and(|early| early.state == State::Waiting)
        };
        self.waiting
            .iter()
            .map(|(_, stream)| StreamId(stream))
            .find(is_due)
    }

    /// What is known of a request that came before the first snapshot.
    pub(super) fn get(&self, stream: StreamId) -> Option<&EarlyRequest> {
        self.requests.get(&stream)
    }

    /// The shell is asked for a permit for this request: [`Early::next`] leaves it out from now on.
    pub(super) fn ask_permits(&mut self, stream: StreamId) {
        if let Some(early) = self.requests.get_mut(&stream) {
            early.state = State::AskingPermits;
        }
    }

    /// The request waits no more, because it has ended or something has become of it. `None` if it did not wait.
    pub(super) fn end(&mut self, stream: StreamId) -> Option<EarlyRequest> {
        let early = self.requests.remove(&stream)?;
        if early.state == State::LetThrough {
            return None;
        }
        self.waiting.remove(early.order, stream.0);
        Some(early)
    }

    /// The first snapshot has come. Returns the requests that were let through before, for the caller, which finds their targets.
    pub(super) fn begin_known(&mut self) -> Vec<(StreamId, Owned)> {
        self.is_over = true;
        let let_through = |_: &StreamId, early: &mut EarlyRequest| early.state == State::LetThrough;
        let taken = self.requests.extract_if(let_through);
        taken.map(|(stream, early)| (stream, early.request)).collect()
    }

    /// When requests that wait need not wait any more although nothing is known.
    pub(super) fn next_timeout(&self, now: Time) -> Option<Time> {
        let ends = !self.is_over && self.waiting() > 0 && self.startup.then != StartupThen::Hold;
        ends.then(|| self.started + self.startup.wait)
            .filter(|at| now < *at)
    }

    /// True if it knows no request.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.waiting.is_empty()
    }
}
