//! Takes and returns the permits of one root context in the quotas of shared data. Only a member has an account there.

use std::cell::RefCell;

use hold::{Bound, Limits, Member, PermitRequest, ReturnedPermits, TargetPermits};

use crate::shared::Quotas;

/// What this root context has taken.
#[derive(Debug, Default)]
pub(crate) struct TakenPermits {
    taken: RefCell<envoy_share::Permits>,
}

impl TakenPermits {
    /// Takes what a request needs to be held, of its target's quota and of the Envoy's.
    ///
    /// # Errors
    /// The bound that was reached, and whether it is the Envoy's: nothing is taken then.
    pub(crate) fn take(
        &self,
        me: Member,
        permits: &PermitRequest,
        limits: &Limits,
    ) -> Result<(), (Bound, bool)> {
        self.taken.borrow_mut().take(&Quotas, me, permits, limits)
    }

    /// Takes permits of a target's quota, for a request that has those of the Envoy's.
    ///
    /// # Errors
    /// The bound that was reached.
    pub(crate) fn take_of_target(&self, me: Member, permits: TargetPermits) -> Result<(), Bound> {
        self.taken.borrow_mut().take_of(
            &Quotas,
            me,
            Some(permits.slot),
            permits.bytes,
            permits.max_requests,
            permits.max_bytes,
        )
    }

    pub(crate) fn give_back(&self, me: Member, permits: &[ReturnedPermits]) {
        self.taken.borrow_mut().give_back(permits);
        self.settle(me);
    }

    /// Writes the accounts that are owed.
    pub(crate) fn settle(&self, me: Member) {
        self.taken.borrow_mut().settle(&Quotas, me);
    }

    /// Compares every account with its quota: the relay may have taken this gate for dead.
    pub(crate) fn check(&self, me: Member) {
        self.taken.borrow_mut().doubt();
        self.settle(me);
    }

    /// Closes the accounts under a name that is about to be given up. True if that is done.
    pub(crate) fn disown(&self, former: Member) -> bool {
        self.taken.borrow_mut().disown(&Quotas, former)
    }

    /// Gives everything back. False if some of it could not be written.
    pub(crate) fn close(&self, me: Member) -> bool {
        self.taken.borrow_mut().close(&Quotas, me)
    }
}
