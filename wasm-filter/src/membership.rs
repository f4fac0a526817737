//! Keeps the place of one root context among those of its Envoy: its name, whether it owns the lease, and which publication it has
//! followed.

use std::cell::RefCell;
use std::time::Duration;

use envoy_share::{Candidate, Lease, LeaseStep, keys};
use hold::{Manifest, Member, Time};

use crate::host;
use crate::shared;

/// What a look at the lease has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseState {
    /// It is this root context's own, and goes on.
    Renewed,
    /// It is this root context's own from now on, in this term.
    Taken(u64),
    /// It is not this root context's own.
    OfAnother,
}

/// The place of one root context among the members.
#[derive(Debug)]
pub(crate) struct Membership {
    /// The singleton service: it owns no streams.
    service: bool,
    heartbeat_interval: Duration,
    registered: RefCell<Option<Registered>>,
}

#[derive(Debug)]
struct Registered {
    member: Member,
    candidate: Candidate,
    /// Number of the manifest that the gate has followed last under this name; [`host::CREATE`] if none.
    followed: u32,
}

impl Membership {
    pub(crate) fn new(service: bool, heartbeat_interval: Duration) -> Self {
        Self {
            service,
            heartbeat_interval,
            registered: RefCell::new(None),
        }
    }

    pub(crate) fn member(&self) -> Option<Member> {
        self.registered.borrow().as_ref().map(|place| place.member)
    }

    /// Registers under a new name. `None` if the list of members could not be written.
    pub(crate) fn join(&self) -> Option<Member> {
        let member = shared::join(!self.service)?;
        self.registered.replace(Some(Registered {
            member,
            candidate: Candidate::new(member, self.service, self.heartbeat_interval),
            followed: host::CREATE,
        }));
        Some(member)
    }

    /// The name is about to be given up. Returns it if there was one.
    pub(crate) fn end(&self) -> Option<Member> {
        self.registered.take().map(|place| place.member)
    }

    /// What has been published since the last call, if anything.
    pub(crate) fn next_publication(&self) -> Option<Manifest> {
        let followed = self.registered.borrow().as_ref()?.followed;
        // Most looks find what the last one found: then nothing is read of it.
        let (manifest, number) = shared::manifest_unless(followed)?;
        if let Some(place) = self.registered.borrow_mut().as_mut() {
            place.followed = number;
        }
        Some(manifest)
    }

    /// One look at the lease: renews it, takes it, or leaves it alone.
    pub(crate) fn tick_lease(&self, now: Time, is_relay: bool) -> LeaseState {
        let (lease, number) = shared::get::<Lease>(keys::LEASE);
        let step = self.with_candidate(|candidate| candidate.tick(now, lease.as_ref()));
        let (lease, state) = match step {
            Some(LeaseStep::Renew(lease)) if is_relay => (lease, LeaseState::Renewed),
            // Ours, but a write of ours has failed: a new term, so that what is reported in it counts as newer.
            Some(LeaseStep::Renew(lease)) => {
                let term = lease.term + 1;
                (Lease { term, ..lease }, LeaseState::Taken(term))
            }
            Some(LeaseStep::Take(lease)) => {
                let term = lease.term;
                (lease, LeaseState::Taken(term))
            }
            Some(LeaseStep::Wait) | None => return LeaseState::OfAnother,
        };
        if shared::cas(keys::LEASE, &lease, number) {
            state
        } else {
            LeaseState::OfAnother
        }
    }

    /// The owner of the lease, if it may be notified.
    pub(crate) fn owner_to_notify(&self, now: Time) -> Option<Member> {
        let (lease, _) = shared::get::<Lease>(keys::LEASE);
        let lease = lease?;
        let lives = self.with_candidate(|candidate| candidate.may_notify_owner(now, &lease));
        lease.owner.filter(|_| lives == Some(true))
    }

    fn with_candidate<T>(&self, f: impl FnOnce(&mut Candidate) -> T) -> Option<T> {
        self.registered
            .borrow_mut()
            .as_mut()
            .map(|place| f(&mut place.candidate))
    }
}

/// Leaves the lease to others, if it is that member's.
pub(crate) fn give_up_lease(member: Member) {
    let (lease, number) = shared::get::<Lease>(keys::LEASE);
    if let Some(lease) = lease.filter(|lease| lease.owner == Some(member)) {
        shared::cas(keys::LEASE, &Lease { owner: None, ..lease }, number);
    }
}
