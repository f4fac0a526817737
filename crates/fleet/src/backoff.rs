//! Waits that double, up to a bound: the one back-off of the control plane. Pure.

use std::time::Duration;

/// Waits from `min`, doubled with each failure, to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Waits from `min` to `max`; if `max` is shorter, all are that short.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// The wait after the failure before which there were `failures` in a row: `min` after the first.
    pub fn wait(self, failures: u32) -> Duration {
        // 2^20 times the least wait is beyond any bound that makes sense, and cannot overflow.
        self.min.saturating_mul(1 << failures.min(20)).min(self.max)
    }

    /// The same wait as `permille` thousandths of it, and never longer than `max`: what failed at the same moment is not
    /// to come back at the same moment.
    pub fn spread(self, failures: u32, permille: u32) -> Duration {
        (self.wait(failures).saturating_mul(permille) / 1000).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

    #[test]
    fn doubles_up_to_its_bound() {
        let waits: Vec<_> = (0..8).map(|n| BACKOFF.wait(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60], "must double and then stay");
        assert_eq!(BACKOFF.wait(u32::MAX).as_secs(), 60, "must not overflow");
    }

    #[test]
    fn is_never_spread_beyond_its_bound() {
        assert_eq!(BACKOFF.spread(0, 800).as_millis(), 800);
        assert_eq!(BACKOFF.spread(0, 1200).as_millis(), 1200);
        assert_eq!(BACKOFF.spread(9, 1200).as_secs(), 60, "must not be longer");
    }
}
