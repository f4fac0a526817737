//! Doorbells: a message on a queue says only "look", and at most one is outstanding for each root context.
//!
//! They make things fast, never right: every tick looks at shared data anyway.

use envoy_share::{Lease, keys};
use hold::{Member, Time};

use crate::host;
use crate::shared;
use crate::station::Station;

impl Station {
    /// A message has come: takes it, and lets others ring again.
    pub(crate) fn hear(&self, now: Time) {
        let by_itself = self.rung.replace(false);
        if !by_itself {
            self.urgent(now);
        }
        let heard = self
            .place
            .borrow()
            .as_ref()
            .map(|place| (place.member.id, place.queue));
        if let Some((id, queue)) = heard {
            host::shared_put(&keys::bell(id), b"");
            queue.into_iter().for_each(host::queue_drain);
        }
    }

    /// True if a message is on its way.
    pub(crate) fn ring_self(&self) -> bool {
        if self.rung.replace(true) {
            return true;
        }
        let queue = self.place.borrow().as_ref().and_then(|place| place.queue);
        self.rung.set(queue.is_some_and(host::queue_push));
        self.rung.get()
    }

    /// From a gate that has news for the relay.
    pub(crate) fn ring_relay(&self, now: Time) {
        if self.relaying.borrow().is_some() {
            self.ring_self();
            return;
        }
        let (lease, _) = shared::get::<Lease>(keys::LEASE);
        let Some(lease) = lease else { return };
        let lives = self.with_candidate(|candidate| candidate.may_notify_owner(now, &lease));
        if let Some(owner) = lease.owner.filter(|_| lives == Some(true)) {
            self.ring(owner);
        }
    }

    /// Rings another member, unless it has not yet heard the last message. True if a message is on its way.
    pub(crate) fn ring(&self, member: Member) -> bool {
        if Some(member) == self.member() {
            return self.ring_self();
        }
        let bell = keys::bell(member.id);
        let (state, number) = host::shared_get(&bell).unwrap_or((Vec::new(), host::CREATE));
        if !state.is_empty() || !host::shared_cas(&bell, b"!", number) {
            return true;
        }
        let key = (member.id, member.nonce);
        let known = self
            .queues
            .borrow()
            .iter()
            .find(|(other, _)| *other == key)
            .map(|(_, queue)| *queue);
        let queue = known.or_else(|| host::queue_resolve(&self.vm_id, &keys::queue(member.id)));
        let Some(queue) = queue else {
            host::shared_put(&bell, b"");
            return false;
        };
        if known.is_none() {
            let mut queues = self.queues.borrow_mut();
            queues.retain(|((id, _), _)| *id != member.id);
            queues.push((key, queue));
        }
        let pushed = host::queue_push(queue);
        if !pushed {
            host::shared_put(&bell, b"");
        }
        pushed
    }
}
