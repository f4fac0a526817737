//! The held requests of one target: one queue for each cluster by which they come, each in order of arrival. Decides which
//! request is the next; knows no stream but its id, and never releases one.

use protocol::Confirm;

use crate::gate::confirm::{ClusterConfirm, ConfirmCall, ConfirmOutcome, ConfirmToken, Terms};
use crate::maps::Ordered;
use crate::{StreamId, Time};

/// Most clusters of one target that a gate keeps apart. A target has one for each of its routes; 64 is more than any
/// gateway was seen to make, and each costs under 200 bytes.
const MAX: usize = 64;

/// Held requests that come by one cluster.
#[derive(Debug)]
pub(super) struct Queue {
    cluster: Box<[u8]>,
    /// `:authority` of the first request in the queue, for the confirm.
    authority: Box<[u8]>,
    confirm: ClusterConfirm,
    /// The cluster is the key of another target as well, which is not ready: the queue must not move.
    blocked: bool,
    /// The cluster became the key of another target, or the queue was blocked, while requests were in it: their routes may
    /// be of before.
    doubtful: bool,
    /// Envoy has said that there is no such cluster: the requests have no way any more.
    gone: bool,
    /// By order of arrival. Not a deque, because a client may leave from anywhere.
    requests: Ordered,
}

impl Queue {
    fn new(cluster: &[u8], authority: &[u8]) -> Self {
        Self {
            cluster: cluster.into(),
            authority: authority.into(),
            confirm: ClusterConfirm::new(),
            blocked: false,
            doubtful: false,
            gone: false,
            requests: Ordered::default(),
        }
    }

    pub(super) fn cluster(&self) -> &[u8] {
        &self.cluster
    }

    pub(super) fn authority(&self) -> &[u8] {
        &self.authority
    }

    pub(super) fn confirm(&self) -> &ClusterConfirm {
        &self.confirm
    }

    pub(super) fn confirm_mut(&mut self) -> &mut ClusterConfirm {
        &mut self.confirm
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// True if its requests wait for nothing but a confirm and the window.
    fn moves(&self) -> bool {
        !self.is_empty() && !self.blocked
    }

    /// The question to send through this cluster, if one is due: it is being asked from now on.
    fn ask(
        &mut self,
        now: Time,
        confirm: &Confirm,
        terms: &Terms,
        token: ConfirmToken,
    ) -> Option<ConfirmCall> {
        if !self.confirm.is_due(now) {
            return None;
        }
        let mut call = ConfirmCall::new(token, confirm, terms, &self.cluster, &self.authority)?;
        call.head = self.confirm.ask(now, token)?;
        Some(call)
    }
}

/// Whether a queue's cluster is the key of several targets, and whether one of these is not ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyState {
    pub(super) is_shared: bool,
    pub(super) is_blocked: bool,
}

/// All queues of one target.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// By number. A queue keeps its number while requests are in it.
    all: Vec<Queue>,
    /// Requests in all of them.
    held: u32,
}

impl Queues {
    /// Requests that are held.
    pub(super) fn held(&self) -> u32 {
        self.held
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Queue> {
        self.all.iter()
    }

    pub(super) fn get(&self, at: u16) -> Option<&Queue> {
        self.all.get(usize::from(at))
    }

    pub(super) fn get_mut(&mut self, at: u16) -> Option<&mut Queue> {
        self.all.get_mut(usize::from(at))
    }

    /// Queues that wait for nothing but a confirm and the window.
    pub(super) fn moving(&self) -> impl Iterator<Item = &Queue> {
        self.all.iter().filter(|queue| queue.moves())
    }

    /// The first queue, by number, for which `find` finds something.
    pub(super) fn find<T>(&self, find: impl Fn(&Queue) -> Option<T>) -> Option<(u16, T)> {
        (0..)
            .zip(&self.all)
            .find_map(|(at, queue)| Some((at, find(queue)?)))
    }

    /// True if a request by this cluster would have to queue behind others.
    pub(super) fn has_queue_for(&self, cluster: &[u8]) -> bool {
        self.held > 0
            && self
                .all
                .iter()
                .any(|queue| !queue.is_empty() && *queue.cluster == *cluster)
    }

    /// True if this cluster is known to reach the workload.
    pub(super) fn is_confirmed(&self, cluster: &[u8]) -> bool {
        self.all
            .iter()
            .any(|queue| queue.confirm.is_confirmed() && *queue.cluster == *cluster)
    }

    /// The number of the queue of this cluster, made if there is room; `authority` is that of the request that wants it.
    pub(super) fn open(&mut self, cluster: &[u8], authority: &[u8]) -> Option<u16> {
        if let Some(at) = self.all.iter().position(|queue| *queue.cluster == *cluster) {
            if let Some(queue) = self.all.get_mut(at)
                && queue.is_empty()
            {
                queue.authority = authority.into();
                queue.gone = false;
                queue.doubtful = false;
            }
            return u16::try_from(at).ok();
        }
        let queue = Queue::new(cluster, authority);
        // The place of an empty queue is taken over; numbers of others must not change while they hold requests.
        if self.all.len() >= MAX {
            let at = self.all.iter().position(Queue::is_empty)?;
            if let Some(place) = self.all.get_mut(at) {
                *place = queue;
            }
            return u16::try_from(at).ok();
        }
        self.all.push(queue);
        u16::try_from(self.all.len() - 1).ok()
    }

    /// Puts a request in. `doubtful`: its route may be of before the cluster became the key of several targets.
    pub(super) fn push(&mut self, at: u16, order: u64, stream: StreamId, blocked: bool, doubtful: bool) {
        if let Some(queue) = self.get_mut(at) {
            queue.requests.insert(order, stream.0);
            queue.blocked = blocked;
            queue.doubtful |= doubtful;
            self.held += 1;
        }
    }

    /// Takes a request out.
    pub(super) fn remove(&mut self, at: u16, order: u64, stream: StreamId) {
        if let Some(queue) = self.get_mut(at) {
            queue.requests.remove(order, stream.0);
        }
        self.held = self.held.saturating_sub(1);
    }

    /// The first request of all queues.
    pub(super) fn first(&self) -> Option<StreamId> {
        first_of(self.all.iter())
    }

    /// The first request of the queues whose cluster is gone.
    pub(super) fn first_without_cluster(&self) -> Option<StreamId> {
        first_of(self.all.iter().filter(|queue| queue.gone))
    }

    /// The first request of the queues that are not blocked, and that `may_go`.
    pub(super) fn first_unblocked(&self, may_go: impl Fn(&Queue) -> bool) -> Option<StreamId> {
        first_of(self.all.iter().filter(|queue| !queue.blocked && may_go(queue)))
    }

    /// Queues are blocked and move as their keys are. True if one moves again: it is asked anew, because its cluster may
    /// lead elsewhere now.
    pub(super) fn block(&mut self, keys: &[KeyState]) -> bool {
        let mut moves = false;
        for (queue, key) in self.all.iter_mut().zip(keys) {
            if queue.blocked && !key.is_blocked {
                queue.confirm.ask_anew();
                moves = true;
            }
            queue.blocked = key.is_blocked;
            queue.doubtful |= key.is_shared;
        }
        moves
    }

    /// What was asked says nothing any more.
    pub(super) fn forget_confirms(&mut self) {
        for queue in &mut self.all {
            queue.confirm = ClusterConfirm::new();
        }
    }

    /// The first question that is due through a cluster whose requests wait for it.
    pub(super) fn ask(
        &mut self,
        now: Time,
        confirm: &Confirm,
        terms: &Terms,
        token: ConfirmToken,
    ) -> Option<ConfirmCall> {
        let mut moving = self.all.iter_mut().filter(|queue| queue.moves());
        moving.find_map(|queue| queue.ask(now, confirm, terms, token))
    }

    /// The question that is due through this cluster, for a request that could not be held.
    pub(super) fn ask_for(
        &mut self,
        now: Time,
        at: u16,
        confirm: &Confirm,
        terms: &Terms,
        token: ConfirmToken,
    ) -> Option<ConfirmCall> {
        self.get_mut(at)?.ask(now, confirm, terms, token)
    }

    /// Takes in the outcome of a question. `None` if that is not open. `Err` says whether the operator has to be warned.
    pub(super) fn answer(
        &mut self,
        now: Time,
        token: ConfirmToken,
        outcome: ConfirmOutcome,
        terms: &Terms,
    ) -> Option<(u16, Result<bool, bool>)> {
        let (at, ()) = self.find(|queue| queue.confirm.is_asking(token).then_some(()))?;
        let queue = self.get_mut(at)?;
        let answer = queue.confirm.answer(now, outcome, terms)?;
        if answer.is_err() {
            queue.gone = outcome == ConfirmOutcome::NoCluster;
        }
        Some((at, answer))
    }

    /// A released request has been answered, or has ended without that. The queue whose open question it has answered.
    pub(super) fn end_trial(&mut self, stream: StreamId, answered: bool) -> Option<u16> {
        let mut ended = (0..).zip(&mut self.all);
        ended.find_map(|(at, queue)| {
            let is_answer = queue.confirm.end_trial(stream, answered)?;
            Some(is_answer.then_some(at))
        })?
    }

    /// True if no request is in any of them.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0 && self.all.iter().all(Queue::is_empty)
    }
}

/// The first to arrive of those that are first in these queues.
fn first_of<'a>(queues: impl Iterator<Item = &'a Queue>) -> Option<StreamId> {
    queues
        .filter_map(|queue| queue.requests.first())
        .min()
        .map(|(_, stream)| StreamId(stream))
}
