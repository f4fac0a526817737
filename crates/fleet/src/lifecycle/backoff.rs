//! How long a start waits after failures in a row.

use std::time::Duration;

use super::Policy;
use crate::backoff::Backoff;

/// Wait after the `attempts`-th failure in a row (from 1): doubled each time, spread by a fifth either way with
/// `jitter` (0 to 1000), and never longer than `retry_max`.
pub fn backoff(policy: &Policy, attempts: u32, jitter: u16) -> Duration {
    let permille = 800 + u32::from(jitter.min(1000)) * 400 / 1000;
    Backoff::new(policy.retry_initial, policy.retry_max).spread(attempts.saturating_sub(1), permille)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_its_bound() {
        let policy = Policy::default();
        let waits: Vec<_> = (1..=8).map(|n| backoff(&policy, n, 500).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60], "must double and then stay");
        assert_eq!(
            backoff(&policy, u32::MAX, 1000),
            policy.retry_max,
            "must never be longer"
        );
    }

    #[test]
    fn spreads_by_a_fifth_either_way() {
        let policy = Policy::default();
        assert_eq!(backoff(&policy, 1, 0).as_millis(), 800, "must be a fifth less");
        assert_eq!(
            backoff(&policy, 1, 1000).as_millis(),
            1200,
            "must be a fifth more"
        );
    }
}
