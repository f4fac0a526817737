//! One step of a life: a pure function of the life, what happens, and the facts.

use super::sleep::{idle, may_sleep, may_stop};
use super::{Cause, Effect, Event, Facts, Failure, FailureClass, Lifecycle, Phase, Reason, Step, backoff};
use crate::time::Time;

/// One step of a life: the event is taken in, then at most one change of phase is made.
pub fn step(life: &Lifecycle, event: Event, facts: &Facts) -> Step {
    let mut turn = Turn {
        life: life.clone(),
        had_obeyed: life.obeyed(),
        effects: Vec::new(),
        moved: None,
        facts,
    };
    match event {
        Event::Tick => {}
        // What was seen before the last command was carried out says nothing about what it does.
        Event::Observed(seen) if seen.command >= turn.life.command => turn.life.seen = seen,
        Event::Observed(_) => {}
        Event::Retire => turn.life.retiring = true,
        Event::Restore => turn.life.retiring = false,
        Event::Wake => turn.wake(),
        Event::Sleep => turn.sleep(),
    }
    if turn.moved.is_none() {
        turn.settle();
    }
    Step {
        life: turn.life,
        effects: turn.effects,
        moved: turn.moved,
    }
}

/// A life while it is stepped.
struct Turn<'a> {
    life: Lifecycle,
    /// The last command was known to be carried out before this step.
    had_obeyed: bool,
    effects: Vec<Effect>,
    moved: Option<Reason>,
    facts: &'a Facts,
}

impl Turn<'_> {
    /// A person asks for it to be up.
    fn wake(&mut self) {
        if self.facts.suspend {
            return;
        }
        match self.life.phase {
            Phase::Asleep | Phase::Failed { .. } => self.start(Cause::Person, Reason::Asked),
            // Said again, for a backend that waits for a person; its idle time begins anew.
            Phase::Waking { .. } => {
                self.life.since = self.facts.now;
                self.command_start(Cause::Person);
            }
            Phase::Draining { .. } => self.turn_back(Reason::Asked),
            Phase::Stopping => self.life.wake_asked = true,
            Phase::Ready | Phase::Suspended => {}
        }
    }

    /// A person asks for it to be put to sleep.
    fn sleep(&mut self) {
        if may_sleep(&self.life, self.facts).is_err() {
            return;
        }
        match self.life.phase {
            Phase::Ready => self.drain(true, Reason::Asked),
            Phase::Waking { .. } | Phase::Failed { .. } => self.stop(self.life.seen.replicas, Reason::Asked),
            Phase::Stopping => self.life.wake_asked = false,
            Phase::Asleep | Phase::Draining { .. } | Phase::Suspended => {}
        }
    }

    /// The first thing that the facts call for.
    fn settle(&mut self) {
        self.life.note_lasting(self.facts);
        if self.facts.suspend && !matches!(self.life.phase, Phase::Stopping | Phase::Suspended) {
            self.life.undone = None;
            return self.enter(Phase::Suspended, Reason::Suspend);
        }
        match self.life.phase {
            Phase::Asleep => self.settle_asleep(),
            Phase::Waking { start_at } => self.settle_waking(start_at),
            Phase::Ready => self.settle_ready(),
            Phase::Draining { asked, from } => self.settle_draining(asked, from),
            Phase::Stopping => self.settle_stopping(),
            Phase::Failed { retry_at, .. } => self.settle_failed(retry_at),
            Phase::Suspended => self.settle_suspended(),
        }
    }

    fn settle_asleep(&mut self) {
        if self.set_to_some() {
            self.enter(Phase::Waking { start_at: None }, Reason::SetByOthers);
        } else if self.is_let_go_asleep() {
            self.effects.push(Effect::Drop);
        } else if self.life.wake_asked {
            self.start(Cause::Person, Reason::Asked);
        } else if self.life.held_until(self.facts).is_some() {
            // Requests stay held while it waits.
        } else if self.life.retiring {
            self.start(Cause::Retired, Reason::Retired);
        } else if self.facts.demand(self.life.away_since) {
            self.start(Cause::Demand, Reason::Demand);
        }
    }

    fn settle_waking(&mut self, start_at: Option<Time>) {
        if self.is_up() {
            return self.enter_ready(Reason::Endpoints);
        }
        if self.life.obeyed()
            && let Some(failure) = self.life.seen.failure.clone()
        {
            return self.fail(failure);
        }
        if self.set_to_zero() && !self.life.seen.finished {
            return self.undone();
        }
        if self.is_let_go_waking() {
            self.effects.push(Effect::Drop);
        } else if idle(&self.life, self.facts) {
            self.give_a_start_up();
        } else if start_at.is_some_and(|at| self.facts.now >= at) {
            self.life.phase = Phase::Waking { start_at: None };
            self.command_start(Cause::Lost);
        }
    }

    fn settle_ready(&mut self) {
        if self.set_to_zero() && self.life.seen.finished {
            self.finish();
        } else if self.set_to_zero() {
            self.life.note_undone(self.facts);
            self.leave(Phase::Stopping, Reason::SetByOthers);
        } else if !self.is_up() {
            self.lose();
        } else if self.life.retiring {
            self.effects.push(Effect::Drop);
        } else if idle(&self.life, self.facts) {
            self.drain(false, Reason::Idle);
        }
    }

    fn settle_draining(&mut self, asked: bool, from: u32) {
        let Facts { now, policy, .. } = *self.facts;
        let begun = self.life.since;
        let idle_until = self.facts.last_use.map(|used| used + self.facts.idle_after);
        if self.set_to_zero() && self.life.seen.finished {
            self.finish();
        } else if self.set_to_zero() {
            self.leave(Phase::Stopping, Reason::SetByOthers);
        } else if self.life.obeyed() && self.life.seen.replicas != from {
            self.turn_back(Reason::SetByOthers);
        } else if self.life.retiring {
            self.turn_back(Reason::Retired);
        } else if self.facts.busy() {
            self.turn_back(Reason::InUse);
        } else if !asked && idle_until.is_some_and(|until| until > now) {
            self.turn_back(Reason::Used);
        } else if may_stop(self.facts).is_ok() && now >= begun + policy.drain_pause {
            self.stop(from, Reason::Confirmed);
        } else if now >= begun + policy.drain_timeout {
            self.turn_back(Reason::Unconfirmed);
        }
    }

    fn settle_stopping(&mut self) {
        if !self.life.obeyed() {
            return;
        }
        if self.life.seen.replicas > 0 || (self.life.seen.absent && self.is_up()) {
            let why = if self.had_obeyed {
                Reason::SetByOthers
            } else {
                Reason::Abandoned
            };
            self.return_to_service(why);
        } else if self.life.seen.left == 0 {
            // It has lived to its end: what failed before is forgiven.
            self.life.attempts = 0;
            self.enter(Phase::Asleep, Reason::Gone);
        }
    }

    fn settle_failed(&mut self, retry_at: Time) {
        let wanted = self.facts.demand(self.life.since);
        let let_go = self.life.retiring && (self.life.seen.absent || self.facts.held == 0);
        if self.is_up() {
            self.enter_ready(Reason::Endpoints);
        } else if let_go {
            // Tried again without demand it would go on refusing what is no longer its own.
            self.effects.push(Effect::Drop);
        } else if self.set_to_zero() && self.life.seen.failure.is_none() {
            self.undone();
        } else if wanted && self.facts.now >= retry_at {
            self.start(Cause::Retry, Reason::Retry);
        } else if idle(&self.life, self.facts) {
            self.stop(self.life.seen.replicas, Reason::Idle);
        }
    }

    fn settle_suspended(&mut self) {
        if self.life.retiring {
            self.effects.push(Effect::Drop);
        } else if self.facts.suspend {
        } else if self.is_up() {
            self.enter_ready(Reason::Suspend);
        } else if self.life.seen.replicas > 0 && self.life.seen.failure.is_none() {
            self.enter(Phase::Waking { start_at: None }, Reason::Suspend);
        } else {
            self.leave(Phase::Asleep, Reason::Suspend);
        }
    }

    fn is_up(&self) -> bool {
        self.life.obeyed() && self.life.seen.ready > 0
    }

    fn set_to_zero(&self) -> bool {
        self.life.obeyed() && self.life.seen.replicas == 0 && !self.life.seen.absent
    }

    fn set_to_some(&self) -> bool {
        self.life.obeyed() && self.life.seen.replicas > 0
    }

    /// It was removed while it is at zero, and is not woken for that: its workload was removed as well, or no request waits and
    /// it is not to be left awake, or others who set zero again have said so.
    fn is_let_go_asleep(&self) -> bool {
        let unwanted = !self.facts.policy.leaves_awake || self.life.undone.is_some();
        self.life.retiring && (self.life.seen.absent || (self.facts.held == 0 && unwanted))
    }

    /// It was removed while it is on its way up, and that need not be waited for: no request waits and there is no start under
    /// way, or it has taken too long.
    fn is_let_go_waking(&self) -> bool {
        let pending = matches!(self.life.phase, Phase::Waking { start_at: Some(_) })
            || (!self.facts.policy.leaves_awake && !self.life.start_has_begun());
        let overdue = self
            .life
            .overdue_at(self.facts)
            .is_some_and(|at| self.facts.now >= at);
        self.life.retiring && (overdue || (pending && self.facts.held == 0))
    }

    /// No request waits for it any more: what has not begun is not begun, and what has begun has taken too long.
    fn give_a_start_up(&mut self) {
        match self.facts.policy.start_limit {
            Some(limit) if self.life.start_has_begun() => self.fail(Failure::new(
                FailureClass::StartTimeout,
                format!("not ready within {limit:?}"),
            )),
            _ => self.stop(self.life.seen.replicas, Reason::Idle),
        }
    }

    /// It has ended by itself, and well: that is a sleep, unless it has ended under those who use it.
    fn finish(&mut self) {
        if self.facts.busy() {
            self.lose();
        } else {
            self.leave(Phase::Stopping, Reason::Finished);
        }
    }

    fn enter(&mut self, phase: Phase, why: Reason) {
        self.life.phase = phase;
        self.life.since = self.facts.now;
        self.moved = Some(why);
    }

    fn enter_ready(&mut self, why: Reason) {
        self.life.epoch += 1;
        self.life.found_up = false;
        self.life.up_since = Some(self.facts.now);
        self.enter(Phase::Ready, why);
    }

    /// On the way to zero: from now on an arrival is demand.
    fn leave(&mut self, phase: Phase, why: Reason) {
        self.life.away_since = self.facts.now;
        self.enter(phase, why);
    }

    /// Others have set zero before it was up: theirs stands.
    fn undone(&mut self) {
        self.life.note_undone(self.facts);
        let phase = if self.life.seen.left > 0 {
            Phase::Stopping
        } else {
            Phase::Asleep
        };
        self.leave(phase, Reason::SetByOthers);
    }

    fn start(&mut self, cause: Cause, why: Reason) {
        self.life.wake_asked = false;
        self.enter(Phase::Waking { start_at: None }, why);
        self.command_start(cause);
    }

    fn command_start(&mut self, cause: Cause) {
        self.life.command += 1;
        if self.life.seen.replicas == 0 {
            self.life.started = Some(self.facts.now);
        }
        self.effects.push(Effect::Start {
            command: self.life.command,
            cause,
        });
    }

    fn drain(&mut self, asked: bool, why: Reason) {
        let from = self.life.seen.replicas;
        self.enter(Phase::Draining { asked, from }, why);
    }

    fn stop(&mut self, from: u32, why: Reason) {
        self.life.command += 1;
        self.effects.push(Effect::Stop {
            command: self.life.command,
            from,
        });
        self.leave(Phase::Stopping, why);
    }

    /// Others want it up while it was to be stopped. Whether the endpoints are those from before is not known:
    /// an epoch begins.
    fn return_to_service(&mut self, why: Reason) {
        if self.is_up() {
            self.enter_ready(why);
        } else {
            self.enter(Phase::Waking { start_at: None }, why);
        }
    }

    /// A drain is given up. The epoch stands: nothing was stopped.
    fn turn_back(&mut self, why: Reason) {
        if self.is_up() {
            self.enter(Phase::Ready, why)
        } else {
            self.lose()
        }
    }

    /// What was up is gone: it is started again, the first time at once.
    fn lose(&mut self) {
        let stood = self
            .life
            .up_since
            .is_some_and(|up| self.facts.now.since(up) >= self.facts.policy.stable);
        self.life.attempts = if stood {
            1
        } else {
            self.life.attempts.saturating_add(1)
        };
        self.life.seen.failure = None;
        if self.life.attempts == 1 {
            return self.start(Cause::Lost, Reason::Lost);
        }
        let wait = backoff(&self.facts.policy, self.life.attempts - 1, self.facts.jitter);
        self.enter(
            Phase::Waking {
                start_at: Some(self.facts.now + wait),
            },
            Reason::Lost,
        );
    }

    fn fail(&mut self, failure: Failure) {
        if self.life.seen.absent {
            // Nothing was started, so what is found there later undoes nothing.
            self.life.started = None;
        }
        self.life.attempts = self.life.attempts.saturating_add(1);
        let retry_after = backoff(&self.facts.policy, self.life.attempts, self.facts.jitter);
        let retry_at = self.facts.now + retry_after;
        self.enter(
            Phase::Failed {
                class: failure.class,
                reason: failure.reason,
                retry_at,
                retry_after,
            },
            Reason::CannotStart,
        );
    }
}
