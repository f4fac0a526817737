use std::time::Duration;

use crate::reply::Refusal;

/// What happened since the last look, for Envoy's counters and histograms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that began to be held.
    pub held: u64,
    /// Held requests that were let go.
    pub released: u64,
    /// Held requests whose client left.
    pub gone: u64,
    /// Refused requests, held before or not, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Confirms that ended with yes.
    pub confirm_yes: u64,
    /// Confirms for which Envoy had no endpoint.
    pub confirm_no_endpoint: u64,
    /// Confirms that were answered by Envoy or by nobody.
    pub confirm_unreachable: u64,
    /// Confirms that were answered by something that has no application behind it.
    pub confirm_not_there: u64,
    /// Clusters that had not answered with yes after the confirm's `giveUp`.
    pub confirm_give_up: u64,
    /// How long each of the requests that stopped being held had been.
    pub waits: Vec<Duration>,
}

impl Counts {
    pub(super) fn refused(&mut self, refusal: Refusal) {
        let at = Refusal::ALL.iter().position(|other| *other == refusal);
        if let Some(count) = at.and_then(|at| self.refused.get_mut(at)) {
            *count += 1;
        }
    }

    /// True if nothing happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
