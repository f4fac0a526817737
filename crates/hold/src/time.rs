//! Points in time on the clock of one VM. Never reads that clock: each comes from the shell.

use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A point on the VM's own monotonic clock. Never leaves the VM: VMs tell each other ages, never times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The start of the VM.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The moment `since_start` after the start of the VM.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time passed from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `age` before `self`; the start of the VM if that is later.
    pub fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(age))
    }

    /// The time since the start of the VM.
    pub const fn as_duration(self) -> Duration {
        self.0
    }
}

/// The latest moment there is, where the sum would be later.
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, wait: Duration) {
        *self = *self + wait;
    }
}
