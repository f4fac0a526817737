//! What a gate tells its shell to do, as one enum, and in which order.

use crate::gate::{ConfirmCall, Counts, Gate, LogLevel, ReturnedPermits, TargetPermits};
use crate::{GateStatus, Reply, StreamId, Time};

/// What to do next. A shell is a loop over [`Gate::poll_output`] that carries out each at once, after every input.
///
/// # Order
/// 1. What follows from the answer to an output: [`Output::Resume`] or [`Output::Refuse`] after [`Gate::release`] and
///    [`Gate::permits_answered`].
/// 2. After [`Gate::handle_timeout`] only: every [`Output::Confirm`] that is due, then at most [`Gate::DECISIONS`] decisions
///    about held requests. Questions come first because Envoy gives a call to the context that is active, and a decision ends
///    in another. A request gets its target's permits ([`Output::TakePermits`]) before it can be released.
/// 3. [`Output::PublishStatus`], so that it states all of this, and then [`Output::NotifyRelay`] if that cannot wait.
/// 4. [`Output::ReturnPermits`], after the status that counts these requests no more.
/// 5. [`Output::Count`], and each [`Output::Log`].
/// 6. [`Output::Wake`] if decisions are left.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Send this question, and give what comes of it to [`Gate::confirmed`].
    Confirm(ConfirmCall),
    /// The request may go on, unless the way by which it came has become another target's: read its `:authority`, and call
    /// [`Gate::release`]. Comes again until then.
    ReadAuthority(StreamId),
    /// Take these permits of a target's quota (those of the Envoy's were taken before), and call
    /// [`Gate::permits_answered`].
    TakePermits(StreamId, TargetPermits),
    /// Let the request go on.
    Resume(StreamId),
    /// Answer the request.
    Refuse(StreamId, Reply),
    /// Write this as the gate's status in shared data.
    PublishStatus(GateStatus),
    /// The status that was just written says something that the relay has to know at once.
    NotifyRelay,
    /// Give these permits back.
    ReturnPermits(Vec<ReturnedPermits>),
    /// Add these to the metrics.
    Count(Box<Counts>),
    /// Write a line to the log.
    Log(LogLevel, String),
    /// There is something to decide or to ask: call [`Gate::handle_timeout`] soon, where streams may be resumed and refused.
    /// Comes at most once before each `None`.
    Wake,
}

impl Gate {
    /// Decisions after one [`Gate::handle_timeout`]. Each that ends in a local reply runs nested when the callback of a
    /// WebAssembly VM returns; the VM's stack overflowed at 273 of them.
    pub const DECISIONS: u32 = 64;

    /// The next thing to do; `None` if there is nothing more to do at this time. Never names a stream that has ended.
    /// [`Output`] says in which order.
    pub fn poll_output(&mut self) -> Option<Output> {
        let now = self.now;
        if let Some(output) = self.follow_ups.pop_front() {
            return Some(output);
        }
        if let Some(output) = self.poll_decision(now) {
            return Some(output);
        }
        if self.status.is_due() {
            self.notifies = self.status.is_urgent();
            return Some(Output::PublishStatus(self.write_status(now)));
        }
        if std::mem::take(&mut self.notifies) {
            return Some(Output::NotifyRelay);
        }
        if let Some(permits) = self.return_permits() {
            return Some(Output::ReturnPermits(permits));
        }
        if !self.counts.is_empty() {
            return Some(Output::Count(Box::new(std::mem::take(&mut self.counts))));
        }
        if let Some((level, line)) = self.log.next() {
            return Some(Output::Log(level, line));
        }
        if !self.wakes && self.has_decisions(now) {
            self.wakes = true;
            return Some(Output::Wake);
        }
        self.wakes = false;
        None
    }

    fn poll_decision(&mut self, now: Time) -> Option<Output> {
        if self.asks {
            if let Some(call) = self.next_question(now) {
                return Some(Output::Confirm(call));
            }
            self.asks = false;
        }
        if self.decisions_left == 0 {
            return None;
        }
        let decision = self.decide(now);
        self.decisions_left = if decision.is_some() {
            self.decisions_left - 1
        } else {
            0
        };
        decision
    }

    fn return_permits(&mut self) -> Option<Vec<ReturnedPermits>> {
        let owed = self.permits.take();
        for ix in owed.iter().filter_map(|(ix, _)| *ix) {
            self.drop_if_spent(ix);
        }
        let permits: Vec<_> = owed.into_iter().map(|(_, permits)| permits).collect();
        (!permits.is_empty()).then_some(permits)
    }

    fn write_status(&mut self, now: Time) -> GateStatus {
        let me = self.me;
        let holding = self.targets.holding().filter_map(|ix| self.targets.get(ix));
        let unreached = holding
            .filter(|entry| !entry.is_retired())
            .filter_map(|entry| entry.unreached(now, me.id))
            .take(GateStatus::UNREACHED)
            .collect();
        let targets = &mut self.targets;
        let applied = self.version.unwrap_or(0);
        self.status.write(me.nonce, applied, unreached, |ix| {
            let inherited = targets.inherited(ix);
            targets.get_mut(ix).map(|entry| entry.listing(now, inherited))
        })
    }
}
