//! From held to resumed, refused or gone. At most one decision a call, so that the shell may end its callback in between
//! and nothing that happened meanwhile is overlooked.

use std::time::Duration;

use protocol::{Confirm, State};

use crate::gate::confirm::{self, Check, ConfirmCall, ConfirmToken, Outcome, Tries};
use crate::gate::entry::{Stance, Window};
use crate::gate::request::bound_refusal;
use crate::gate::{Answered, Gate, Held, Stream, TargetIx, Ticket};
use crate::ledger::Bound;
use crate::reply::Refusal;
use crate::{Reply, Slot, StartupThen, StreamId, Time};

/// What to do with a stream. Never names one that has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Let it go on.
    Resume(StreamId),
    /// Answer it.
    Refuse(StreamId, Reply),
    /// Take these credits of a target's ledger (the Envoy's has been charged before), then call [`Gate::claimed`].
    Claim {
        /// Who.
        stream: StreamId,
        /// Whose ledger.
        slot: Slot,
        /// Of the target.
        max_requests: u32,
        /// Of the target.
        max_bytes: u64,
        /// What the request is charged.
        bytes: u64,
    },
}

impl Gate {
    /// The next decision, or `None` if there is none at this time.
    pub fn poll_command(&mut self, now: Time) -> Option<Command> {
        while let Some(stream) = self.expired.pop_front() {
            if matches!(self.streams.get(&stream), Some(Stream::Held(_))) {
                return self.refuse_held(now, stream, Refusal::Timeout);
            }
        }
        if let Some(command) = self.settle_pending(now) {
            return Some(command);
        }
        while let Some(ix) = self.work.front().copied() {
            let Some(entry) = self.entry(ix) else {
                self.work.pop_front();
                continue;
            };
            if let Stance::Refuse(refusal) = entry.stance
                && let Some(stream) = entry.first_in_line()
            {
                return self.refuse_held(now, stream, refusal);
            }
            if let Some(stream) = entry.next_release(now) {
                return self.resume(now, stream);
            }
            self.work.pop_front();
            if let Some(entry) = self.entry_mut(ix) {
                entry.queued = false;
            }
        }
        None
    }

    /// True if [`Gate::poll_command`] may have more to say at this time.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty() || !self.expired.is_empty() || self.may_settle_pending()
    }

    /// True if a root callback would have a question to send at this time: a stream callback may not send it.
    pub fn wants_root(&self, now: Time) -> bool {
        self.waiting.iter().filter_map(|ix| self.entry(*ix)).any(|entry| {
            entry.stance == Stance::Serve
                && !entry.needs_no_confirm()
                && !matches!(entry.target.confirm, Confirm::Off { .. })
                && entry.asks_from(self.me.id).is_some_and(|from| from <= now)
                && entry
                    .routes
                    .iter()
                    .any(|route| !route.line.is_empty() && route.check == Check::Unasked)
        })
    }

    /// The next question to send through a cluster.
    pub fn poll_confirm(&mut self, now: Time) -> Option<ConfirmCall> {
        let me = self.me.id;
        let token = ConfirmToken(self.next_token);
        let waiting = &self.waiting;
        let entries = &mut self.entries;
        for ix in waiting {
            let Some(entry) = entries.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            if entry.stance != Stance::Serve || entry.needs_no_confirm() {
                continue;
            }
            if entry.asks_from(me).is_none_or(|from| from > now) {
                continue;
            }
            let (path, timeout_ms) = match &entry.target.confirm {
                Confirm::Off { .. } => continue,
                Confirm::Http { path, timeout_ms, .. } => (Some(path), *timeout_ms),
                Confirm::Grpc { timeout_ms, .. } => (None, *timeout_ms),
            };
            for route in &mut entry.routes {
                let tries = match route.check {
                    _ if route.line.is_empty() => continue,
                    Check::Unasked => Tries::new(now),
                    Check::Waiting { again, tries } if again <= now => tries,
                    Check::Waiting { .. } | Check::Asking { .. } | Check::Yes => continue,
                };
                route.check = Check::Asking { token, tries };
                self.next_token += 1;
                return Some(ConfirmCall {
                    token,
                    cluster: route.cluster.to_vec(),
                    authority: route.authority.to_vec(),
                    path: path.cloned(),
                    timeout: Duration::from_millis(timeout_ms),
                });
            }
        }
        None
    }

    /// What came of a question. An answer to one that was asked in an earlier epoch changes nothing.
    pub fn confirmed(&mut self, now: Time, token: ConfirmToken, outcome: Outcome) {
        match outcome {
            Outcome::NoEndpoint => self.counts.confirm_no_endpoint += 1,
            Outcome::Unreachable => self.counts.confirm_unreachable += 1,
            Outcome::Answered { .. } => {}
        }
        let found =
            self.waiting
                .iter()
                .copied()
                .chain(self.active.iter().copied())
                .find_map(|ix| {
                    let entry = self.entry(ix)?;
                    entry
                .routes
                .iter()
                .position(|route| matches!(route.check, Check::Asking { token: asked, .. } if asked == token))
                .map(|at| (ix, at))
                });
        let Some((ix, at)) = found else { return };
        let Some(entry) = self.entry_mut(ix) else { return };
        let epoch = entry.target.epoch;
        let confirm = entry.target.confirm.clone();
        let id = entry.target.id.clone();
        let Some(route) = entry.routes.get_mut(at) else {
            return;
        };
        let cluster = String::from_utf8_lossy(&route.cluster).into_owned();
        let Check::Asking { tries, .. } = route.check else {
            return;
        };
        match confirm::judge(now, tries, outcome, &confirm) {
            confirm::Verdict::Yes => {
                route.check = Check::Yes;
                if entry.proven_here != Some(epoch) {
                    entry.proven_here = Some(epoch);
                    let news = entry.proven != Some(epoch);
                    self.row_urgent |= news;
                    self.row_changed = true;
                }
                self.counts.confirm_yes += 1;
                self.note("confirmed", ix, format_args!(" cluster={cluster}"));
                self.queue(ix);
            }
            confirm::Verdict::No { check, warn } => {
                route.check = check;
                if matches!(outcome, Outcome::Answered { .. }) {
                    self.counts.confirm_not_there += 1;
                }
                if warn {
                    self.counts.confirm_give_up += 1;
                    self.warnings.push_back(format!(
                        "target {id}: cluster {cluster} has not answered within confirm.giveUp ({outcome:?}); \
                         its requests stay held until their deadline"
                    ));
                }
            }
        }
    }

    /// A target's ledger has granted or denied what [`Command::Claim`] asked for.
    pub fn claimed(&mut self, now: Time, stream: StreamId, granted: Result<(), Bound>) -> Option<Command> {
        let Some(Stream::Pending(pending)) = self.streams.remove(&stream) else {
            return None;
        };
        self.pending.remove(&pending.order);
        let bytes = pending.request.body_charge_early(self.config.buffer_limit);
        let waited = now.saturating_sub(pending.since);
        let found = self.find(&pending.request.cluster, &pending.request.authority);
        // Its Envoy credit was taken on arrival; from here on the line's own accounting gives both back together.
        let refusal = match (granted, found) {
            (Ok(()), Some(ix)) => {
                let charge = self.entry(ix).map_or(0, |entry| {
                    pending.request.body_charge(entry, self.config.buffer_limit)
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
        self.streams.insert(stream, Stream::Refused { waited });
        Some(Command::Refuse(
            stream,
            self.reply(refusal, pending.request.grpc, found),
        ))
    }

    /// The first answer's headers are on their way to the client. `Some` if the request had been held.
    pub fn answered(&mut self, stream: StreamId) -> Option<Answered> {
        match self.streams.get_mut(&stream)? {
            Stream::Resumed {
                target,
                waited,
                window,
            } => {
                let answered = Answered { waited: *waited };
                if let (Some(generation), Some(ix)) = (window.take(), *target) {
                    self.window_answered(ix, generation);
                }
                Some(answered)
            }
            Stream::Refused { waited } => Some(Answered { waited: *waited }),
            Stream::Pending(_) | Stream::Held(_) => None,
        }
    }

    /// The stream has ended, well or not.
    pub fn ended(&mut self, now: Time, stream: StreamId, ticket: Ticket) {
        match ticket {
            Ticket::Free => {}
            Ticket::Passed(ix) => self.flight_ended(ix),
            Ticket::Known => match self.streams.remove(&stream) {
                Some(Stream::Held(held)) => {
                    self.leave_line(stream, &held);
                    self.counts.gone += 1;
                    self.counts.waits.push(now.saturating_sub(held.since));
                }
                Some(Stream::Pending(pending)) => {
                    self.pending.remove(&pending.order);
                    self.pending_back.0 += 1;
                    self.pending_back.1 += pending.request.body_charge_early(self.config.buffer_limit);
                    self.counts.gone += 1;
                    self.counts.waits.push(now.saturating_sub(pending.since));
                }
                Some(Stream::Resumed {
                    target: Some(ix),
                    window,
                    ..
                }) => {
                    if let Some(generation) = window {
                        self.window_answered(ix, generation);
                    }
                    self.flight_ended(ix);
                }
                Some(Stream::Resumed { target: None, .. } | Stream::Refused { .. }) | None => {}
            },
        }
    }

    /// Carries out what is due at `now`: deadlines, questions to repeat, windows that open by themselves.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((deadline, stream)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            self.expired.push_back(stream);
        }
        let mut to_queue = Vec::new();
        for ix in &self.waiting {
            let Some(entry) = self.entries.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            if entry.stance == Stance::Serve
                && !entry.window.is_open()
                && now >= entry.window.opened + Window::PERIOD
            {
                entry.window.opened = now;
                entry.window.unanswered = 0;
                entry.window.generation = entry.window.generation.wrapping_add(1);
            }
            if entry.next_release(now).is_some() {
                to_queue.push(*ix);
            }
        }
        for ix in to_queue {
            self.queue(ix);
        }
    }

    /// When [`Gate::handle_timeout`] and [`Gate::poll_confirm`] have something to do next; `None` if nothing is held.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let startup =
            (!self.pending.is_empty() && self.config.startup.then != StartupThen::Hold && !self.known)
                .then(|| self.started + self.config.startup.wait)
                .filter(|at| *at > now);
        let entries = self
            .waiting
            .iter()
            .filter_map(|ix| self.entry(*ix))
            .filter_map(|entry| {
                if entry.stance != Stance::Serve {
                    return None;
                }
                let window = (!entry.window.is_open()).then(|| entry.window.opened + Window::PERIOD);
                let settle = match entry.target.confirm {
                    Confirm::Off { settle_ms } => Some(entry.settles_at(settle_ms)).filter(|at| *at > now),
                    _ => None,
                };
                let from = entry.asks_from(self.me.id).filter(|_| !entry.needs_no_confirm());
                let asks = entry
                    .routes
                    .iter()
                    .filter(|route| !route.line.is_empty())
                    .filter_map(|route| match route.check {
                        Check::Waiting { again, .. } => from.map(|from| from.max(again)),
                        Check::Unasked => from.filter(|from| *from > now),
                        Check::Asking { .. } | Check::Yes => None,
                    });
                window.into_iter().chain(settle).chain(asks).min()
            });
        deadline.into_iter().chain(startup).chain(entries).min()
    }

    fn find(&self, cluster: &[u8], authority: &[u8]) -> Option<TargetIx> {
        match self.find_cluster(cluster) {
            crate::gate::Found::Target(ix) => Some(ix),
            crate::gate::Found::AskHost => self.find_host(authority),
            crate::gate::Found::ControlPlane | crate::gate::Found::Nothing => None,
        }
    }

    fn may_settle_pending(&self) -> bool {
        self.known
            && self
                .pending
                .iter()
                .any(|(_, stream)| match self.streams.get(stream) {
                    Some(Stream::Pending(pending)) => !pending.claiming,
                    _ => false,
                })
    }

    /// What becomes of the first request that waits for the first snapshot.
    fn settle_pending(&mut self, now: Time) -> Option<Command> {
        let over = now >= self.started + self.config.startup.wait;
        if !self.known && (!over || self.config.startup.then == StartupThen::Hold) {
            return None;
        }
        let stream = self.pending.values().copied().find(
            |stream| matches!(self.streams.get(stream), Some(Stream::Pending(pending)) if !pending.claiming),
        )?;
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
        let bytes = pending.request.body_charge(entry, self.config.buffer_limit);
        let ignored = entry.ignores(&pending.request);
        let open = entry.held == 0 && entry.is_open_for(Some(now), &pending.request.cluster);
        let counted = !entry.retired && entry.target.state != State::Suspended && !ignored;
        match entry.stance {
            _ if open => self.end_pending(now, stream, counted.then_some(ix), None),
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
        self.pending.remove(&pending.order);
        self.pending_back.0 += 1;
        self.pending_back.1 += pending.request.body_charge_early(self.config.buffer_limit);
        let waited = now.saturating_sub(pending.since);
        self.counts.waits.push(waited);
        if let Some(refusal) = refusal {
            let ix = self.find(&pending.request.cluster, &pending.request.authority);
            self.counts.refused(refusal);
            self.streams.insert(stream, Stream::Refused { waited });
            return Some(Command::Refuse(
                stream,
                self.reply(refusal, pending.request.grpc, ix),
            ));
        }
        self.counts.released += 1;
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

    fn resume(&mut self, now: Time, stream: StreamId) -> Option<Command> {
        let Some(Stream::Held(held)) = self.streams.remove(&stream) else {
            return None;
        };
        self.leave_line(stream, &held);
        let waited = now.saturating_sub(held.since);
        let ix = held.target;
        let mut window = None;
        let mut target = None;
        if let Some(entry) = self.entry_mut(ix) {
            if entry.stance == Stance::Serve {
                entry.window.unanswered += 1;
                if !entry.window.is_open() {
                    entry.window.opened = now;
                }
                window = Some(entry.window.generation);
            }
            if !entry.retired && entry.target.state != State::Suspended {
                entry.in_flight += 1;
                target = Some(ix);
            }
        }
        self.counts.released += 1;
        self.counts.waits.push(waited);
        self.note("released", ix, format_args!(" held_ms={}", waited.as_millis()));
        self.streams.insert(
            stream,
            Stream::Resumed {
                target,
                waited,
                window,
            },
        );
        Some(Command::Resume(stream))
    }

    fn refuse_held(&mut self, now: Time, stream: StreamId, refusal: Refusal) -> Option<Command> {
        let Some(Stream::Held(held)) = self.streams.remove(&stream) else {
            return None;
        };
        self.leave_line(stream, &held);
        let waited = now.saturating_sub(held.since);
        self.counts.refused(refusal);
        self.counts.waits.push(waited);
        self.streams.insert(stream, Stream::Refused { waited });
        Some(Command::Refuse(
            stream,
            self.reply(refusal, held.grpc, Some(held.target)),
        ))
    }

    fn leave_line(&mut self, stream: StreamId, held: &Held) {
        self.deadlines.remove(&(held.deadline, stream));
        self.in_line = self.in_line.saturating_sub(1);
        self.row_changed = true;
        self.give_back(held.target, held.bytes);
        let Some(entry) = self.entry_mut(held.target) else {
            return;
        };
        if let Some(route) = entry.routes.get_mut(usize::from(held.route)) {
            route.line.remove(&held.order);
        }
        entry.held = entry.held.saturating_sub(1);
        if entry.held == 0 {
            self.waiting.remove(&held.target);
        }
    }

    fn flight_ended(&mut self, ix: TargetIx) {
        self.row_changed = true;
        if let Some(entry) = self.entry_mut(ix) {
            entry.in_flight = entry.in_flight.saturating_sub(1);
        }
        self.drop_if_spent(ix);
    }

    fn window_answered(&mut self, ix: TargetIx, generation: u32) {
        if let Some(entry) = self.entry_mut(ix)
            && entry.window.generation == generation
        {
            entry.window.unanswered = entry.window.unanswered.saturating_sub(1);
        }
        self.queue(ix);
    }
}
