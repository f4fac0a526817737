//! One target as this gate sees it: what its state means for requests, which are held, how many are released, and whether
//! its clusters are confirmed. Knows no other target, and of streams only their ids.

mod asking;

use protocol::{State, Target};

use crate::gate::admission::{Admission, Admitted};
use crate::gate::confirm::{Confirmed, TargetConfirm};
use crate::gate::queues::{KeyState, Queue, Queues};
use crate::gate::status::Listing;
use crate::gate::usage::Usage;
use crate::gate::window::Window;
use crate::reply::Refusal;
use crate::{GateId, Slot, SlotRecord, StreamId, TargetUsage, Time};

/// One target.
#[derive(Debug)]
pub(super) struct Entry {
    slot: Slot,
    /// The target has been removed; the entry stays until its last stream has ended, and its slot names the quota.
    retired: bool,
    target: Target,
    admission: Admission,
    confirm: TargetConfirm,
    queues: Queues,
    window: Window,
    usage: Usage,
}

impl Entry {
    pub(super) fn new(slot: Slot, target: Target) -> Self {
        Self {
            slot,
            retired: false,
            target,
            admission: Admission::Hold,
            confirm: TargetConfirm::default(),
            queues: Queues::default(),
            window: Window::default(),
            usage: Usage::default(),
        }
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    pub(super) fn admission(&self) -> Admission {
        self.admission
    }

    pub(super) fn queues(&self) -> &Queues {
        &self.queues
    }

    pub(super) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn usage_mut(&mut self) -> &mut Usage {
        &mut self.usage
    }

    /// True if nothing of it is held or in flight.
    pub(super) fn is_unused(&self) -> bool {
        self.queues.held() == 0 && self.usage.in_flight() == 0
    }

    // What the relay publishes.

    /// Takes in a newer record of the same target. The match keys are the table's business.
    pub(super) fn update(&mut self, now: Time, me: GateId, record: &SlotRecord, target: Target, lost: bool) {
        if target.epoch != self.target.epoch {
            self.serve_anew();
        }
        self.target = target;
        self.confirm.update(record, me);
        let share = record.shares.iter().find(|(gate, _)| *gate == me);
        self.window.resize(share.map_or(1, |(_, share)| (*share).max(1)));
        self.follow(now, lost);
    }

    /// What happens to requests follows from the target's state and from whether the control plane is lost.
    pub(super) fn follow(&mut self, now: Time, lost: bool) {
        let next = Admission::of(&self.target, lost);
        if next == Admission::Serve && self.admission != Admission::Serve {
            self.confirm.serve(now);
            self.window.restart(now);
        }
        if next != Admission::Serve && self.target.state != State::Draining {
            self.forget_confirms();
        }
        self.admission = next;
    }

    /// It has been away in between, seen or not, or another workload may be behind its keys: what was confirmed says nothing.
    pub(super) fn serve_anew(&mut self) {
        self.forget_confirms();
        self.admission = Admission::Hold;
    }

    fn forget_confirms(&mut self) {
        self.confirm.forget();
        self.queues.forget_confirms();
    }

    /// The target is no longer published: its held requests pass, and the status lists it no more.
    pub(super) fn retire(&mut self) {
        self.retired = true;
        self.admission = Admission::Pass;
    }

    /// The target was removed and is back, in this slot: its streams of before are its own again.
    pub(super) fn revive(&mut self, slot: Slot, target: Target) {
        self.slot = slot;
        self.retired = false;
        self.admission = Admission::Hold;
        self.target = target;
    }

    /// Its queues are blocked and move as their keys are. True if one moves again.
    pub(super) fn block(&mut self, keys: &[KeyState]) -> bool {
        let moves = self.queues.block(keys);
        if moves {
            self.confirm.require();
        }
        moves
    }

    // Requests that arrive.

    /// True if requests pass, once whatever must be confirmed is.
    pub(super) fn serves(&self) -> bool {
        matches!(self.admission, Admission::Serve | Admission::Pass)
    }

    /// True if the target says that it ignores such requests. Allocates nothing.
    pub(super) fn ignores(&self, path: &[u8], user_agent: &[u8]) -> bool {
        let ignore = &self.target.ignore;
        if ignore.is_empty() {
            return false;
        }
        let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
        ignore.paths.iter().any(|ignored| *ignored.as_bytes() == *path)
            || ignore
                .user_agents
                .iter()
                .any(|ignored| user_agent.starts_with(ignored.as_bytes()))
    }

    /// True if a request by this cluster passes, as far as is known without a clock. Allocates nothing.
    // A call less for every warm request.
    #[inline(always)]
    pub(super) fn passes(&self, cluster: &[u8]) -> bool {
        self.passes_at(None, cluster)
    }

    fn passes_at(&self, now: Option<Time>, cluster: &[u8]) -> bool {
        !self.queues.has_queue_for(cluster) && self.is_open_for(now, cluster)
    }

    /// True if a request by this cluster would pass now, were no other waiting.
    // A call less for every warm request.
    #[inline(always)]
    fn is_open_for(&self, now: Option<Time>, cluster: &[u8]) -> bool {
        match self.admission {
            Admission::Pass => true,
            Admission::Serve => {
                self.confirm.is_waived(&self.target)
                    || self.confirm.has_settled(now, &self.target)
                    || self.queues.is_confirmed(cluster)
            }
            Admission::Hold | Admission::Refuse(_) => false,
        }
    }

    /// What becomes of a request that arrives, or that has waited for the first snapshot: the one place that decides.
    pub(super) fn admit(&mut self, now: Time, cluster: &[u8], path: &[u8], user_agent: &[u8]) -> Admitted {
        if self.retired {
            return Admitted::Uncounted;
        }
        if self.ignores(path, user_agent) {
            return if self.serves() {
                Admitted::Uncounted
            } else {
                Admitted::Ignored
            };
        }
        let passes = self.passes_at(Some(now), cluster);
        if self.admission == Admission::Serve {
            self.confirm.settle(now, &self.target);
        }
        let is_news = self.usage.arrive(now);
        match self.admission {
            _ if passes => {
                self.usage.begin(1);
                Admitted::Counted
            }
            Admission::Refuse(refusal) => Admitted::Refused { refusal, is_news },
            Admission::Pass | Admission::Serve | Admission::Hold => Admitted::Held { is_news },
        }
    }

    /// Puts a request in the queue of its cluster: its number, or `None` if there is no room for another cluster.
    pub(super) fn enqueue(
        &mut self,
        (cluster, authority): (&[u8], &[u8]),
        order: u64,
        stream: StreamId,
        is_blocked: bool,
        is_doubtful: bool,
    ) -> Option<u16> {
        let at = self.queues.open(cluster, authority)?;
        self.queues.push(at, order, stream, is_blocked, is_doubtful);
        Some(at)
    }

    /// A request is not held any more.
    pub(super) fn dequeue(&mut self, at: u16, order: u64, stream: StreamId) {
        self.queues.remove(at, order, stream);
    }

    // Requests that are released.

    /// The held request that is to be refused before any is released, and why.
    pub(super) fn next_refusal(&self) -> Option<(StreamId, Refusal)> {
        if let Admission::Refuse(refusal) = self.admission
            && let Some(stream) = self.queues.first()
        {
            return Some((stream, refusal));
        }
        Some((self.queues.first_without_cluster()?, Refusal::RouteChanged))
    }

    /// The next held request that may be released now: the first of all queues that are open.
    pub(super) fn next_release(&self, now: Time) -> Option<StreamId> {
        match self.admission {
            Admission::Pass => self.queues.first_unblocked(|_| true),
            Admission::Serve if self.window.is_open() => {
                // Which gates share the slow pace does not matter to an open question.
                let terms = self.terms(GateId(0));
                self.queues.first_unblocked(|queue| {
                    self.is_open_for(Some(now), queue.cluster())
                        || terms.is_some_and(|terms| queue.confirm().may_try(now, &terms))
                })
            }
            _ => None,
        }
    }

    /// A held request goes on. The generation of the window that counts it, if one does.
    pub(super) fn release(&mut self, now: Time, at: u16, stream: StreamId) -> Option<u32> {
        // Of a target that is gone as well: it may come back, or another in its place.
        self.usage.begin(1);
        if self.admission != Admission::Serve {
            return None;
        }
        if let Some(queue) = self.queues.get_mut(at) {
            queue.confirm_mut().release(stream);
        }
        Some(self.window.release(now))
    }

    /// A released request has been answered, or has ended without an answer. `Some` if it has confirmed its cluster.
    pub(super) fn release_ended(
        &mut self,
        stream: StreamId,
        generation: u32,
        answered: bool,
    ) -> Option<Confirmed> {
        self.window.answered(generation);
        let at = self.queues.end_trial(stream, answered)?;
        Some(self.confirm_cluster(at, None, GateId(0)))
    }

    /// A request that was released under this window has been answered: what was believed until now is known. True if
    /// the other gates of this Envoy have to hear of it.
    pub(super) fn vouch(&mut self, generation: u32) -> bool {
        let is_known = self.window.is_current(generation)
            && self.admission == Admission::Serve
            && !self.confirm.is_confirmed(&self.target)
            && self.queues.iter().any(|queue| queue.confirm().is_confirmed());
        is_known && self.confirm.confirm(&self.target)
    }

    // Time.

    /// Opens the window if that is due.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.admission == Admission::Serve && self.window.opens_at().is_some_and(|at| at <= now) {
            self.window.restart(now);
        }
    }

    /// When something becomes due: a question, a belief, a window that opens by itself.
    pub(super) fn next_timeout(&self, now: Time, me: GateId) -> Option<Time> {
        if self.admission != Admission::Serve {
            return None;
        }
        let settles = self.confirm.next_settle(now, &self.target);
        let terms = self.terms(me).filter(|_| !self.confirm.is_waived(&self.target));
        let asks = terms.and_then(|terms| {
            let from = self.confirm.asks_from(&self.target, me);
            let next = |queue: &Queue| queue.confirm().next(now, from, &terms);
            self.queues.moving().filter_map(next).min()
        });
        self.window
            .opens_at()
            .into_iter()
            .chain(settles)
            .chain(asks)
            .min()
    }

    // The status.

    /// What it contributes to the gate's status. `inherited`: streams of removed targets that are in flight for it, if any such
    /// target is left.
    pub(super) fn listing(&mut self, now: Time, inherited: Option<u32>) -> Listing {
        let idle = self.usage.idle(now);
        let entry = TargetUsage {
            slot: self.slot,
            held: self.queues.held(),
            in_flight: self.usage.in_flight().saturating_add(inherited.unwrap_or(0)),
            idle_ms: idle.map(protocol::millis),
            confirmed_epoch: self.confirm.confirmed_here(),
        };
        Listing {
            keep: !self.is_unused() || idle.is_some() || inherited.is_some(),
            entry: (!self.retired).then_some(entry),
        }
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Entry {
    /// Requests in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.usage.in_flight()
    }
}
