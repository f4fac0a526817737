//! A token bucket: so many at once, and then one more each period. Pure.

use std::time::Duration;

use crate::time::Time;

/// How many a [`Bucket`] lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many at once, after a time without any.
    pub burst: u32,
    /// One more after each.
    pub period: Duration,
}

/// A token bucket, by what has been taken out of it. It begins full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// How long until it is full again, as of `at`.
    debt: Duration,
    at: Time,
}

impl Bucket {
    /// Takes one out, if there is one.
    pub fn take(&mut self, rate: Rate, now: Time) -> bool {
        let debt = self.debt(now) + rate.period;
        if debt > rate.period * rate.burst {
            return false;
        }
        *self = Self { debt, at: now };
        true
    }

    /// When one can be taken: `now`, or later.
    pub fn next(&self, rate: Rate, now: Time) -> Time {
        let debt = self.debt(now) + rate.period;
        now + debt.saturating_sub(rate.period * rate.burst)
    }

    /// True if nothing is missing.
    pub fn is_full(&self, now: Time) -> bool {
        self.debt(now).is_zero()
    }

    fn debt(&self, now: Time) -> Duration {
        self.debt.saturating_sub(now.since(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        period: Duration::from_millis(20),
    };

    #[test]
    fn lets_a_burst_through_and_then_one_each_period() {
        let mut bucket = Bucket::default();
        let mut now = Time::new(Duration::from_secs(9));
        assert!(bucket.is_full(now), "must begin full");
        assert_eq!((0..9).filter(|_| bucket.take(RATE, now)).count(), 3);
        assert!(!bucket.is_full(now), "must know that some are missing");
        assert_eq!(
            bucket.next(RATE, now).since(now),
            RATE.period,
            "must say when the next can be taken"
        );
        for _ in 0..4 {
            now = bucket.next(RATE, now);
            assert!(bucket.take(RATE, now), "must be there when it was said to be");
            assert!(!bucket.take(RATE, now), "must be one");
        }
        now = now + Duration::from_millis(60);
        assert!(bucket.is_full(now), "must fill up");
        assert_eq!(bucket.next(RATE, now), now, "must be there at once");
        assert_eq!(
            (0..9).filter(|_| bucket.take(RATE, now)).count(),
            3,
            "must not overflow"
        );
    }
}
