//! From request headers to a verdict, for what the warm path does not let through.

use std::time::Duration;

use crate::Bound;
use crate::gate::entry::Stance;
use crate::gate::headers::{Owned, Request, Weight, is_grpc};
use crate::gate::release::nanos;
use crate::gate::{Gate, Held, Pending, Stream, TargetIx};
use crate::reply::Refusal;
use crate::{Config, Reply, Slot, StartupThen, StreamId, Time};

/// What happens at the end of a stream. Kept by the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// Nothing: it was never counted.
    Free,
    /// It passed, and no target was found for it: one that comes later may be.
    Stray(u32),
    /// It passed and is in flight.
    Passed(TargetIx),
    /// It is or was held, or was refused: the gate knows it by its id.
    Known,
}

/// What to do with a request now.
#[derive(Debug)]
pub enum Verdict {
    /// Let it go on.
    Pass(Ticket),
    /// Answer it.
    Refuse(Reply),
    /// Take credits, then call [`Gate::hold`] or [`Gate::deny`] in the same callback.
    Hold(Claim),
}

/// Credits that a request needs before it may be held.
#[derive(Debug)]
pub struct Claim {
    /// Whose ledger besides the Envoy's.
    pub slot: Option<Slot>,
    /// Of the target.
    pub max_requests: u32,
    /// Of the target.
    pub max_bytes: u64,
    /// What the request is charged.
    pub bytes: u64,
    target: Option<TargetIx>,
    /// Of a body of unknown length, if Envoy may buffer so much.
    unknown_body: u64,
    grpc: bool,
    /// There was no arrival for a while: should it be refused, the relay is told at once.
    news: bool,
    request: Owned,
}

impl Claim {
    /// On a target's ledger, of nobody.
    #[cfg(any(test, feature = "fuzz"))]
    #[doc(hidden)]
    pub fn of(slot: Slot, bytes: u64, max_requests: u32, max_bytes: u64) -> Self {
        Self {
            slot: Some(slot),
            max_requests,
            max_bytes,
            bytes,
            target: None,
            unknown_body: 0,
            grpc: false,
            news: false,
            request: Owned::new(&Request::default()),
        }
    }

    /// Charges the request what Envoy says of it. Until then it is charged as if it had no headers and were alone on its connection.
    pub fn weigh(&mut self, weight: Weight, config: &Config) {
        self.request.weight = weight;
        self.bytes = self.request.charge(self.unknown_body, config.buffers);
    }
}

/// The first answer to a request that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// How long it was held, for `server-timing`.
    pub waited: Duration,
    /// Set if it was refused in gRPC's way: why.
    pub refused: Option<Refusal>,
}

impl Gate {
    /// True while requests that match nothing must wait, because nothing is known yet.
    pub fn knows_nothing(&self) -> bool {
        !self.known
    }

    /// The cold path. `target` is what the lookups found.
    pub fn arrive(
        &mut self,
        now: Time,
        stream: StreamId,
        target: Option<TargetIx>,
        request: &Request<'_>,
    ) -> Verdict {
        if *request.cluster == *self.config.control_plane.cluster.as_bytes() {
            return self.refuse(Refusal::ControlPlaneRoute, is_grpc(request.content_type), None);
        }
        if !self.known {
            return self.arrive_early(now, stream, request);
        }
        let Some(ix) = target else {
            return Verdict::Pass(Ticket::Free);
        };
        self.judge(now, ix, request)
    }

    fn arrive_early(&mut self, now: Time, stream: StreamId, request: &Request<'_>) -> Verdict {
        let grpc = is_grpc(request.content_type);
        if now >= self.started + self.config.startup.wait {
            match self.config.startup.then {
                StartupThen::Pass => {
                    self.early.insert(stream, Owned::new(request));
                    self.streams.insert(stream, Stream::Passed { target: None });
                    return Verdict::Pass(Ticket::Known);
                }
                StartupThen::Refuse => return self.refuse(Refusal::NoSnapshot, grpc, None),
                StartupThen::Hold => {}
            }
        }
        let request = Owned::new(request);
        Verdict::Hold(Claim {
            slot: None,
            max_requests: u32::MAX,
            max_bytes: u64::MAX,
            bytes: request.charge_early(self.config.buffers),
            target: None,
            unknown_body: u64::MAX,
            grpc,
            news: false,
            request,
        })
    }

    /// What becomes of a request of a known target that is not let through by the warm path.
    fn judge(&mut self, now: Time, ix: TargetIx, request: &Request<'_>) -> Verdict {
        let buffers = self.config.buffers;
        let Some(entry) = self.entry_mut(ix) else {
            return Verdict::Pass(Ticket::Free);
        };
        if entry.retired {
            return Verdict::Pass(Ticket::Free);
        }
        if entry.ignores(request.path, request.user_agent) {
            return if matches!(entry.stance, Stance::Serve | Stance::Pass) {
                Verdict::Pass(Ticket::Free)
            } else {
                self.refuse(Refusal::Ignored, is_grpc(request.content_type), Some(ix))
            };
        }
        let passes = !entry.has_line_for(request.cluster) && entry.is_open_for(Some(now), request.cluster);
        entry.settle(now);
        entry.arrived = false;
        let news = entry
            .last_arrival
            .is_none_or(|at| now.saturating_sub(at) > ARRIVAL_NEWS);
        entry.last_arrival = Some(now);
        if passes {
            entry.in_flight += 1;
            self.touch(ix);
            return Verdict::Pass(Ticket::Passed(ix));
        }
        if let Stance::Refuse(refusal) = entry.stance {
            // A refused arrival is demand too: else a failed target would never be tried again.
            self.row_urgent |= news;
            self.touch(ix);
            return self.refuse(refusal, is_grpc(request.content_type), Some(ix));
        }
        let request = Owned::new(request);
        let claim = Claim {
            slot: Some(entry.slot),
            max_requests: entry.target.hold.max_requests,
            max_bytes: entry.target.hold.max_bytes,
            bytes: request.charge(entry.target.hold.unknown_body, buffers),
            target: Some(ix),
            unknown_body: entry.target.hold.unknown_body,
            grpc: request.grpc,
            news,
            request,
        };
        self.touch(ix);
        Verdict::Hold(claim)
    }

    fn refuse(&mut self, refusal: Refusal, grpc: bool, ix: Option<TargetIx>) -> Verdict {
        self.counts.refused(refusal);
        Verdict::Refuse(self.reply(refusal, grpc, ix))
    }

    /// The credits were granted: holds the request.
    ///
    /// # Errors
    /// There is no room for another cluster of this target; the credits are given back and the request is refused.
    pub fn hold(&mut self, now: Time, stream: StreamId, claim: Claim) -> Result<Ticket, Reply> {
        let order = self.next_order;
        self.next_order += 1;
        let Some(ix) = claim.target else {
            let pending = Pending {
                order,
                since: now,
                request: claim.request,
                claiming: false,
            };
            self.pending.insert(order, stream.0);
            self.streams.insert(stream, Stream::Pending(Box::new(pending)));
            self.counts.held += 1;
            return Ok(Ticket::Known);
        };
        match self.enter_line(now, stream, ix, order, now, claim.bytes, &claim.request) {
            Some(()) => {
                self.counts.held += 1;
                Ok(Ticket::Known)
            }
            None => {
                self.give_back(ix, claim.bytes);
                self.counts.refused(Refusal::Clusters);
                Err(self.reply(Refusal::Clusters, claim.grpc, Some(ix)))
            }
        }
    }

    /// A bound was reached: the request is refused.
    pub fn deny(&mut self, now: Time, claim: &Claim, bound: Bound, of_envoy: bool) -> Reply {
        if let Some(ix) = claim.target {
            self.ask_for_denied(now, ix, &claim.request.cluster, &claim.request.authority);
        }
        let refusal = bound_refusal(bound, of_envoy);
        self.row_urgent |= claim.news;
        self.counts.refused(refusal);
        self.reply(refusal, claim.grpc, claim.target)
    }

    /// Puts a request at its place in the line. `None` if there is no room for another cluster.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call from each of two places that have them all"
    )]
    pub(super) fn enter_line(
        &mut self,
        now: Time,
        stream: StreamId,
        ix: TargetIx,
        order: u64,
        since: Time,
        bytes: u64,
        request: &Owned,
    ) -> Option<()> {
        let waits = self.waits_for_twin(ix, &request.cluster, &request.authority);
        self.any_waits |= waits;
        // It came before the first snapshot, and with it by a route that may be of before.
        let is_early = since < now && self.claimants(&request.cluster, &request.authority).len() > 1;
        let entry = self.entry_mut(ix)?;
        let route = entry.route_for(&request.cluster, &request.authority)?;
        let place = entry.routes.get_mut(usize::from(route))?;
        place.line.insert(order, stream.0);
        place.waits = waits;
        place.doubt |= waits || is_early;
        entry.held += 1;
        let timeout = Duration::from_millis(entry.target.hold.timeout_ms);
        let timeout = request.grpc_timeout.map_or(timeout, |grpc| grpc.min(timeout));
        let deadline = since + timeout;
        if entry.held == 1 {
            self.row_urgent = true;
        }
        self.in_line += 1;
        self.waiting.insert(0, ix.0);
        if deadline > now {
            self.deadlines.insert(nanos(deadline), stream.0);
        } else {
            // It has waited for the first snapshot for longer than its target allows.
            self.expired.push_back(stream);
        }
        let held = Held {
            target: ix,
            route,
            order,
            since: nanos(since),
            deadline: nanos(deadline),
            bytes,
            grpc: request.grpc,
        };
        self.streams.insert(stream, Stream::Held(held));
        self.touch(ix);
        self.note("held", ix, format_args!(""));
        if let Some(entry) = self.entry(ix)
            && entry.next_release(now).is_some()
        {
            self.queue(ix);
        }
        Some(())
    }

    pub(super) fn give_back(&mut self, ix: TargetIx, bytes: u64) {
        if let Some(entry) = self.entry_mut(ix) {
            entry.back.0 += 1;
            entry.back.1 += bytes;
            self.owing.push(ix);
        }
    }
}

pub(super) fn bound_refusal(bound: Bound, of_envoy: bool) -> Refusal {
    match (bound, of_envoy) {
        (Bound::Requests, false) => Refusal::TargetRequests,
        (Bound::Bytes, false) => Refusal::TargetBytes,
        (Bound::Requests, true) => Refusal::EnvoyRequests,
        (Bound::Bytes, true) => Refusal::EnvoyBytes,
    }
}

/// Refused arrivals within this time of another are no news: the relay reports the first at once, the rest in its own time.
const ARRIVAL_NEWS: Duration = Duration::from_secs(1);
