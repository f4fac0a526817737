//! From held to resumed, refused or gone, and what the end of a stream gives back. One decision at a time, so that nothing
//! that happens between two is overlooked.

use crate::gate::arrival::Ticket;
use crate::gate::confirm::{Conclusion, Confirmed};
use crate::gate::counts::Tally;
use crate::gate::streams::{Answered, Held, Stream, Unanswered};
use crate::gate::{ConfirmCall, ConfirmOutcome, ConfirmToken, Gate, Output, TargetIx};
use crate::reply::{About, Refusal};
use crate::{Reply, StreamId, Time};

impl Gate {
    /// The next decision about a held request, or `None` if there is none at this time.
    pub(super) fn decide(&mut self, now: Time) -> Option<Output> {
        if let Some(stream) = self.streams.next_expired() {
            return self.refuse_held(now, stream, Refusal::Timeout);
        }
        if let Some(output) = self.decide_early(now) {
            return Some(output);
        }
        while let Some(ix) = self.targets.next_ready() {
            let entry = self.targets.get(ix);
            if let Some((stream, refusal)) = entry.and_then(|entry| entry.next_refusal()) {
                return self.refuse_held(now, stream, refusal);
            }
            if let Some(stream) = entry.and_then(|entry| entry.next_release(now)) {
                return Some(Output::ReadAuthority(stream));
            }
            self.targets.end_ready();
        }
        None
    }

    /// True if there is something to decide or to ask at this time.
    pub(super) fn has_decisions(&self, now: Time) -> bool {
        let me = self.me.id;
        let wants_to_ask = |ix| {
            let entry = self.targets.get(ix);
            entry.is_some_and(|entry| entry.wants_to_ask(now, me))
        };
        self.targets.has_ready()
            || self.streams.has_expired()
            || self.early.next(now).is_some()
            || self.questions.has_waiting()
            || self.targets.holding().any(wants_to_ask)
    }

    /// The next question that is due.
    pub(super) fn next_question(&mut self, now: Time) -> Option<ConfirmCall> {
        if let Some(call) = self.questions.next_waiting() {
            return Some(call);
        }
        let (me, questions) = (self.me.id, &self.questions);
        let call = self
            .targets
            .find_holding(|ix, entry| entry.ask(now, me, questions.token(ix)))?;
        self.questions.asked();
        Some(call)
    }

    /// Asks for a request that could not even be held: else a worker with no permit left would go on refusing requests of a
    /// target that is ready.
    pub(super) fn ask_for_denied(&mut self, now: Time, ix: TargetIx, way: (&[u8], &[u8])) {
        let token = self.questions.token(ix);
        let me = self.me.id;
        let entry = self.targets.get_mut(ix);
        if let Some(call) = entry.and_then(|entry| entry.ask_for(now, me, way, token)) {
            self.questions.ask_later(call);
        }
    }

    /// The answer to [`Output::Confirm`]. One to a question that was asked in an earlier epoch changes nothing.
    pub fn confirmed(&mut self, now: Time, token: ConfirmToken, outcome: ConfirmOutcome) {
        self.advance(now);
        self.counts.confirm(outcome.tally());
        // By its own target, whether that holds anything by now or not: an answer may come long after the client has left.
        let ix = token.target();
        let entry = self.targets.get_mut(ix);
        match entry.and_then(|entry| entry.answer(now, self.me.id, token, outcome)) {
            None => {}
            Some(Conclusion::Confirmed(confirmed)) => self.cluster_confirmed(ix, confirmed),
            Some(Conclusion::Unconfirmed { warning, is_gone }) => {
                self.status.change();
                self.warn(warning);
                if is_gone {
                    self.targets.set_ready(ix);
                }
            }
        }
    }

    /// Takes for a yes what nothing has contradicted for long enough.
    pub(super) fn believe(&mut self, now: Time, ix: TargetIx) {
        let me = self.me.id;
        while let Some(confirmed) = self.targets.get_mut(ix).and_then(|entry| entry.believe(now, me)) {
            self.cluster_confirmed(ix, confirmed);
        }
    }

    /// All three ways to a yes end here.
    fn cluster_confirmed(&mut self, ix: TargetIx, confirmed: Confirmed) {
        self.status.hurry(confirmed.is_news);
        self.status.change();
        if confirmed.is_believed {
            self.counts.confirm(Tally::Believed);
        }
        self.warn(confirmed.warning);
        let targets = &self.targets;
        let cluster = || targets.get(ix).map(|entry| entry.cluster(confirmed.queue));
        self.log.debug(|| {
            let id = targets.get(ix).map(|entry| entry.target().id.to_string());
            let (id, cluster) = (id.unwrap_or_default(), cluster().unwrap_or_default());
            format!("confirmed target={id} cluster={cluster}")
        });
        self.targets.set_ready(ix);
    }

    /// One for each epoch and cluster that has not answered.
    fn warn(&mut self, warning: Option<String>) {
        if let Some(warning) = warning {
            self.counts.confirm_give_up += 1;
            self.log.warn(warning);
        }
    }

    /// The first answer's headers are on their way to the client. `Some` if the request had been held. Returned and not an
    /// output, because the headers can be added to in this callback only.
    pub fn answered(&mut self, now: Time, stream: StreamId) -> Option<Answered> {
        self.advance(now);
        let (answered, unanswered) = self.streams.answered(stream)?;
        if let Some(unanswered) = unanswered {
            self.release_ended(stream, unanswered, true);
        }
        Some(answered)
    }

    fn release_ended(&mut self, stream: StreamId, unanswered: Unanswered, is_answered: bool) {
        let Unanswered {
            target: ix,
            generation,
        } = unanswered;
        let Some(entry) = self.targets.get_mut(ix) else {
            return;
        };
        let confirmed = entry.release_ended(stream, generation, is_answered);
        if is_answered && entry.vouch(generation) {
            self.status.hurry(true);
            self.status.change();
        }
        match confirmed {
            Some(confirmed) => self.cluster_confirmed(ix, confirmed),
            None => self.targets.set_ready(ix),
        }
    }

    /// The stream has ended, well or not. Of a stream that was never held `now` is not looked at, so that the shell need not
    /// read a clock.
    pub fn ended(&mut self, now: Time, stream: StreamId, ticket: Ticket) {
        match ticket {
            Ticket::Free => {}
            Ticket::Stray(at) => self.stray_ended(at),
            Ticket::Passed(ix) => self.flight_ended(ix),
            Ticket::Known => self.known_ended(now, stream),
        }
    }

    fn known_ended(&mut self, now: Time, stream: StreamId) {
        self.advance(now);
        if let Some(early) = self.early.end(stream) {
            let charged = early.request.charge_early(self.config.buffers);
            self.permits.give_back_early(1, charged);
            self.counts.gone += 1;
            self.counts.waits.push(early.waited(now));
            return;
        }
        match self.streams.end(stream) {
            Some(Stream::Held(held)) => {
                self.dequeue(stream, &held);
                self.counts.gone += 1;
                self.counts.waits.push(held.waited(now));
            }
            Some(Stream::Resumed {
                target: Some(target),
                window,
                ..
            }) => {
                if let Some(generation) = window {
                    let unanswered = Unanswered { target, generation };
                    self.release_ended(stream, unanswered, false);
                }
                self.flight_ended(target);
            }
            Some(Stream::Passed { target: Some(ix) }) => self.flight_ended(ix),
            Some(
                Stream::Resumed { target: None, .. }
                | Stream::Passed { target: None }
                | Stream::Refused { .. },
            )
            | None => {}
        }
    }

    /// A held request goes on.
    pub(super) fn resume(&mut self, now: Time, stream: StreamId) -> Option<Output> {
        let held = self.streams.take_held(stream)?;
        self.dequeue(stream, &held);
        let waited = held.waited(now);
        let ix = held.target;
        let entry = self.targets.get_mut(ix);
        let target = entry.is_some().then_some(ix);
        let window = entry.and_then(|entry| entry.release(now, held.queue, stream));
        self.counts.released += 1;
        self.counts.waits.push(waited);
        self.log_debug("released", ix, || {
            format!(" held_ms={}", protocol::millis(waited))
        });
        self.streams.resume(stream, target, waited, window);
        Some(Output::Resume(stream))
    }

    /// A held request is refused.
    pub(super) fn refuse_held(&mut self, now: Time, stream: StreamId, refusal: Refusal) -> Option<Output> {
        let held = self.streams.take_held(stream)?;
        let entry = self
            .targets
            .get(held.target)
            .filter(|_| refusal == Refusal::Timeout);
        let unreached = entry.and_then(|entry| entry.unreached(now, self.me.id));
        let why = unreached.map(|unreached| {
            let (cluster, saw) = (unreached.cluster, unreached.saw);
            format!("cluster {cluster}: {saw}, for {} s", unreached.for_ms / 1_000)
        });
        self.dequeue(stream, &held);
        let waited = held.waited(now);
        self.counts.refused(refusal);
        self.counts.waits.push(waited);
        self.streams.refuse(stream, waited, held.grpc.then_some(refusal));
        let reply = self.reply(refusal, held.grpc, Some(held.target), why.as_deref());
        Some(Output::Refuse(stream, reply))
    }

    /// A request that was held is held no more: its permits are given back.
    fn dequeue(&mut self, stream: StreamId, held: &Held) {
        self.status.change();
        self.give_back(held.target, held.bytes);
        if let Some(entry) = self.targets.get_mut(held.target) {
            entry.dequeue(held.queue, held.order, stream);
        }
        self.targets.end_hold(held.target);
    }

    pub(super) fn give_back(&mut self, ix: TargetIx, bytes: u64) {
        if let Some(entry) = self.targets.get(ix) {
            self.permits.give_back(ix, entry.slot(), bytes);
        }
    }

    fn flight_ended(&mut self, ix: TargetIx) {
        self.status.change();
        let Some(entry) = self.targets.get_mut(ix) else {
            return;
        };
        entry.usage_mut().end();
        if entry.is_retired() {
            self.drop_if_spent(ix);
        }
    }

    fn stray_ended(&mut self, at: u32) {
        for n in 0.. {
            let Some(ix) = self.strays.target(at, n) else {
                break;
            };
            self.flight_ended(ix);
        }
        self.strays.end(at);
    }

    /// Frees the place of a removed target once nothing of it is left.
    pub(super) fn drop_if_spent(&mut self, ix: TargetIx) {
        if self.targets.drop_if_spent(ix) {
            self.status.forget(ix);
        }
    }

    /// What a client is told. `why` this proxy does not reach a target that is ready, if that is the reason.
    pub(super) fn reply(
        &self,
        refusal: Refusal,
        grpc: bool,
        ix: Option<TargetIx>,
        why: Option<&str>,
    ) -> Reply {
        let target = ix.and_then(|ix| self.targets.get(ix)).map(|entry| entry.target());
        let failed = target.filter(|_| refusal == Refusal::Failed);
        let about = About {
            target: target.map(|target| target.id.as_str()),
            unreached: why.is_some(),
            reason: why.or_else(|| failed.and_then(|target| target.reason.as_deref())),
            class: failed.and_then(|target| target.reason_class.as_deref()),
            retry_after: failed
                .and_then(|target| target.retry_after_ms)
                .map(std::time::Duration::from_millis),
        };
        Reply::new(refusal, grpc, self.config.answers.detail, &about)
    }
}
