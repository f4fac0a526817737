//! Decides when a root context ticks: at each heartbeat, often while something is urgent, and when a time is up.

use std::cell::Cell;
use std::time::Duration;

use hold::{Ticks, Time};

use crate::host;

/// Ticks for which something stays urgent: what follows from it, in this VM and in others, comes within these.
const URGENT_TICKS: u32 = 10;

/// Shortest tick period: how exactly a confirm is repeated.
const TICK_MIN: Duration = Duration::from_millis(5);

/// A thread whose heartbeat is so many intervals late has stood still.
const STOPPED: u32 = 4;

/// When one root context ticks.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// From one tick to the next while something is urgent.
    period: Duration,
    heartbeat_interval: Duration,
    next_heartbeat: Cell<Time>,
    /// The last heartbeat was one of those that check what may have changed unseen.
    has_checked: Cell<bool>,
    urgent_until: Cell<Time>,
    /// The tick period that Envoy was told last.
    armed: Cell<Duration>,
}

impl Schedule {
    pub(crate) fn new(ticks: &Ticks) -> Self {
        Self {
            period: ticks.period,
            heartbeat_interval: ticks.heartbeat_interval(),
            next_heartbeat: Cell::new(Time::ZERO),
            has_checked: Cell::new(true),
            urgent_until: Cell::new(Time::ZERO),
            armed: Cell::new(Duration::ZERO),
        }
    }

    /// Something has happened from which more may follow soon.
    pub(crate) fn mark_urgent(&self, now: Time) {
        self.urgent_until.set(now + self.period * URGENT_TICKS);
    }

    /// True if this tick has to be a heartbeat. A timer may fire a little early, which must not cost another tick.
    pub(crate) fn is_heartbeat_due(&self, now: Time) -> bool {
        now + TICK_MIN >= self.next_heartbeat.get()
    }

    /// A heartbeat is about to be written. True at every second one, which also checks what may have changed unseen.
    pub(crate) fn begin_heartbeat(&self, now: Time) -> bool {
        self.next_heartbeat.set(now + self.heartbeat_interval);
        let checks = !self.has_checked.get();
        self.has_checked.set(checks);
        checks
    }

    /// True if this thread has not run for so long that the relay may have taken its gate for dead.
    pub(crate) fn has_stood_still(&self, now: Time) -> bool {
        let due = self.next_heartbeat.get();
        due > Time::ZERO && now > due + self.heartbeat_interval * STOPPED
    }

    /// True if the next tick may be far away.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.armed.get() > self.period
    }

    /// Sets the tick period to what comes first: `due`, the heartbeat, or, while something is urgent, the next look.
    pub(crate) fn arm(&self, now: Time, due: Option<Time>, is_urgent: bool) {
        let look = (is_urgent || now < self.urgent_until.get()).then(|| now + self.period);
        let next = due
            .into_iter()
            .chain(look)
            .fold(self.next_heartbeat.get(), Time::min);
        let period = next.since(now).max(TICK_MIN);
        // Coarse steps, so that the period is not set anew at every callback.
        let period = Duration::from_millis(protocol::millis(period).div_ceil(5) * 5);
        if period != self.armed.replace(period) {
            host::set_tick_period(period);
        }
    }
}
