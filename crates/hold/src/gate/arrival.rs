//! From a request's headers to what becomes of it: it passes, is refused, or is held. One path for a request that arrives and
//! for one that has waited for the first snapshot: [`Entry::admit`](super::entry::Entry::admit) decides, the gate counts.

mod early;

use std::time::Duration;

use crate::Bound;
use crate::gate::admission::Admitted;
use crate::gate::early::BeforeSnapshot;
use crate::gate::headers::{Owned, Request, is_grpc};
use crate::gate::permits::PermitRequest;
use crate::gate::status::Status;
use crate::gate::targets::Targets;
use crate::gate::{Gate, TargetIx};
use crate::reply::Refusal;
use crate::{Reply, StreamId, Time};

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

/// What to do with a request that arrives. Returned and not an output, because Envoy wants to know before the callback ends.
#[derive(Debug)]
pub enum ArrivalDecision {
    /// Let it go on.
    Pass(Ticket),
    /// Answer it.
    Refuse(Reply),
    /// Take permits, then call [`Gate::hold`] or [`Gate::deny`] in the same callback.
    Hold(PermitRequest),
}

/// A request at the moment at which it is held.
#[derive(Clone, Copy, Debug)]
struct Entrant<'a> {
    stream: StreamId,
    order: u64,
    since: Time,
    bytes: u64,
    request: &'a Owned,
    /// It came before the first snapshot, and with it by a route that may be of before.
    is_early: bool,
}

impl Gate {
    /// True while requests that match nothing must wait, because nothing is known yet.
    pub fn knows_nothing(&self) -> bool {
        !self.early.is_over()
    }

    /// A request arrives that the warm path does not let pass. `target` is what the lookups found.
    pub fn arrive(
        &mut self,
        now: Time,
        stream: StreamId,
        target: Option<TargetIx>,
        request: &Request<'_>,
    ) -> ArrivalDecision {
        self.advance(now);
        let grpc = is_grpc(request.content_type);
        if *request.cluster == *self.config.control_plane.cluster.as_bytes() {
            return self.refuse(Refusal::ControlPlaneRoute, grpc, None);
        }
        if !self.early.is_over() {
            return self.arrive_early(now, stream, request);
        }
        let Some(ix) = target else {
            return ArrivalDecision::Pass(Ticket::Free);
        };
        let (targets, status) = (&mut self.targets, &mut self.status);
        match admit(
            targets,
            status,
            now,
            ix,
            (request.cluster, request.path, request.user_agent),
        ) {
            Admitted::Uncounted => ArrivalDecision::Pass(Ticket::Free),
            Admitted::Counted => ArrivalDecision::Pass(Ticket::Passed(ix)),
            Admitted::Ignored => self.refuse(Refusal::Ignored, grpc, Some(ix)),
            Admitted::Refused { refusal, .. } => self.refuse(refusal, grpc, Some(ix)),
            Admitted::Held { is_news } => self.request_permits(ix, request, is_news),
        }
    }

    fn request_permits(&self, ix: TargetIx, request: &Request<'_>, news: bool) -> ArrivalDecision {
        let Some(entry) = self.targets.get(ix) else {
            return ArrivalDecision::Pass(Ticket::Free);
        };
        let hold = &entry.target().hold;
        let request = Owned::new(request);
        ArrivalDecision::Hold(PermitRequest {
            slot: Some(entry.slot()),
            max_requests: hold.max_requests,
            max_bytes: hold.max_bytes,
            bytes: request.charge(hold.unknown_body, self.config.buffers),
            target: Some(ix),
            unknown_body: hold.unknown_body,
            news,
            request,
        })
    }

    fn arrive_early(&mut self, now: Time, stream: StreamId, request: &Request<'_>) -> ArrivalDecision {
        let request = Owned::new(request);
        match self.early.rule(now) {
            BeforeSnapshot::Pass => {
                self.early.let_through(stream, request);
                self.streams.pass(stream);
                ArrivalDecision::Pass(Ticket::Known)
            }
            BeforeSnapshot::Refuse => self.refuse(Refusal::NoSnapshot, request.grpc, None),
            BeforeSnapshot::Hold => ArrivalDecision::Hold(PermitRequest {
                slot: None,
                max_requests: u32::MAX,
                max_bytes: u64::MAX,
                bytes: request.charge_early(self.config.buffers),
                target: None,
                unknown_body: u64::MAX,
                news: false,
                request,
            }),
        }
    }

    fn refuse(&mut self, refusal: Refusal, grpc: bool, ix: Option<TargetIx>) -> ArrivalDecision {
        self.counts.refused(refusal);
        ArrivalDecision::Refuse(self.reply(refusal, grpc, ix, None))
    }

    /// The permits were granted: holds the request.
    ///
    /// # Errors
    /// There is no room for another cluster of this target; the permits are given back and the request is refused.
    pub fn hold(&mut self, now: Time, stream: StreamId, permit: PermitRequest) -> Result<Ticket, Reply> {
        self.advance(now);
        let order = self.streams.next_order();
        let Some(ix) = permit.target else {
            self.early.hold(now, stream, order, permit.request);
            self.counts.held += 1;
            return Ok(Ticket::Known);
        };
        let entrant = Entrant {
            stream,
            order,
            since: now,
            bytes: permit.bytes,
            request: &permit.request,
            is_early: false,
        };
        if self.enqueue(now, ix, entrant) {
            self.counts.held += 1;
            return Ok(Ticket::Known);
        }
        self.counts.refused(Refusal::Clusters);
        Err(self.reply(Refusal::Clusters, permit.request.grpc, Some(ix), None))
    }

    /// A bound was reached: the request is refused. `of_envoy`: the bound was the Envoy's, not the target's.
    pub fn deny(&mut self, now: Time, permit: &PermitRequest, bound: Bound, of_envoy: bool) -> Reply {
        self.advance(now);
        let request = &permit.request;
        if let Some(ix) = permit.target {
            self.ask_for_denied(now, ix, (&request.cluster, &request.authority));
        }
        let refusal = bound_refusal(bound, of_envoy);
        self.status.hurry(permit.news);
        self.counts.refused(refusal);
        self.reply(refusal, request.grpc, permit.target, None)
    }

    /// Puts a request in the queue of its cluster. If there is no room for another cluster, its permits are given back and
    /// it is false.
    fn enqueue(&mut self, now: Time, ix: TargetIx, entrant: Entrant<'_>) -> bool {
        let Entrant {
            stream,
            order,
            since,
            bytes,
            request,
            is_early,
        } = entrant;
        let way = (&*request.cluster, &*request.authority);
        let is_blocked = self.targets.is_blocked(ix, way.0, way.1);
        let is_doubtful = is_blocked || is_early && self.targets.claimants(way.0, way.1).len() > 1;
        let Some(entry) = self.targets.get_mut(ix) else {
            return false;
        };
        let Some(queue) = entry.enqueue(way, order, stream, is_blocked, is_doubtful) else {
            self.give_back(ix, bytes);
            return false;
        };
        let timeout = Duration::from_millis(entry.target().hold.timeout_ms);
        let timeout = request.grpc_timeout.map_or(timeout, |grpc| grpc.min(timeout));
        self.status.hurry(entry.queues().held() == 1);
        let may_go = entry.next_release(now).is_some();
        self.targets.begin_hold(ix, is_blocked);
        let grpc = request.grpc;
        self.streams
            .hold(now, stream, ix, queue, order, since, timeout, bytes, grpc);
        self.status.list(ix);
        self.log_debug("held", ix, String::new);
        if may_go {
            self.targets.set_ready(ix);
        }
        true
    }
}

/// Admits a request of a target by its cluster, path and user agent, and notes what that means for the status.
fn admit(
    targets: &mut Targets,
    status: &mut Status,
    now: Time,
    ix: TargetIx,
    (cluster, path, user_agent): (&[u8], &[u8], &[u8]),
) -> Admitted {
    let Some(entry) = targets.get_mut(ix) else {
        return Admitted::Uncounted;
    };
    let admitted = entry.admit(now, cluster, path, user_agent);
    match admitted {
        Admitted::Uncounted | Admitted::Ignored => {}
        Admitted::Counted | Admitted::Held { .. } => status.list(ix),
        Admitted::Refused { is_news, .. } => {
            status.hurry(is_news);
            status.list(ix);
        }
    }
    admitted
}

fn bound_refusal(bound: Bound, of_envoy: bool) -> Refusal {
    match (bound, of_envoy) {
        (Bound::Requests, false) => Refusal::TargetRequests,
        (Bound::Bytes, false) => Refusal::TargetBytes,
        (Bound::Requests, true) => Refusal::EnvoyRequests,
        (Bound::Bytes, true) => Refusal::EnvoyBytes,
    }
}
