use std::time::Duration;

use super::Policy;

/// Wait after the `attempts`-th failure in a row (from 1): doubled each time, spread by a fifth either way with
/// `jitter` (0 to 1000), and never longer than `retry_max`.
pub fn backoff(policy: &Policy, attempts: u32, jitter: u16) -> Duration {
    // 2^20 times the least wait is beyond any bound that makes sense, and cannot overflow.
    let doublings = attempts.saturating_sub(1).min(20);
    let plain = policy
        .retry_initial
        .saturating_mul(1 << doublings)
        .min(policy.retry_max);
    let permille = 800 + u32::from(jitter.min(1000)) * 400 / 1000;
    (plain.saturating_mul(permille) / 1000).min(policy.retry_max)
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
