//! Waits between the attempts of one order, each shorter by up to a fifth at random.

use std::time::Duration;

use super::trouble::Trouble;
use fleet::backoff::Backoff;

/// Waits after what may pass by itself.
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
/// Wait after a refusal, which takes a person to end.
const SLOW: Duration = Duration::from_secs(5);
/// Longest wait that an API server may ask for.
const SLOWEST: Duration = Duration::from_secs(30);

/// The attempts of one order.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    misses: u32,
}

impl Attempts {
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
        let wait = RETRY.spread(self.misses, permille());
        self.misses = self.misses.saturating_add(1);
        wait
    }

    /// After `trouble`. The first conflict is no reason to wait: status is written to all the time.
    pub(super) fn after(&mut self, trouble: &Trouble) -> Duration {
        let first = self.misses == 0;
        let wait = self.next();
        match trouble {
            Trouble::Conflict if first => Duration::ZERO,
            Trouble::Conflict | Trouble::NotYet(_) | Trouble::Internal(_) | Trouble::Unanswered => wait,
            Trouble::Busy(asked) => wait.max(*asked).min(SLOWEST),
            Trouble::Refused(_) => Backoff::new(SLOW, SLOW).spread(0, permille()),
        }
    }
}

/// A fifth less at most.
fn permille() -> u32 {
    fastrand::u32(800..=1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_50_ms_to_5_s() {
        let mut attempts = Attempts::default();
        let waits: Vec<_> = (0..10).map(|_| attempts.next().as_millis()).collect();
        let bounds = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
        for (wait, bound) in waits.into_iter().zip(bounds) {
            assert!(
                wait <= bound && wait >= bound * 4 / 5,
                "must wait {bound} ms or a fifth less, not {wait}"
            );
        }
        attempts.reset();
        assert!(attempts.next() <= RETRY.wait(0), "must begin anew");
    }

    #[test]
    fn waits_as_what_went_wrong_calls_for() {
        let mut attempts = Attempts::default();
        assert_eq!(
            attempts.after(&Trouble::Conflict),
            Duration::ZERO,
            "must read again at once"
        );
        assert!(
            attempts.after(&Trouble::Conflict) >= RETRY.spread(1, 800),
            "must wait after another"
        );
        let asked = Duration::from_secs(7);
        assert_eq!(
            attempts.after(&Trouble::Busy(asked)),
            asked,
            "must wait as long as it is asked to"
        );
        let far = Trouble::Busy(Duration::from_secs(3600));
        assert_eq!(attempts.after(&far), SLOWEST, "must not wait for hours");
    }
}
