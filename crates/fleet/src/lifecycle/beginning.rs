//! The phase in which the life of a target begins that is found as it is.

use super::{Facts, Lifecycle, Observed, Phase, backoff};

impl Lifecycle {
    /// A life that begins with a workload that is there already: in the phase that fits what is seen of it. Nothing is
    /// started or stopped by it.
    pub fn found(seen: Observed, facts: &Facts) -> Self {
        let life = Self::asleep(facts.now);
        // What earlier commands did is part of what is seen; this life has given none.
        let seen = Observed { command: 0, ..seen };
        let ready = seen.ready > 0;
        let phase = match &seen.failure {
            _ if facts.suspend => Phase::Suspended,
            _ if seen.absent && ready => Phase::Ready,
            _ if seen.absent => Phase::Asleep,
            _ if seen.replicas == 0 && seen.left > 0 => Phase::Stopping,
            _ if seen.replicas == 0 => Phase::Asleep,
            _ if ready => Phase::Ready,
            Some(failure) => {
                let retry_after = backoff(&facts.policy, 1, facts.jitter);
                Phase::Failed {
                    class: failure.class,
                    reason: failure.reason.clone(),
                    retry_at: facts.now + retry_after,
                    retry_after,
                }
            }
            None => Phase::Waking { start_at: None },
        };
        let up = phase == Phase::Ready;
        Self {
            attempts: u32::from(matches!(phase, Phase::Failed { .. })),
            up_since: up.then_some(facts.now),
            epoch: u64::from(up),
            found_up: up,
            phase,
            seen,
            ..life
        }
    }
}
