//! Does this worker's cluster reach the workload? A gate asks with one small request before it releases the first.
//!
//! Never sends a request: a [`ConfirmCall`] is an output of the gate, and a [`ConfirmOutcome`] the answer to it. A cluster
//! is confirmed in one of three ways: by an answer, because nothing has contradicted a doubtful one for long enough, or because
//! a request that was released in place of the question has been answered.

mod cluster;
mod outcome;
mod rules;
mod target;

use std::collections::VecDeque;
use std::time::Duration;

use protocol::Confirm;

pub(super) use cluster::ClusterConfirm;
pub use outcome::ConfirmOutcome;
pub(super) use rules::Terms;
pub(super) use target::TargetConfirm;

use crate::gate::TargetIx;

/// Names one question and the target that it was asked for, so that a late answer is known for what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfirmToken {
    n: u64,
    target: TargetIx,
}

impl ConfirmToken {
    pub(super) fn target(self) -> TargetIx {
        self.target
    }
}

/// A question to send through a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmCall {
    /// To be given back with the outcome.
    pub token: ConfirmToken,
    /// Envoy's name of the cluster.
    pub cluster: Vec<u8>,
    /// What it says in `:authority`: `confirm.authority`, or that of the first held request.
    pub authority: Vec<u8>,
    /// Path, or `None` for `grpc.health.v1.Health/Check`.
    pub path: Option<String>,
    /// HEAD, whose answer is whole with its headers, and not GET.
    pub head: bool,
    /// How long the call may stay open. Far longer than `confirm.timeout`: Envoy counts every call that it ends by a
    /// time-out against the host, and an answer is a yes however late it comes.
    pub timeout: Duration,
}

impl ConfirmCall {
    /// The question that the target wants to be asked through this cluster. `None` if it wants none.
    pub(super) fn new(
        token: ConfirmToken,
        confirm: &Confirm,
        terms: &Terms,
        cluster: &[u8],
        held: &[u8],
    ) -> Option<Self> {
        let (path, authority) = match confirm {
            Confirm::Off { .. } | Confirm::Unknown => return None,
            Confirm::Http { path, authority, .. } => (Some(path), authority),
            Confirm::Grpc { authority, .. } => (None, authority),
        };
        Some(Self {
            token,
            cluster: cluster.to_vec(),
            authority: authority.as_ref().map_or(held, |it| it.as_bytes()).to_vec(),
            path: path.cloned(),
            head: true,
            timeout: terms.open(),
        })
    }
}

/// What follows from an outcome, a belief, or the answer to a released request.
#[derive(Debug)]
pub(super) enum Conclusion {
    /// The cluster reaches the workload.
    Confirmed(Confirmed),
    /// It does not, or it is not known yet.
    Unconfirmed {
        /// For the operator, once for each epoch and cluster.
        warning: Option<String>,
        /// Envoy knows no such cluster, so its requests have no way any more.
        is_gone: bool,
    },
}

/// A cluster that reaches the workload from now on.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// Which of the target's queues.
    pub(super) queue: u16,
    /// No gate of this Envoy had had its yes, so the others have to hear of it at once.
    pub(super) is_news: bool,
    /// It is only believed: something is there, and that has to do.
    pub(super) is_believed: bool,
    /// For the operator.
    pub(super) warning: Option<String>,
}

/// Numbers the questions of all targets, and keeps those that are asked for requests which could not be held.
#[derive(Debug, Default)]
pub(super) struct Questions {
    next: u64,
    /// To be sent by the root. One at a time for each cluster, so no more than there are clusters.
    waiting: VecDeque<ConfirmCall>,
}

impl Questions {
    /// The token of the next question, if it should be for this target.
    pub(super) fn token(&self, target: TargetIx) -> ConfirmToken {
        ConfirmToken { n: self.next, target }
    }

    /// The question that got the last token is to be sent at once.
    pub(super) fn asked(&mut self) {
        self.next += 1;
    }

    /// The question that got the last token is to be sent by the next root callback.
    pub(super) fn ask_later(&mut self, call: ConfirmCall) {
        self.asked();
        self.waiting.push_back(call);
    }

    /// The next of those that wait for a root callback.
    pub(super) fn next_waiting(&mut self) -> Option<ConfirmCall> {
        self.waiting.pop_front()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
