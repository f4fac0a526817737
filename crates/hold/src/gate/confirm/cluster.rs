//! What one gate knows of one cluster in this epoch: asked or not, confirmed or not, and the request that was released in
//! place of an open question. Never sends anything.

use super::rules::{self, Check, ConfirmVerdict, Terms, Tries};
use super::{ConfirmOutcome, ConfirmToken};
use crate::{StreamId, Time};

/// The confirm of one cluster.
#[derive(Debug)]
pub(in crate::gate) struct ClusterConfirm {
    check: Check,
    /// Released in place of the question that is open, and not answered.
    trial: Option<StreamId>,
}

impl ClusterConfirm {
    /// Nothing is known.
    pub(in crate::gate) fn new() -> Self {
        Self {
            check: Check::Unasked,
            trial: None,
        }
    }

    /// What was asked says nothing any more, but a request that was released in its place is still unanswered.
    pub(in crate::gate) fn ask_anew(&mut self) {
        self.check = Check::Unasked;
    }

    pub(in crate::gate) fn is_confirmed(&self) -> bool {
        self.check == Check::Yes
    }

    /// True if nothing was asked yet.
    pub(in crate::gate) fn is_unasked(&self) -> bool {
        self.check == Check::Unasked
    }

    /// The noes before the next question, if one is due.
    fn due(&self, now: Time) -> Option<Tries> {
        match self.check {
            Check::Unasked => Some(Tries::default()),
            Check::Waiting { again, tries } if again <= now => Some(tries),
            Check::Waiting { .. } | Check::Asking { .. } | Check::Yes => None,
        }
    }

    /// True if a question may be asked.
    pub(in crate::gate) fn is_due(&self, now: Time) -> bool {
        self.due(now).is_some()
    }

    /// If a question is due, it is asked from now on: true if as a HEAD.
    pub(in crate::gate) fn ask(&mut self, now: Time, token: ConfirmToken) -> Option<bool> {
        let tries = self.due(now)?;
        self.check = Check::Asking {
            token,
            since: now,
            tries,
        };
        Some(tries.head())
    }

    /// True if the question of this token is the one that is open.
    pub(in crate::gate) fn is_asking(&self, asked: ConfirmToken) -> bool {
        matches!(self.check, Check::Asking { token, .. } if token == asked)
    }

    /// Takes in the outcome of the open question. `None` if none is open; else a yes, and whether it is only believed.
    ///
    /// # Errors
    /// It is no yes; and whether the operator has to be warned.
    pub(in crate::gate) fn answer(
        &mut self,
        now: Time,
        outcome: ConfirmOutcome,
        terms: &Terms,
    ) -> Option<Result<bool, bool>> {
        let Check::Asking { since, tries, .. } = self.check else {
            return None;
        };
        let tries = tries.with_late(since, now, outcome, terms);
        Some(match rules::judge(now, tries, outcome, terms) {
            ConfirmVerdict::Yes { believed } => Ok(believed),
            ConfirmVerdict::No { check, warn } => {
                self.check = check;
                Err(warn)
            }
        })
    }

    /// From now on requests pass.
    pub(in crate::gate) fn confirm(&mut self) {
        self.check = Check::Yes;
        self.trial = None;
    }

    /// What was seen, if by now it has to be taken for a yes because nothing has contradicted it.
    pub(in crate::gate) fn believed(&self, now: Time, terms: &Terms) -> Option<ConfirmOutcome> {
        self.check.believed_at(terms).filter(|at| *at <= now)?;
        Some(self.seen(now, terms)?.0)
    }

    /// What was seen last, and since when there was nothing better; `None` if nothing bad was seen.
    pub(in crate::gate) fn seen(&self, now: Time, terms: &Terms) -> Option<(ConfirmOutcome, Time)> {
        self.check.seen(now, terms)
    }

    /// True if one request may go now and take the part of the question that is still open.
    pub(in crate::gate) fn may_try(&self, now: Time, terms: &Terms) -> bool {
        self.trial.is_none() && self.check.taken_at(terms).is_some_and(|at| at <= now)
    }

    /// A request is released. While a question is open it takes its part.
    pub(in crate::gate) fn release(&mut self, stream: StreamId) {
        if matches!(self.check, Check::Asking { .. }) {
            self.trial = Some(stream);
        }
    }

    /// A released request has been answered, or has ended without that. `None` if it took no part of a question; else
    /// whether it has answered that.
    pub(in crate::gate) fn end_trial(&mut self, stream: StreamId, answered: bool) -> Option<bool> {
        if self.trial != Some(stream) {
            return None;
        }
        self.trial = None;
        Some(answered && matches!(self.check, Check::Asking { .. }))
    }

    /// When there is something to ask, to believe, or to let go for want of an answer. `from`: before that this gate
    /// does not ask.
    pub(in crate::gate) fn next(&self, now: Time, from: Time, terms: &Terms) -> Option<Time> {
        let asked = match self.check {
            Check::Waiting { again, .. } => Some(from.max(again)),
            Check::Unasked => Some(from).filter(|from| *from > now),
            Check::Asking { .. } | Check::Yes => None,
        };
        let taken = self.check.taken_at(terms).filter(|at| *at > now);
        let all = [asked, taken, self.check.believed_at(terms)];
        all.into_iter().flatten().min()
    }
}
