//! What becomes of the requests that came before the first snapshot, once that is there or has not come in time. They take the
//! same path as those that arrive later.

use std::time::Duration;

use super::{Entrant, admit, bound_refusal};
use crate::gate::admission::Admitted;
use crate::gate::early::BeforeSnapshot;
use crate::gate::{Gate, Output, TargetIx, TargetPermits};
use crate::reply::Refusal;
use crate::{Bound, StreamId, Time};

impl Gate {
    /// What becomes of the next request that has waited for the first snapshot for long enough.
    pub(in crate::gate) fn decide_early(&mut self, now: Time) -> Option<Output> {
        let stream = self.early.next(now)?;
        if !self.early.is_over() {
            let refuses = self.early.rule(now) == BeforeSnapshot::Refuse;
            return self.end_early(now, stream, None, refuses.then_some(Refusal::NoSnapshot));
        }
        let request = &self.early.get(stream)?.request;
        let Some(ix) = self.find(&request.cluster, &request.authority) else {
            return self.end_early(now, stream, None, None);
        };
        let (targets, status) = (&mut self.targets, &mut self.status);
        let headers = (&*request.cluster, &*request.path, &*request.user_agent);
        match admit(targets, status, now, ix, headers) {
            Admitted::Uncounted => self.end_early(now, stream, None, None),
            Admitted::Counted => self.end_early(now, stream, Some(ix), None),
            Admitted::Ignored => self.end_early(now, stream, None, Some(Refusal::Ignored)),
            Admitted::Refused { refusal, .. } => self.end_early(now, stream, None, Some(refusal)),
            Admitted::Held { .. } => {
                let entry = self.targets.get(ix)?;
                let hold = &entry.target().hold;
                let permits = TargetPermits {
                    slot: entry.slot(),
                    max_requests: hold.max_requests,
                    max_bytes: hold.max_bytes,
                    bytes: request.charge_after_early(hold.unknown_body, self.config.buffers),
                };
                self.early.ask_permits(stream);
                Some(Output::TakePermits(stream, permits))
            }
        }
    }

    /// The answer to [`Output::TakePermits`]: a target's quota has granted or denied them.
    pub fn permits_answered(&mut self, now: Time, stream: StreamId, granted: Result<(), Bound>) {
        self.advance(now);
        let Some(early) = self.early.end(stream) else {
            return;
        };
        let buffers = self.config.buffers;
        let request = &early.request;
        let charged = request.charge_early(buffers);
        let found = self.find(&request.cluster, &request.authority);
        // The Envoy's permit was taken on arrival. From here on it is given back together with the target's.
        let refusal = match (granted, found) {
            (Ok(()), Some(ix)) => {
                let bytes = self.targets.get(ix).map_or(0, |entry| {
                    request.charge_after_early(entry.target().hold.unknown_body, buffers)
                });
                self.permits.give_back_early(0, charged.saturating_sub(bytes));
                let entrant = Entrant {
                    stream,
                    order: early.order,
                    since: early.since,
                    bytes,
                    request,
                    is_early: true,
                };
                if self.enqueue(now, ix, entrant) {
                    return;
                }
                Refusal::Clusters
            }
            (Ok(()), None) => Refusal::NoSnapshot,
            (Err(bound), _) => {
                self.permits.give_back_early(1, charged);
                bound_refusal(bound, false)
            }
        };
        let output = self.refuse_early(stream, early.waited(now), refusal, request.grpc, found);
        self.follow_ups.push_back(output);
    }

    /// A request that has waited for the first snapshot goes on, as one of `target` or of none, or is refused.
    fn end_early(
        &mut self,
        now: Time,
        stream: StreamId,
        target: Option<TargetIx>,
        refusal: Option<Refusal>,
    ) -> Option<Output> {
        let early = self.early.end(stream)?;
        let charged = early.request.charge_early(self.config.buffers);
        self.permits.give_back_early(1, charged);
        let waited = early.waited(now);
        if let Some(refusal) = refusal {
            let found = self.find(&early.request.cluster, &early.request.authority);
            return Some(self.refuse_early(stream, waited, refusal, early.request.grpc, found));
        }
        self.counts.waits.push(waited);
        self.counts.released += 1;
        if !self.early.is_over() {
            self.early.let_through(stream, early.request);
        }
        self.streams.resume(stream, target, waited, None);
        Some(Output::Resume(stream))
    }

    fn refuse_early(
        &mut self,
        stream: StreamId,
        waited: Duration,
        refusal: Refusal,
        grpc: bool,
        ix: Option<TargetIx>,
    ) -> Output {
        self.counts.refused(refusal);
        self.counts.waits.push(waited);
        self.streams.refuse(stream, waited, grpc.then_some(refusal));
        Output::Refuse(stream, self.reply(refusal, grpc, ix, None))
    }

    /// The first snapshot says what those are for that were let through before it: from now on they are in flight.
    pub(in crate::gate) fn begin_known(&mut self) {
        for (stream, request) in self.early.begin_known() {
            let Some(ix) = self.find(&request.cluster, &request.authority) else {
                continue;
            };
            if !self.streams.assign(stream, ix) {
                continue;
            }
            if let Some(entry) = self.targets.get_mut(ix) {
                entry.usage_mut().begin(1);
            }
            self.status.list(ix);
        }
    }
}
