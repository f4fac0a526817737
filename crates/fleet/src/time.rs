//! Points in time for logic that never reads a clock: the time since the control plane's clock was made.

use std::ops::Add;
use std::time::Duration;

pub use protocol::millis;

/// A moment, as the time since the control plane's clock was made. Comparable only within one clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The moment `since_start` after the clock was made.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time passed from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `age` before `self`, not before the clock was made. `None` if it would be: the age is older than
    /// this control plane.
    pub fn checked_before(self, age: Duration) -> Option<Self> {
        self.0.checked_sub(age).map(Self)
    }

    /// The time since the clock was made.
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}
