//! Asks through the clusters of one target, and draws the conclusions from what comes of it. The rules are in
//! [`crate::gate::confirm`].

use super::Entry;
use crate::gate::admission::Admission;
use crate::gate::confirm::{Conclusion, ConfirmCall, ConfirmOutcome, ConfirmToken, Confirmed, Terms};
use crate::gate::queues::Queue;
use crate::{GateId, Time, UnreachedCluster};

impl Entry {
    pub(super) fn terms(&self, me: GateId) -> Option<Terms> {
        self.confirm.terms(&self.target, me)
    }

    /// By which rules this gate asks now; `None` if it does not ask.
    fn asking_terms(&self, now: Time, me: GateId) -> Option<Terms> {
        let may_ask = self.admission == Admission::Serve
            && !self.confirm.is_waived(&self.target)
            && self.confirm.asks_from(&self.target, me) <= now;
        self.terms(me).filter(|_| may_ask)
    }

    /// True if a question should be sent that has not been sent once.
    pub(in crate::gate) fn wants_to_ask(&self, now: Time, me: GateId) -> bool {
        self.asking_terms(now, me).is_some() && self.queues.moving().any(|queue| queue.confirm().is_unasked())
    }

    /// The next question that is due, which is being asked from now on.
    pub(in crate::gate) fn ask(&mut self, now: Time, me: GateId, token: ConfirmToken) -> Option<ConfirmCall> {
        let terms = self.asking_terms(now, me)?;
        self.queues.ask(now, &self.target.confirm, &terms, token)
    }

    /// The question that is due for a request that could not be held.
    pub(in crate::gate) fn ask_for(
        &mut self,
        now: Time,
        me: GateId,
        (cluster, authority): (&[u8], &[u8]),
        token: ConfirmToken,
    ) -> Option<ConfirmCall> {
        let terms = self.asking_terms(now, me)?;
        let at = self.queues.open(cluster, authority)?;
        self.queues.ask_for(now, at, &self.target.confirm, &terms, token)
    }

    /// What follows from the outcome of a question. `None` if that was asked in an earlier epoch.
    pub(in crate::gate) fn answer(
        &mut self,
        now: Time,
        me: GateId,
        token: ConfirmToken,
        outcome: ConfirmOutcome,
    ) -> Option<Conclusion> {
        let terms = self.terms(me)?;
        let (at, answer) = self.queues.answer(now, token, outcome, &terms)?;
        Some(match answer {
            Ok(is_believed) => {
                Conclusion::Confirmed(self.confirm_cluster(at, is_believed.then_some(outcome), me))
            }
            Err(warn) => {
                let so = "its requests stay held until their deadline";
                Conclusion::Unconfirmed {
                    warning: warn.then(|| self.warning(at, outcome, &terms, so)),
                    is_gone: outcome == ConfirmOutcome::NoCluster,
                }
            }
        })
    }

    /// Takes for a yes what nothing has contradicted for long enough: one cluster at each call.
    pub(in crate::gate) fn believe(&mut self, now: Time, me: GateId) -> Option<Confirmed> {
        let terms = self.terms(me).filter(|_| self.admission == Admission::Serve)?;
        let (at, saw) = self.queues.find(|queue| queue.confirm().believed(now, &terms))?;
        Some(self.confirm_cluster(at, Some(saw), me))
    }

    /// The cluster of this queue reaches the workload: by a good answer, or by what was seen for long enough.
    pub(super) fn confirm_cluster(
        &mut self,
        at: u16,
        believed: Option<ConfirmOutcome>,
        me: GateId,
    ) -> Confirmed {
        if let Some(queue) = self.queues.get_mut(at) {
            queue.confirm_mut().confirm();
        }
        let was_confirmed = self.confirm.is_confirmed(&self.target);
        // Of a belief the others hear once a request has been answered (`vouch`): what they ask then may be answered as badly.
        let is_news = (believed.is_none() || was_confirmed) && self.confirm.confirm(&self.target);
        let warned = believed.filter(|_| !was_confirmed).zip(self.terms(me));
        Confirmed {
            queue: at,
            is_news,
            is_believed: believed.is_some(),
            warning: warned
                .map(|(saw, terms)| self.warning(at, saw, &terms, "its requests go there all the same")),
        }
    }

    fn warning(&self, at: u16, saw: ConfirmOutcome, terms: &Terms, so: &str) -> String {
        format!(
            "target {}: cluster {} has not answered within confirm.giveUp ({}); {so}",
            self.target.id,
            self.cluster(at),
            saw.text(terms.timeout),
        )
    }

    /// The name of the cluster of a queue, for people.
    pub(in crate::gate) fn cluster(&self, at: u16) -> String {
        let cluster = self.queues.get(at).map_or(&b""[..], Queue::cluster);
        String::from_utf8_lossy(cluster).into_owned()
    }

    /// The cluster that has kept requests held for the longest although the target is ready; `None` if none does.
    pub(in crate::gate) fn unreached(&self, now: Time, me: GateId) -> Option<UnreachedCluster> {
        let terms = self.terms(me)?;
        if self.admission != Admission::Serve || self.confirm.is_waived(&self.target) {
            return None;
        }
        let seen = |queue: &'_ Queue| queue.confirm().seen(now, &terms);
        let seen = self
            .queues
            .moving()
            .filter_map(|queue| Some((queue, seen(queue)?)));
        let (queue, (saw, since)) = seen.min_by_key(|(_, (_, since))| *since)?;
        Some(UnreachedCluster {
            slot: self.slot,
            cluster: String::from_utf8_lossy(queue.cluster()).into_owned(),
            saw: saw.text(terms.timeout).into_owned(),
            for_ms: protocol::millis(now.since(since)),
        })
    }
}
