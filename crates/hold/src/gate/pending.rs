//! Requests that wait for the first snapshot: what becomes of them when it comes, or does not.

use crate::Bound;
use crate::gate::entry::Stance;
use crate::gate::release::Command;
use crate::gate::request::bound_refusal;
use crate::gate::{Found, Gate, Stream, TargetIx};
use crate::reply::Refusal;
use crate::{StartupThen, StreamId, Time};

impl Gate {
    /// A target's ledger has granted or denied what [`Command::Claim`] asked for.
    pub fn claimed(&mut self, now: Time, stream: StreamId, granted: Result<(), Bound>) -> Option<Command> {
        let Some(Stream::Pending(pending)) = self.streams.remove(&stream) else {
            return None;
        };
        self.pending.remove(pending.order, stream.0);
        let bytes = pending.request.charge_early(self.config.buffers);
        let waited = now.saturating_sub(pending.since);
        let found = self.find(&pending.request.cluster, &pending.request.authority);
        // Its Envoy credit was taken on arrival; from here on the line's own accounting gives both back together.
        let refusal = match (granted, found) {
            (Ok(()), Some(ix)) => {
                let charge = self.entry(ix).map_or(0, |entry| {
                    pending.request.charge_after_early(entry, self.config.buffers)
                });
                self.pending_back.1 += bytes.saturating_sub(charge);
                let entered = self.enter_line(
                    now,
                    stream,
                    ix,
                    pending.order,
                    pending.since,
                    charge,
                    &pending.request,
                );
                if entered.is_some() {
                    return None;
                }
                self.give_back(ix, charge);
                Refusal::Clusters
            }
            (Ok(()), None) => Refusal::NoSnapshot,
            (Err(bound), _) => {
                self.pending_back.0 += 1;
                self.pending_back.1 += bytes;
                bound_refusal(bound, false)
            }
        };
        self.counts.refused(refusal);
        self.counts.waits.push(waited);
        let grpc = pending.request.grpc.then_some(refusal);
        self.streams.insert(stream, Stream::Refused { waited, grpc });
        Some(Command::Refuse(
            stream,
            self.reply(refusal, pending.request.grpc, found),
        ))
    }

    fn find(&self, cluster: &[u8], authority: &[u8]) -> Option<TargetIx> {
        match self.find_cluster(cluster) {
            Found::Target(ix) => Some(ix),
            Found::AskHost => self.find_host(authority, cluster),
            Found::NoCluster | Found::ControlPlane | Found::Nothing => None,
        }
    }

    /// The first request that waits for the first snapshot and need not wait any more.
    pub(super) fn next_pending(&self, now: Time) -> Option<StreamId> {
        let over = now >= self.started + self.config.startup.wait;
        if !self.known && (!over || self.config.startup.then == StartupThen::Hold) {
            return None;
        }
        let is_due = |stream: &StreamId| matches!(self.streams.get(stream), Some(Stream::Pending(pending)) if !pending.claiming);
        self.pending
            .iter()
            .map(|(_, stream)| StreamId(stream))
            .find(is_due)
    }

    /// What becomes of that request.
    pub(super) fn settle_pending(&mut self, now: Time) -> Option<Command> {
        let stream = self.next_pending(now)?;
        let Some(Stream::Pending(pending)) = self.streams.get(&stream) else {
            return None;
        };
        if !self.known {
            let refuse = self.config.startup.then == StartupThen::Refuse;
            return self.end_pending(now, stream, None, refuse.then_some(Refusal::NoSnapshot));
        }
        let Some(ix) = self.find(&pending.request.cluster, &pending.request.authority) else {
            return self.end_pending(now, stream, None, None);
        };
        let entry = self.entry(ix)?;
        let (slot, max_requests, max_bytes) = (
            entry.slot,
            entry.target.hold.max_requests,
            entry.target.hold.max_bytes,
        );
        let bytes = pending.request.charge_after_early(entry, self.config.buffers);
        let ignored = entry.ignores(&pending.request.path, &pending.request.user_agent);
        let serves = matches!(entry.stance, Stance::Serve | Stance::Pass);
        let cluster = &pending.request.cluster;
        let open = !entry.has_line_for(cluster) && entry.is_open_for(Some(now), cluster);
        let counted = !entry.retired && !ignored;
        match entry.stance {
            _ if open || (ignored && serves) => self.end_pending(now, stream, counted.then_some(ix), None),
            _ if ignored => self.end_pending(now, stream, None, Some(Refusal::Ignored)),
            Stance::Refuse(refusal) => {
                if let Some(entry) = self.entry_mut(ix) {
                    entry.last_arrival = Some(now);
                }
                self.touch(ix);
                self.row_urgent = true;
                self.end_pending(now, stream, None, Some(refusal))
            }
            _ => {
                if let Some(entry) = self.entry_mut(ix) {
                    entry.last_arrival = Some(now);
                }
                if let Some(Stream::Pending(pending)) = self.streams.get_mut(&stream) {
                    pending.claiming = true;
                }
                Some(Command::Claim {
                    stream,
                    slot,
                    max_requests,
                    max_bytes,
                    bytes,
                })
            }
        }
    }

    fn end_pending(
        &mut self,
        now: Time,
        stream: StreamId,
        target: Option<TargetIx>,
        refusal: Option<Refusal>,
    ) -> Option<Command> {
        let Some(Stream::Pending(pending)) = self.streams.remove(&stream) else {
            return None;
        };
        self.pending.remove(pending.order, stream.0);
        self.pending_back.0 += 1;
        self.pending_back.1 += pending.request.charge_early(self.config.buffers);
        let waited = now.saturating_sub(pending.since);
        self.counts.waits.push(waited);
        if let Some(refusal) = refusal {
            let ix = self.find(&pending.request.cluster, &pending.request.authority);
            self.counts.refused(refusal);
            let grpc = pending.request.grpc.then_some(refusal);
            self.streams.insert(stream, Stream::Refused { waited, grpc });
            return Some(Command::Refuse(
                stream,
                self.reply(refusal, pending.request.grpc, ix),
            ));
        }
        self.counts.released += 1;
        if !self.known {
            self.early.insert(stream, pending.request);
        }
        if let Some(ix) = target {
            if let Some(entry) = self.entry_mut(ix) {
                entry.in_flight += 1;
                entry.last_arrival = Some(now);
            }
            self.touch(ix);
        }
        self.streams.insert(
            stream,
            Stream::Resumed {
                target,
                waited,
                window: None,
            },
        );
        Some(Command::Resume(stream))
    }

    /// The first snapshot says what those are for that were let through before it: from now on they are in flight.
    pub(super) fn settle_early(&mut self) {
        for (stream, request) in std::mem::take(&mut self.early) {
            let Some(ix) = self.find(&request.cluster, &request.authority) else {
                continue;
            };
            let Some(Stream::Resumed { target, .. } | Stream::Passed { target }) =
                self.streams.get_mut(&stream)
            else {
                continue;
            };
            *target = Some(ix);
            if let Some(entry) = self.entry_mut(ix) {
                entry.in_flight += 1;
            }
            self.touch(ix);
        }
    }
}
