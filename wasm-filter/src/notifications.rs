//! Wakes root contexts up by messages on shared queues. A message says only "look", and each root context has one outstanding at most.
//!
//! Messages make things fast and never right: every tick looks at shared data anyway.

use std::cell::{Cell, RefCell};

use envoy_share::keys;
use hold::{GateId, Member};

use crate::host;

/// The queues of one root context: its own, and those of the others that it has notified.
#[derive(Debug)]
pub(crate) struct Notifications {
    vm_id: String,
    /// This root context. `None` until it has registered.
    me: Cell<Option<Member>>,
    /// `None` if Envoy gave none: then no message comes, and the ticks do what it would have done.
    queue: Cell<Option<u32>>,
    /// A message of this root context to itself is on its way.
    to_self: Cell<bool>,
    /// Queues of other members, by id and nonce: dozens at most.
    others: RefCell<Vec<((GateId, u64), u32)>>,
}

impl Notifications {
    pub(crate) fn new() -> Self {
        Self {
            vm_id: host::vm_id(),
            me: Cell::new(None),
            queue: Cell::new(None),
            to_self: Cell::new(false),
            others: RefCell::default(),
        }
    }

    /// Opens the queue of this root context, under the name by which it has registered.
    pub(crate) fn open(&self, me: Member) {
        host::shared_put(&keys::notified(me.id), b"");
        self.queue.set(host::queue_register(&keys::queue(me.id)));
        self.me.set(Some(me));
    }

    /// A message has come: takes it, so that others may send the next. True if another root context sent it.
    pub(crate) fn on_notified(&self) -> bool {
        if let Some(me) = self.me.get() {
            host::shared_put(&keys::notified(me.id), b"");
            self.queue.get().into_iter().for_each(host::queue_drain);
        }
        !self.to_self.replace(false)
    }

    /// Makes a root callback of this root context follow soon.
    pub(crate) fn notify_self(&self) {
        if !self.to_self.get() {
            self.to_self.set(self.queue.get().is_some_and(host::queue_push));
        }
    }

    /// Wakes a member up, unless a message to it is outstanding.
    pub(crate) fn notify(&self, member: Member) {
        if self.me.get() == Some(member) {
            self.notify_self();
            return;
        }
        let flag = keys::notified(member.id);
        let (state, number) = host::shared_get(&flag).unwrap_or((Vec::new(), host::CREATE));
        if !state.is_empty() || !host::shared_cas(&flag, b"!", number) {
            return;
        }
        if !self.queue_of(member).is_some_and(host::queue_push) {
            host::shared_put(&flag, b"");
        }
    }

    fn queue_of(&self, member: Member) -> Option<u32> {
        let key = (member.id, member.nonce);
        let known = |others: &[((GateId, u64), u32)]| {
            let found = others.iter().find(|(other, _)| *other == key);
            found.map(|(_, queue)| *queue)
        };
        if let Some(queue) = known(&self.others.borrow()) {
            return Some(queue);
        }
        let queue = host::queue_resolve(&self.vm_id, &keys::queue(member.id))?;
        let mut others = self.others.borrow_mut();
        others.retain(|((id, _), _)| *id != member.id);
        others.push((key, queue));
        Some(queue)
    }
}
