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

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn no_moment_is_before_the_start_or_after_the_end_of_time() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let at = Time::new(minute);
        assert_eq!(at.before(second), Time::new(Duration::from_secs(59)));
        assert_eq!(at.before(minute + second), Time::ZERO);
        assert_eq!(at.since(Time::new(second)), Duration::from_secs(59));
        assert_eq!(Time::ZERO.since(at), Duration::ZERO);
        let end = Time::new(Duration::MAX);
        assert_eq!(end + second, end);
        let mut later = at;
        later += second;
        assert_eq!(later, Time::new(Duration::from_secs(61)));
        later += Duration::MAX;
        assert_eq!(later, end);
    }
}
