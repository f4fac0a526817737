//! What a gate adds to the metrics since its shell took the last counts.

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
    /// Confirms by how they ended, in the order of [`Tally::ALL`].
    pub confirms: [u64; Tally::ALL.len()],
    /// Clusters that had not answered with yes after the confirm's `giveUp`.
    pub confirm_give_up: u64,
    /// How long each of the requests that stopped being held had been.
    pub waits: Vec<Duration>,
}

impl Counts {
    pub(super) fn confirm(&mut self, tally: Tally) {
        let at = Tally::ALL.iter().position(|other| *other == tally);
        if let Some(count) = at.and_then(|at| self.confirms.get_mut(at)) {
            *count += 1;
        }
    }

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

/// How confirms are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// The workload answered.
    Yes,
    /// Envoy had no endpoint.
    NoEndpoint,
    /// No process accepted the connection.
    Unreachable,
    /// Something answered that says that the workload is not there.
    NotThere,
    /// Envoy had no such cluster.
    NoCluster,
    /// The connection was closed or reset, or the cluster changed.
    Cut,
    /// There was no answer for as long as a question may be open.
    NoAnswer,
    /// Taken for a yes after `giveUp`: a process is there.
    Believed,
}

impl Tally {
    /// Each, in the order of [`crate::Counts::confirms`].
    pub const ALL: [Self; 8] = [
        Self::Yes,
        Self::NoEndpoint,
        Self::Unreachable,
        Self::NotThere,
        Self::NoCluster,
        Self::Cut,
        Self::NoAnswer,
        Self::Believed,
    ];

    /// As it stands in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::NoEndpoint => "no_endpoint",
            Self::Unreachable => "unreachable",
            Self::NotThere => "not_there",
            Self::NoCluster => "no_cluster",
            Self::Cut => "cut",
            Self::NoAnswer => "no_answer",
            Self::Believed => "believed",
        }
    }
}
