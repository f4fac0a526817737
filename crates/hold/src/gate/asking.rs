//! Which questions a gate asks through its clusters, and what follows from the answers. The rules are in
//! [`crate::gate::confirm`].

use std::time::Duration;

use protocol::Confirm;

use crate::gate::confirm::{self, Check, ConfirmCall, ConfirmToken, Outcome, Terms, Tries};
use crate::gate::counts::Tally;
use crate::gate::entry::{Entry, Route, Stance};
use crate::gate::{Gate, TargetIx};
use crate::{GateId, SlotRecord, StreamId, Time};

/// How the gates of one Envoy share the slow pace of the confirm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// This gate's place among those that do not ask for all.
    place: u32,
    /// Their number; 0 before anything is known of them.
    of: u32,
}

impl Turn {
    pub(super) fn new(record: &SlotRecord, me: GateId) -> Self {
        let others = || {
            record
                .shares
                .iter()
                .map(|(gate, _)| *gate)
                .filter(|gate| Some(*gate) != record.prober)
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match others().position(|gate| gate == me) {
            Some(place) => Self {
                place: count(place),
                of: count(others().count()),
            },
            // Not named yet: behind all of them.
            None => Self {
                place: count(others().count()),
                of: count(others().count()).saturating_add(1),
            },
        }
    }
}

/// How long a gate waits for the relay to say who asks, before it asks untold: the relay may be changing hands.
const UNTOLD: Duration = Duration::from_secs(2);

impl Gate {
    /// True if a root callback would have a question to send at this time: a stream callback may not send it.
    pub fn wants_root(&self, now: Time) -> bool {
        let waits = |entry: &Entry| {
            let mut lines = entry.routes.iter().filter(|route| route.moves());
            entry.may_ask(now, self.me.id) && lines.any(|route| route.check == Check::Unasked)
        };
        !self.asks.is_empty()
            || self
                .waiting
                .iter()
                .filter_map(|(_, ix)| self.entry(TargetIx(ix)))
                .any(waits)
    }

    /// The next question to send through a cluster.
    pub fn poll_confirm(&mut self, now: Time) -> Option<ConfirmCall> {
        if let Some(call) = self.asks.pop_front() {
            return Some(call);
        }
        let me = self.me.id;
        for (_, ix) in self.waiting.iter() {
            let ix = TargetIx(ix);
            let token = ConfirmToken::new(self.next_token, ix);
            let Some(entry) = self.entries.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            if !entry.may_ask(now, me) {
                continue;
            }
            let Some(terms) = entry.terms(me) else { continue };
            let confirm = &entry.target.confirm;
            let mut lines = entry.routes.iter_mut().filter(|route| route.moves());
            if let Some(call) = lines.find_map(|route| question(route, confirm, &terms, now, token)) {
                self.next_token += 1;
                return Some(call);
            }
        }
        None
    }

    /// Asks for a request that could not even be held: were nobody to ask, a worker with no place left would refuse
    /// requests of a target that is ready. One question at a time for each route, so at most as many as there are routes.
    pub(super) fn ask_for_denied(&mut self, now: Time, ix: TargetIx, cluster: &[u8], authority: &[u8]) {
        let me = self.me.id;
        let token = ConfirmToken::new(self.next_token, ix);
        let Some(entry) = self.entry_mut(ix) else { return };
        if !entry.may_ask(now, me) {
            return;
        }
        let Some(at) = entry.route_for(cluster, authority) else {
            return;
        };
        let Some(terms) = entry.terms(me) else { return };
        let confirm = &entry.target.confirm;
        let Some(route) = entry.routes.get_mut(usize::from(at)) else {
            return;
        };
        if let Some(call) = question(route, confirm, &terms, now, token) {
            self.next_token += 1;
            self.asks.push_back(call);
        }
    }

    /// What came of a question. An answer to one that was asked in an earlier epoch changes nothing.
    pub fn confirmed(&mut self, now: Time, token: ConfirmToken, outcome: Outcome) {
        self.counts.confirm(outcome.tally());
        // By its own target, whether that holds anything by now or not: an answer may come long after whoever waited has left.
        let ix = token.target();
        let me = self.me.id;
        let Some(entry) = self.entry_mut(ix) else { return };
        let asked = |route: &Route| match route.check {
            Check::Asking {
                token: asked,
                since,
                tries,
            } if asked == token => Some((since, tries)),
            _ => None,
        };
        let mut routes = entry.routes.iter().enumerate();
        let Some((at, (since, tries))) = routes.find_map(|(at, route)| Some((at, asked(route)?))) else {
            return;
        };
        let Some(terms) = entry.terms(me) else { return };
        let tries = tries.with_late(since, now, outcome, &terms);
        match confirm::judge(now, tries, outcome, &terms) {
            confirm::Verdict::Yes { believed } => self.prove(ix, at, believed.then_some(outcome)),
            confirm::Verdict::No { check, warn } => {
                self.row_changed = true;
                let Some(route) = self.entry_mut(ix).and_then(|entry| entry.routes.get_mut(at)) else {
                    return;
                };
                route.check = check;
                route.gone = outcome == Outcome::NoCluster;
                if warn {
                    self.warn_of(ix, at, outcome, "its requests stay held until their deadline");
                }
                if outcome == Outcome::NoCluster {
                    self.queue(ix);
                }
            }
        }
    }

    /// Takes for a yes what nobody has contradicted for long enough.
    pub(super) fn believe(&mut self, now: Time, ix: TargetIx) {
        let me = self.me.id;
        let due = |entry: &Entry| {
            let terms = entry.terms(me).filter(|_| entry.stance == Stance::Serve)?;
            entry.routes.iter().enumerate().find_map(|(at, route)| {
                route.check.believed_at(&terms).filter(|at| *at <= now)?;
                Some((at, route.check.seen(now, &terms)?.0))
            })
        };
        while let Some((at, saw)) = self.entry(ix).and_then(due) {
            self.prove(ix, at, Some(saw));
        }
    }

    /// A released request that took the part of a question has been answered; or it has ended without that.
    pub(super) fn first_ended(&mut self, ix: TargetIx, stream: StreamId, answered: bool) {
        let Some(entry) = self.entry_mut(ix) else { return };
        let Some(at) = entry.routes.iter().position(|route| route.first == Some(stream)) else {
            return;
        };
        if let Some(route) = entry.routes.get_mut(at) {
            route.first = None;
            if answered && matches!(route.check, Check::Asking { .. }) {
                return self.prove(ix, at, None);
            }
        }
        self.queue(ix);
    }

    /// A request that was released under this window has been answered: what was believed until now is known.
    pub(super) fn vouch(&mut self, ix: TargetIx, generation: u32) {
        let Some(entry) = self.entry_mut(ix) else { return };
        let is_open = |route: &Route| route.check == Check::Yes;
        if entry.window.generation == generation
            && entry.stance == Stance::Serve
            && !entry.is_proven()
            && entry.routes.iter().any(is_open)
        {
            entry.proven_here = Some(entry.target.epoch);
            self.row_urgent = true;
            self.row_changed = true;
        }
    }

    /// The cluster of this route reaches the workload: by a good answer, or by what was seen for long enough.
    fn prove(&mut self, ix: TargetIx, at: usize, believed: Option<Outcome>) {
        let Some(entry) = self.entry_mut(ix) else { return };
        let Some(route) = entry.routes.get_mut(at) else {
            return;
        };
        route.check = Check::Yes;
        route.first = None;
        let cluster = String::from_utf8_lossy(&route.cluster).into_owned();
        let epoch = entry.target.epoch;
        let proven = entry.is_proven();
        // Of a belief the others hear once somebody has been answered (`vouch`): what they ask then may be answered as badly.
        if believed.is_none() || proven {
            let news = entry.proven_here.replace(epoch) != Some(epoch) && entry.proven != Some(epoch);
            self.row_urgent |= news;
        }
        self.row_changed = true;
        if let Some(saw) = believed {
            self.counts.confirm(Tally::Believed);
            if !proven {
                self.warn_of(ix, at, saw, "its requests go there all the same");
            }
        }
        self.note("confirmed", ix, format_args!(" cluster={cluster}"));
        self.queue(ix);
    }

    fn warn_of(&mut self, ix: TargetIx, at: usize, saw: Outcome, so: &str) {
        let me = self.me.id;
        let Some(entry) = self.entry(ix) else { return };
        let (Some(route), Some(terms)) = (entry.routes.get(at), entry.terms(me)) else {
            return;
        };
        let warning = format!(
            "target {}: cluster {} has not answered within confirm.giveUp ({}); {so}",
            entry.target.id,
            String::from_utf8_lossy(&route.cluster),
            saw.text(terms.timeout),
        );
        self.counts.confirm_give_up += 1;
        self.warnings.push_back(warning);
    }
}

impl Entry {
    /// By which rules this gate asks; `None` if nothing is asked.
    pub(super) fn terms(&self, me: GateId) -> Option<Terms> {
        let sharers = if self.prober == Some(me) {
            0
        } else {
            self.turn.of.max(1)
        };
        Terms::new(&self.target.confirm, self.is_proven(), sharers)
    }

    /// True if some gate of this Envoy has had its yes in this epoch.
    pub(super) fn is_proven(&self) -> bool {
        let epoch = Some(self.target.epoch);
        self.proven == epoch || self.proven_here == epoch
    }

    /// From when this gate may ask through its clusters: later while another one asks for all, because answers that are
    /// no count towards the ejection of the host, over all workers together.
    pub(super) fn asks_from(&self, me: GateId) -> Time {
        match self.prober {
            _ if self.is_proven() => Time::ZERO,
            Some(prober) if prober == me => Time::ZERO,
            // One that has had no yes for so long may be asking through a cluster that leads nowhere.
            Some(_) => self.serving_since + self.given_up_after() + confirm::SLOW_GAP * self.turn.place,
            None => self.serving_since + UNTOLD,
        }
    }

    /// By then the gate that asks for all has had its yes or its doubt, and whom it released has been answered: another
    /// question that is answered as badly begins a new count towards the ejection of the host.
    fn given_up_after(&self) -> Duration {
        match self.target.confirm {
            Confirm::Http {
                timeout_ms,
                give_up_ms,
                ..
            }
            | Confirm::Grpc {
                timeout_ms,
                give_up_ms,
                ..
            } => Duration::from_millis(timeout_ms.saturating_add(give_up_ms)) + UNTOLD,
            Confirm::Off { .. } | Confirm::Unknown => UNTOLD,
        }
    }

    /// When there is something to ask, to believe, or to let go for want of an answer.
    pub(super) fn next_ask(&self, now: Time, me: GateId) -> Option<Time> {
        let terms = self.terms(me).filter(|_| !self.needs_no_confirm())?;
        let from = self.asks_from(me);
        let routes = self.routes.iter().filter(|route| route.moves());
        routes
            .flat_map(|route| {
                let asked = match route.check {
                    Check::Waiting { again, .. } => Some(from.max(again)),
                    Check::Unasked => Some(from).filter(|from| *from > now),
                    Check::Asking { .. } | Check::Yes => None,
                };
                let taken = route.check.taken_at(&terms).filter(|at| *at > now);
                [asked, taken, route.check.believed_at(&terms)]
            })
            .flatten()
            .min()
    }

    /// True if one request may go by this route and take the part of the question that is still open.
    pub(super) fn may_try(&self, now: Time, route: &Route) -> bool {
        route.first.is_none()
            && self
                .terms(GateId(0))
                .and_then(|terms| route.check.taken_at(&terms))
                .is_some_and(|at| at <= now)
    }

    /// True if this gate may send questions for this target at this time.
    fn may_ask(&self, now: Time, me: GateId) -> bool {
        self.stance == Stance::Serve
            && !self.needs_no_confirm()
            && !matches!(self.target.confirm, Confirm::Off { .. })
            && self.asks_from(me) <= now
    }
}

/// The question to send through this route, if one is due: from now on it is being asked.
fn question(
    route: &mut Route,
    confirm: &Confirm,
    terms: &Terms,
    now: Time,
    token: ConfirmToken,
) -> Option<ConfirmCall> {
    let (path, authority) = match confirm {
        Confirm::Off { .. } | Confirm::Unknown => return None,
        Confirm::Http { path, authority, .. } => (Some(path), authority),
        Confirm::Grpc { authority, .. } => (None, authority),
    };
    let tries = match route.check {
        Check::Unasked => Tries::default(),
        Check::Waiting { again, tries } if again <= now => tries,
        Check::Waiting { .. } | Check::Asking { .. } | Check::Yes => return None,
    };
    route.check = Check::Asking {
        token,
        since: now,
        tries,
    };
    Some(ConfirmCall {
        token,
        cluster: route.cluster.to_vec(),
        authority: match authority {
            Some(authority) => authority.as_bytes().to_vec(),
            None => route.authority.to_vec(),
        },
        path: path.cloned(),
        head: tries.head(),
        timeout: terms.open(),
    })
}

#[cfg(test)]
mod tests;
