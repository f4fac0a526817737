//! From held to resumed, refused or gone. At most one decision a call, so that the shell may end its callback in between
//! and nothing that happened meanwhile is overlooked.

use protocol::Confirm;

use crate::gate::confirm::Check;
use crate::gate::entry::{Stance, Window};
use crate::gate::{Answered, Gate, Held, Stream, TargetIx, Ticket};
use crate::reply::Refusal;
use crate::{Reply, Slot, StartupThen, StreamId, Time};

/// What to do with a stream. Never names one that has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// It may go on, unless the way it came has become another's: read its `:authority`, and call [`Gate::let_go`]. Named
    /// again until then.
    Release(StreamId),
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
            if let Some(stream) = entry.first_without_cluster() {
                return self.refuse_held(now, stream, Refusal::RouteChanged);
            }
            if let Some(stream) = entry.next_release(now) {
                return Some(Command::Release(stream));
            }
            self.work.pop_front();
            if let Some(entry) = self.entry_mut(ix) {
                entry.queued = false;
            }
        }
        None
    }

    /// True if [`Gate::poll_command`] may have more to say at this time.
    pub fn has_work(&self, now: Time) -> bool {
        !self.work.is_empty() || !self.expired.is_empty() || self.next_pending(now).is_some()
    }

    /// The first answer's headers are on their way to the client. `Some` if the request had been held.
    pub fn answered(&mut self, stream: StreamId) -> Option<Answered> {
        match self.streams.get_mut(&stream)? {
            Stream::Resumed {
                target,
                waited,
                window,
            } => {
                let answered = Answered {
                    waited: *waited,
                    refused: None,
                };
                if let (Some(generation), Some(ix)) = (window.take(), *target) {
                    self.window_answered(ix, generation);
                    self.first_ended(ix, stream, true);
                    self.vouch(ix, generation);
                }
                Some(answered)
            }
            Stream::Refused { waited, grpc } => Some(Answered {
                waited: *waited,
                refused: *grpc,
            }),
            Stream::Pending(_) | Stream::Held(_) | Stream::Passed { .. } => None,
        }
    }

    /// The stream has ended, well or not.
    pub fn ended(&mut self, now: Time, stream: StreamId, ticket: Ticket) {
        match ticket {
            Ticket::Free => {}
            Ticket::Stray(at) => self.stray_ended(at),
            Ticket::Passed(ix) => self.flight_ended(ix),
            Ticket::Known => match self.forget_stream(stream) {
                Some(Stream::Held(held)) => {
                    self.leave_line(stream, &held);
                    self.counts.gone += 1;
                    self.counts.waits.push(held.waited(now));
                }
                Some(Stream::Pending(pending)) => {
                    self.pending.remove(pending.order, stream.0);
                    self.pending_back.0 += 1;
                    self.pending_back.1 += pending.request.charge_early(self.config.buffers);
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
                        self.first_ended(ix, stream, false);
                    }
                    self.flight_ended(ix);
                }
                Some(Stream::Passed { target: Some(ix) }) => self.flight_ended(ix),
                Some(
                    Stream::Resumed { target: None, .. }
                    | Stream::Passed { target: None }
                    | Stream::Refused { .. },
                )
                | None => {}
            },
        }
    }

    /// Carries out what is due at `now`: deadlines, questions to repeat, windows that open by themselves.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((deadline, stream)) = self.deadlines.first().filter(|(at, _)| *at <= nanos(now)) {
            self.deadlines.remove(deadline, stream);
            self.expired.push_back(StreamId(stream));
        }
        let mut to_queue = Vec::new();
        for ix in self
            .waiting
            .iter()
            .map(|(_, ix)| TargetIx(ix))
            .collect::<Vec<_>>()
        {
            self.believe(now, ix);
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
                to_queue.push(ix);
            }
        }
        for ix in to_queue {
            self.queue(ix);
        }
    }

    /// When [`Gate::handle_timeout`] and [`Gate::poll_confirm`] have something to do next; `None` if nothing is held.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let deadline = self.deadlines.first().map(|(at, _)| Time::from_nanos(at));
        let startup =
            (!self.pending.is_empty() && self.config.startup.then != StartupThen::Hold && !self.known)
                .then(|| self.started + self.config.startup.wait)
                .filter(|at| *at > now);
        let entries = self
            .waiting
            .iter()
            .filter_map(|(_, ix)| self.entry(TargetIx(ix)))
            .filter_map(|entry| {
                if entry.stance != Stance::Serve {
                    return None;
                }
                let window = (!entry.window.is_open()).then(|| entry.window.opened + Window::PERIOD);
                let settle = match entry.target.confirm {
                    Confirm::Off { settle_ms } => Some(entry.settles_at(settle_ms)).filter(|at| *at > now),
                    _ => None,
                };
                let asks = entry.next_ask(now, self.me.id);
                window.into_iter().chain(settle).chain(asks).min()
            });
        deadline.into_iter().chain(startup).chain(entries).min()
    }

    pub(super) fn resume(&mut self, now: Time, stream: StreamId) -> Option<Command> {
        let Some(Stream::Held(held)) = self.streams.remove(&stream) else {
            return None;
        };
        self.leave_line(stream, &held);
        let waited = held.waited(now);
        let ix = held.target;
        let mut window = None;
        let mut target = None;
        if let Some(entry) = self.entry_mut(ix) {
            if entry.stance == Stance::Serve {
                if let Some(route) = entry.routes.get_mut(usize::from(held.route))
                    && matches!(route.check, Check::Asking { .. })
                {
                    route.first = Some(stream);
                }
                entry.window.unanswered += 1;
                if !entry.window.is_open() {
                    entry.window.opened = now;
                }
                window = Some(entry.window.generation);
            }
            // Of a target that is gone as well: it may come back, or another in its place.
            entry.in_flight += 1;
            target = Some(ix);
        }
        self.counts.released += 1;
        self.counts.waits.push(waited);
        self.note(
            "released",
            ix,
            format_args!(" held_ms={}", crate::units::millis(waited)),
        );
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

    pub(super) fn refuse_held(&mut self, now: Time, stream: StreamId, refusal: Refusal) -> Option<Command> {
        let Some(Stream::Held(held)) = self.streams.remove(&stream) else {
            return None;
        };
        let why = self
            .why_held(now, held.target)
            .filter(|_| refusal == Refusal::Timeout);
        self.leave_line(stream, &held);
        let waited = held.waited(now);
        self.counts.refused(refusal);
        self.counts.waits.push(waited);
        let grpc = held.grpc.then_some(refusal);
        self.streams.insert(stream, Stream::Refused { waited, grpc });
        let reply = self.reply_because(refusal, held.grpc, Some(held.target), why.as_deref());
        Some(Command::Refuse(stream, reply))
    }

    fn leave_line(&mut self, stream: StreamId, held: &Held) {
        self.deadlines.remove(held.deadline, stream.0);
        self.in_line = self.in_line.saturating_sub(1);
        self.row_changed = true;
        self.give_back(held.target, held.bytes);
        let Some(entry) = self.entry_mut(held.target) else {
            return;
        };
        if let Some(route) = entry.routes.get_mut(usize::from(held.route)) {
            route.line.remove(held.order, stream.0);
        }
        entry.held = entry.held.saturating_sub(1);
        if entry.held == 0 {
            self.waiting.remove(0, held.target.0);
        }
    }

    fn forget_stream(&mut self, stream: StreamId) -> Option<Stream> {
        self.early.remove(&stream);
        self.streams.remove(&stream)
    }

    pub(super) fn flight_ended(&mut self, ix: TargetIx) {
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

/// For ordering. A VM does not live for the 584 years that fit.
pub(super) fn nanos(time: Time) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
