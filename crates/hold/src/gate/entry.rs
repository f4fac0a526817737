//! One target as one gate sees it: its stance, its line of held requests, and the window of their release.

use std::time::Duration;

use protocol::{Confirm, LossPolicy, State, Target};

use crate::gate::asking::Turn;
use crate::gate::confirm::Check;
use crate::maps::Ordered;
use crate::reply::Refusal;
use crate::{GateId, Slot, SlotRecord, StreamId, Time};

/// What happens to a request of this target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stance {
    /// It passes unasked: the target is suspended, removed, or the policy for a lost control plane says so.
    Pass,
    /// It passes once its cluster is confirmed.
    Serve,
    /// It is held.
    Hold,
    /// It is refused.
    Refuse(Refusal),
}

/// Requests of one target that come by one cluster.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) cluster: Box<[u8]>,
    /// `:authority` of the first request in the line, for the confirm.
    pub(super) authority: Box<[u8]>,
    pub(super) check: Check,
    /// Released in place of the question that is open, and not answered.
    pub(super) first: Option<StreamId>,
    /// Its key has another claimant that is not ready: the line must not move.
    pub(super) waits: bool,
    /// Its key got another claimant, or waited for one, while requests were in the line: their routes may be of before.
    pub(super) doubt: bool,
    /// Envoy has said that there is no such cluster: whoever is in the line has no way any more.
    pub(super) gone: bool,
    /// Held requests by order of arrival. Not a queue, because a client may leave from anywhere.
    pub(super) line: Ordered,
}

impl Route {
    /// True if requests wait in it for nothing but a confirm and the window.
    pub(super) fn moves(&self) -> bool {
        !self.line.is_empty() && !self.waits
    }
}

/// How many released requests may be unanswered at once.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) size: u32,
    pub(super) unanswered: u32,
    /// Raised when the window opens by its own size: an answer to an older generation counts no more.
    pub(super) generation: u32,
    /// When it last closed, or opened by its own size.
    pub(super) opened: Time,
}

impl Window {
    /// From one opening by its own size to the next.
    pub(super) const PERIOD: Duration = Duration::from_secs(1);

    pub(super) fn is_open(&self) -> bool {
        self.unanswered < self.size
    }
}

/// One target.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    /// The target has been removed; the entry stays until its last stream has ended, and its slot names the ledger.
    pub(super) retired: bool,
    pub(super) target: Target,
    pub(super) stance: Stance,
    /// The epoch whose readiness needs no confirm: it was ready in the first snapshot.
    pub(super) trusted: Option<u64>,
    pub(super) routes: Vec<Route>,
    pub(super) held: u32,
    pub(super) in_flight: u32,
    /// An arrival that `last_arrival` does not show yet: the warm path reads no clock.
    pub(super) arrived: bool,
    pub(super) last_arrival: Option<Time>,
    pub(super) window: Window,
    /// When the stance became `Serve`.
    pub(super) serving_since: Time,
    pub(super) prober: Option<GateId>,
    pub(super) turn: Turn,
    pub(super) proven: Option<u64>,
    /// The epoch in which this gate itself has had a yes.
    pub(super) proven_here: Option<u64>,
    /// In the gate's list of active targets.
    pub(super) active: bool,
    /// In the gate's list of targets to work on.
    pub(super) queued: bool,
    /// Credits to give back at the end of the callback.
    pub(super) back: (u32, u64),
}

impl Entry {
    /// Most clusters of one target that a gate keeps apart. A target has one for each of its routes; 64 is more than
    /// any gateway was seen to make, and each costs under 200 bytes.
    pub(super) const ROUTES: usize = 64;

    pub(super) fn new(slot: Slot, target: Target) -> Self {
        Self {
            slot,
            retired: false,
            target,
            stance: Stance::Hold,
            trusted: None,
            routes: Vec::new(),
            held: 0,
            in_flight: 0,
            arrived: false,
            last_arrival: None,
            window: Window::default(),
            serving_since: Time::ZERO,
            prober: None,
            turn: Turn::default(),
            proven: None,
            proven_here: None,
            active: false,
            queued: false,
            back: (0, 0),
        }
    }

    /// Takes in a newer record of the same target. The match keys are the table's business.
    pub(super) fn update(&mut self, now: Time, me: GateId, record: &SlotRecord, target: Target, lost: bool) {
        if target.epoch != self.target.epoch {
            self.serve_anew();
        }
        self.trusted = record.trusted.or(self.trusted);
        self.target = target;
        self.prober = record.prober;
        self.turn = Turn::new(record, me);
        self.proven = record.proven;
        self.window.size = record
            .shares
            .iter()
            .find(|(gate, _)| *gate == me)
            .map_or(1, |(_, share)| (*share).max(1));
        self.take_stance(now, lost);
    }

    /// Follows from the target's state and from whether the control plane is there.
    pub(super) fn take_stance(&mut self, now: Time, lost: bool) {
        let policy = self.target.hold.on_control_plane_loss;
        let next = match self.target.state {
            _ if self.target.has_unknown_words() => Stance::Hold,
            State::Unknown => Stance::Hold,
            State::Suspended => Stance::Pass,
            State::Ready => Stance::Serve,
            _ if lost && policy == LossPolicy::Pass && self.target.state != State::Draining => Stance::Pass,
            State::Failed => Stance::Refuse(Refusal::Failed),
            State::Draining => Stance::Hold,
            State::Asleep | State::Waking if lost && policy == LossPolicy::Refuse => {
                Stance::Refuse(Refusal::ControlPlaneLost)
            }
            State::Asleep | State::Waking => Stance::Hold,
        };
        if next == Stance::Serve && self.stance != Stance::Serve {
            self.serving_since = now;
            self.window.unanswered = 0;
            self.window.generation = self.window.generation.wrapping_add(1);
            self.window.opened = now;
        }
        if next != Stance::Serve && self.target.state != State::Draining {
            self.forget_checks();
        }
        self.stance = next;
    }

    /// The target is no longer published: what is held passes, and nothing is counted any more.
    pub(super) fn retire(&mut self) {
        self.retired = true;
        self.stance = Stance::Pass;
        for route in &mut self.routes {
            route.waits = false;
        }
    }

    /// It has been away in between, seen or not, or another workload may be behind its keys: what was confirmed says nothing.
    pub(super) fn serve_anew(&mut self) {
        self.forget_checks();
        self.stance = Stance::Hold;
    }

    fn forget_checks(&mut self) {
        self.trusted = None;
        self.proven_here = None;
        for route in &mut self.routes {
            route.check = Check::Unasked;
            route.first = None;
        }
    }

    /// True if requests pass, once whatever must be confirmed is.
    pub(super) fn serves(&self) -> bool {
        matches!(self.stance, Stance::Serve | Stance::Pass)
    }

    /// True if whatever reaches this target's clusters now needs no asking.
    pub(super) fn needs_no_confirm(&self) -> bool {
        self.trusted == Some(self.target.epoch)
    }

    /// True if a request by this cluster would have to queue behind others.
    pub(super) fn has_line_for(&self, cluster: &[u8]) -> bool {
        self.held > 0
            && self
                .routes
                .iter()
                .any(|route| !route.line.is_empty() && *route.cluster == *cluster)
    }

    /// True if a request by this cluster would pass now, were nobody waiting.
    pub(super) fn is_open_for(&self, now: Option<Time>, cluster: &[u8]) -> bool {
        match self.stance {
            Stance::Pass => true,
            Stance::Serve if self.needs_no_confirm() => true,
            Stance::Serve => match self.target.confirm {
                Confirm::Off { settle_ms } => {
                    settle_ms == 0 || now.is_some_and(|now| now >= self.settles_at(settle_ms))
                }
                _ => self
                    .routes
                    .iter()
                    .any(|route| route.check == Check::Yes && *route.cluster == *cluster),
            },
            Stance::Hold | Stance::Refuse(_) => false,
        }
    }

    /// Once it has settled, a target that cannot be asked passes on the warm path like any other.
    pub(super) fn settle(&mut self, now: Time) {
        if let Confirm::Off { settle_ms } = self.target.confirm
            && self.stance == Stance::Serve
            && now >= self.settles_at(settle_ms)
        {
            self.trusted = Some(self.target.epoch);
        }
    }

    pub(super) fn settles_at(&self, settle_ms: u64) -> Time {
        self.serving_since + Duration::from_millis(settle_ms)
    }

    /// The next held request that may be released now: the first in line of all open routes.
    pub(super) fn next_release(&self, now: Time) -> Option<StreamId> {
        let moving = self.routes.iter().filter(|route| !route.waits);
        match self.stance {
            Stance::Pass => first_of(moving),
            Stance::Serve if self.window.is_open() => {
                let may_go =
                    |route: &&Route| self.is_open_for(Some(now), &route.cluster) || self.may_try(now, route);
                first_of(moving.filter(may_go))
            }
            _ => None,
        }
    }

    /// The first in line of those routes whose cluster is gone.
    pub(super) fn first_without_cluster(&self) -> Option<StreamId> {
        first_of(self.routes.iter().filter(|route| route.gone))
    }

    /// The first in line of all routes.
    pub(super) fn first_in_line(&self) -> Option<StreamId> {
        first_of(self.routes.iter())
    }

    /// The route of a cluster, made if there is room.
    pub(super) fn route_for(&mut self, cluster: &[u8], authority: &[u8]) -> Option<u16> {
        if let Some(at) = self.routes.iter().position(|route| *route.cluster == *cluster) {
            if let Some(route) = self.routes.get_mut(at)
                && route.line.is_empty()
            {
                route.authority = authority.into();
                route.gone = false;
                route.doubt = false;
            }
            return u16::try_from(at).ok();
        }
        let route = Route {
            cluster: cluster.into(),
            authority: authority.into(),
            check: Check::Unasked,
            first: None,
            waits: false,
            gone: false,
            doubt: false,
            line: Ordered::default(),
        };
        // A place whose line is empty is taken over; indices of others must not move while they hold requests.
        if self.routes.len() >= Self::ROUTES {
            let at = self.routes.iter().position(|route| route.line.is_empty())?;
            if let Some(place) = self.routes.get_mut(at) {
                *place = route;
            }
            return u16::try_from(at).ok();
        }
        self.routes.push(route);
        u16::try_from(self.routes.len() - 1).ok()
    }
}

/// The first to arrive of those who are first in the lines of these routes.
fn first_of<'a>(routes: impl Iterator<Item = &'a Route>) -> Option<StreamId> {
    routes
        .filter_map(|route| route.line.first())
        .min()
        .map(|(_, stream)| StreamId(stream))
}
