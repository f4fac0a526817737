use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::trouble::Trouble;

/// First wait; doubled after each miss.
const FIRST: Duration = Duration::from_millis(50);
/// Longest wait after what may pass by itself.
const LONGEST: Duration = Duration::from_secs(5);
/// Wait after a refusal, which takes a person to end, and longest wait that an API server may ask for.
const SLOW: Duration = Duration::from_secs(5);
const SLOWEST: Duration = Duration::from_secs(30);

/// Waits between the attempts of one order, each shorter by up to a fifth at random.
pub(super) struct Backoff {
    misses: u32,
    random: RandomState,
    drawn: u64,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self {
            misses: 0,
            random: RandomState::new(),
            drawn: 0,
        }
    }

    /// A new order begins.
    pub(super) fn reset(&mut self) {
        self.misses = 0;
    }

    /// Misses so far.
    pub(super) fn misses(&self) -> u32 {
        self.misses
    }

    /// From 50 ms to 5 s.
    pub(super) fn next(&mut self) -> Duration {
        // 2^7 times the first is beyond the longest.
        let wait = FIRST.saturating_mul(1 << self.misses.min(7)).min(LONGEST);
        self.misses = self.misses.saturating_add(1);
        self.spread(wait)
    }

    /// After `trouble`. The first conflict is no reason to wait: status is written to all the time.
    pub(super) fn after(&mut self, trouble: &Trouble) -> Duration {
        let first = self.misses == 0;
        let wait = self.next();
        match trouble {
            Trouble::Conflict if first => Duration::ZERO,
            Trouble::Conflict | Trouble::NotYet(_) | Trouble::Internal(_) | Trouble::Unanswered => wait,
            Trouble::Busy(asked) => wait.max(*asked).min(SLOWEST),
            Trouble::Refused(_) => self.spread(SLOW),
        }
    }

    fn spread(&mut self, wait: Duration) -> Duration {
        self.drawn = self.drawn.wrapping_add(1);
        let permille = u32::try_from(self.random.hash_one(self.drawn) % 201).unwrap_or(0);
        wait - wait.saturating_mul(permille) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_50_ms_to_5_s() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..10).map(|_| backoff.next().as_millis()).collect();
        let bounds = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
        for (wait, bound) in waits.into_iter().zip(bounds) {
            assert!(
                wait <= bound && wait >= bound * 4 / 5,
                "must wait {bound} ms or a fifth less, not {wait}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST, "must begin anew");
    }

    #[test]
    fn waits_as_what_went_wrong_calls_for() {
        let mut backoff = Backoff::new();
        assert_eq!(
            backoff.after(&Trouble::Conflict),
            Duration::ZERO,
            "must read again at once"
        );
        assert!(
            backoff.after(&Trouble::Conflict) >= FIRST,
            "must wait after another"
        );
        let asked = Duration::from_secs(7);
        assert_eq!(
            backoff.after(&Trouble::Busy(asked)),
            asked,
            "must wait as long as it is asked to"
        );
        let far = Trouble::Busy(Duration::from_secs(3600));
        assert_eq!(backoff.after(&far), SLOWEST, "must not wait for hours");
    }
}
