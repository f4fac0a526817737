//! When a connection has been of no use for too long, whatever goes over it: bytes that are no request, SETTINGS and
//! PING frames, and headers that never end count for nothing. Takes `now`; knows no clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection may be without a call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Before a call was let through: from the connection's beginning (TLS handshake included), or its last answer, to
    /// the next request's headers.
    pub stranger: Duration,
    /// After that. Longer than a proxy leaves a kept connection alone: closing it under a report would lose the report.
    pub known: Duration,
}

/// What there is to know of one connection.
#[derive(Debug)]
pub(super) struct Pulse(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests that wait for their answer.
    open: u32,
    /// Of the beginning, or of the last answer.
    since: Instant,
    known: bool,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            open: 0,
            since: now,
            known: false,
        }))
    }

    /// A request's headers have come.
    pub(super) fn asked(&self) {
        let mut state = self.lock();
        state.open = state.open.saturating_add(1);
    }

    /// It has its answer, or has been given up.
    pub(super) fn answered(&self, now: Instant) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        state.since = now;
    }

    /// A call was let through.
    pub(super) fn known(&self) {
        self.lock().known = true;
    }

    /// When to look again; `None`: it has been of no use for too long.
    pub(super) fn next_look(&self, now: Instant, patience: Patience) -> Option<Instant> {
        let state = self.lock();
        let wait = if state.known {
            patience.known
        } else {
            patience.stranger
        };
        if state.open > 0 {
            // Whatever ends meanwhile is seen then.
            return Some(now + patience.stranger);
        }
        let end = state.since + wait;
        (now < end).then_some(end)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        stranger: Duration::from_secs(10),
        known: Duration::from_secs(300),
    };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_stranger_has_ten_seconds_for_each_request() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        let look = |at| pulse.next_look(start + secs(at), PATIENCE);
        assert_eq!(look(0), Some(start + secs(10)));
        assert_eq!(look(10), None, "must end");
        pulse.asked();
        assert_eq!(look(60), Some(start + secs(70)), "an open call must not be cut");
        pulse.answered(start + secs(65));
        assert_eq!(look(70), Some(start + secs(75)), "must count from the answer");
        assert_eq!(look(75), None);
    }

    #[test]
    fn who_is_known_has_longer() {
        let start = Instant::now();
        let pulse = Pulse::new(start);
        pulse.asked();
        pulse.known();
        pulse.answered(start);
        assert_eq!(
            pulse.next_look(start + secs(10), PATIENCE),
            Some(start + secs(300))
        );
        assert_eq!(pulse.next_look(start + secs(300), PATIENCE), None);
    }
}
