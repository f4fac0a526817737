//! Until when this replica may act as the leader: whatever writes or answers asks it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Clock;
use fleet::time::{Time, millis};

/// Until when this replica may act as the leader. Clones share it. Reads the monotonic clock, which goes on while a
/// process is stopped. Each leadership has one of its own: once it has ended, its fence is never opened again, so what
/// is left of a former leadership writes nothing in the next.
#[derive(Clone, Debug)]
pub struct Fence {
    clock: Clock,
    lease: Duration,
    /// Milliseconds of `clock` at which the lease ends, if it is not renewed; 0: not the leader.
    until: Arc<AtomicU64>,
}

impl Fence {
    /// Not the leader yet.
    pub fn new(clock: Clock, lease: Duration) -> Self {
        Self {
            clock,
            lease,
            until: Arc::default(),
        }
    }

    /// How long a write that begins now may take: until the lease ends, if more than a third of it is left.
    pub fn write_budget(&self) -> Option<Duration> {
        self.left().filter(|left| *left > self.lease / 3)
    }

    /// How much of the lease is left.
    pub fn left(&self) -> Option<Duration> {
        let until = Duration::from_millis(self.until.load(Ordering::Acquire));
        until
            .checked_sub(self.clock.now().as_duration())
            .filter(|left| !left.is_zero())
    }

    /// The lease was renewed by a request sent at `sent`.
    pub fn renew(&self, sent: Time) {
        self.until
            .store(millis((sent + self.lease).as_duration()), Ordering::Release);
    }

    /// Not the leader any more.
    pub fn close(&self) {
        self.until.store(0, Ordering::Release);
    }
}
