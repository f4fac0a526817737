//! Takes permits of the quotas in shared data for one root context, gives them back, and puts right what went wrong.
//!
//! Each write states the member's whole account, never a difference. So whatever is lost (a compare-and-swap that others won again and
//! again, an account that was closed because its owner stood still for so long that it was taken for dead) is made good by the next
//! write, and a write that comes twice or late changes no other member's account.

use hold::{Bound, Limits, Member, PermitRequest, ReturnedPermits, Slot};

use crate::quota::{Amount, Quota};
use crate::{Members, keys};

/// Tries of a compare-and-swap before it is left for later: with as many workers at once each wins in its turn.
const TRIES: u32 = 256;

/// Shared data, as far as quotas are concerned.
pub trait Cells {
    /// A value and its compare-and-swap number; `None` if it was never written.
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)>;
    /// Writes if no other VM has since `number` was read, or if the key is still missing and that is `None`. True if it was written.
    fn swap(&self, key: &str, value: &[u8], number: Option<u32>) -> bool;
}

/// All that one member has taken.
#[derive(Debug, Default)]
pub struct Permits {
    /// Of each quota of which something is taken, in the order of slots; `None` is the Envoy's.
    own: Vec<(Option<Slot>, Amount)>,
    /// Quotas that may say something else of this member than its own book: to be written. Each once.
    owed: Vec<Option<Slot>>,
}

impl Permits {
    /// Takes what a request needs to be held: of its target's quota, if it has one, and of the Envoy's.
    ///
    /// # Errors
    /// The bound that was reached, and whether it is the Envoy's: nothing is taken then.
    pub fn take(
        &mut self,
        cells: &impl Cells,
        me: Member,
        wanted: &PermitRequest,
        limits: &Limits,
    ) -> Result<(), (Bound, bool)> {
        if let Some(slot) = wanted.slot {
            self.take_of(
                cells,
                me,
                Some(slot),
                wanted.bytes,
                wanted.max_requests,
                wanted.max_bytes,
            )
            .map_err(|bound| (bound, false))?;
        }
        let taken = self.take_of(cells, me, None, wanted.bytes, limits.requests, limits.bytes);
        if taken.is_err() && wanted.slot.is_some() {
            self.put_back(wanted.slot, 1, wanted.bytes);
            self.settle(cells, me);
        }
        taken.map_err(|bound| (bound, true))
    }

    /// Takes one request of `bytes` of one quota: of a target's, or of the Envoy's.
    ///
    /// # Errors
    /// The bound that was reached. [`Bound::Requests`] too if as many tries as there are were lost to others.
    pub fn take_of(
        &mut self,
        cells: &impl Cells,
        me: Member,
        slot: Option<Slot>,
        bytes: u64,
        max_requests: u32,
        max_bytes: u64,
    ) -> Result<(), Bound> {
        let own = self.amount(slot);
        let taken = change(cells, slot, |quota| {
            quota.take(me, own, bytes, max_requests, max_bytes)
        });
        match taken {
            Some(Ok(())) => {
                let amount = Amount {
                    requests: own.requests + 1,
                    bytes: own.bytes.saturating_add(bytes),
                };
                self.book(slot, amount);
                Ok(())
            }
            Some(Err(bound)) => Err(bound),
            None => Err(Bound::Requests),
        }
    }

    /// Gives permits back to the targets' quotas, and the same to the Envoy's. [`Permits::settle`] writes it.
    pub fn give_back(&mut self, permits: &[ReturnedPermits]) {
        for back in permits {
            if back.slot.is_some() {
                self.put_back(back.slot, back.requests, back.bytes);
            }
            self.put_back(None, back.requests, back.bytes);
        }
    }

    /// Writes every account that is owed. What cannot be written now stays owed: call it again at the next tick.
    pub fn settle(&mut self, cells: &impl Cells, me: Member) {
        for slot in std::mem::take(&mut self.owed) {
            let amount = self.amount(slot);
            let written = change(cells, slot, |quota| {
                quota.set(me, amount);
                Ok(())
            });
            if written.is_none() {
                self.owed.push(slot);
            }
        }
    }

    /// True while an account is owed.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Every account is to be compared with its quota: the relay may have taken this member for dead.
    pub fn doubt(&mut self) {
        self.owed.sort();
        let known = std::mem::take(&mut self.owed);
        let others = self.own.iter().map(|(slot, _)| *slot);
        self.owed = others.filter(|slot| known.binary_search(slot).is_err()).collect();
        self.owed.extend(known);
    }

    /// Closes this member's accounts though it holds on: it is about to go by another name, under which all of them are owed. False if
    /// one could not be written: then it must not change its name yet, as its account could not be told from that of a dead member.
    pub fn disown(&mut self, cells: &impl Cells, me: Member) -> bool {
        self.doubt();
        self.owed.iter().all(|slot| {
            let closed = change(cells, *slot, |quota| {
                quota.set(me, Amount::default());
                Ok(())
            });
            closed.is_some()
        })
    }

    /// Gives everything back. False if some of it could not be written: then the member must stay listed, so that the relay misses it
    /// and closes its accounts.
    pub fn close(&mut self, cells: &impl Cells, me: Member) -> bool {
        self.doubt();
        self.own.clear();
        self.settle(cells, me);
        !self.owes()
    }

    fn put_back(&mut self, slot: Option<Slot>, requests: u32, bytes: u64) {
        let own = self.amount(slot);
        let amount = Amount {
            requests: own.requests.saturating_sub(requests),
            bytes: own.bytes.saturating_sub(bytes),
        };
        self.book(slot, amount);
        if !self.owed.contains(&slot) {
            self.owed.push(slot);
        }
    }

    fn amount(&self, slot: Option<Slot>) -> Amount {
        let at = self.own.binary_search_by_key(&slot, |(slot, _)| *slot);
        at.ok()
            .and_then(|at| self.own.get(at))
            .map_or_else(Amount::default, |(_, amount)| *amount)
    }

    fn book(&mut self, slot: Option<Slot>, amount: Amount) {
        match self.own.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) if amount.requests == 0 => {
                self.own.remove(at);
            }
            Ok(at) => {
                if let Some((_, own)) = self.own.get_mut(at) {
                    *own = amount;
                }
            }
            Err(_) if amount.requests == 0 => {}
            Err(at) => self.own.insert(at, (slot, amount)),
        }
    }
}

/// Members that have an account of the Envoy's quota and are not listed: they were forgotten, and took permits after that.
pub fn strangers(cells: &impl Cells, members: impl FnOnce() -> Members) -> Vec<Member> {
    let Some((bytes, _)) = cells.get(keys::ENVOY_QUOTA) else {
        return Vec::new();
    };
    let mut owners = Quota::decode(&bytes).members();
    // The list is read after the quota: a member that takes permits has joined before.
    if !owners.is_empty() {
        let members = members();
        owners.retain(|owner| {
            members
                .live
                .iter()
                .all(|member| member.id != owner.id || member.nonce != owner.nonce)
        });
    }
    owners
}

/// Closes the accounts of a member that is no more, in the Envoy's quota and in those of so many slots. False if one of them could
/// not be written.
pub fn close_accounts(cells: &impl Cells, member: Member, slots: u32) -> bool {
    let mut quotas = std::iter::once(None).chain((0..slots).map(|slot| Some(Slot(slot))));
    quotas.all(|slot| {
        change(cells, slot, |quota| {
            quota.set(member, Amount::default());
            Ok(())
        })
        .is_some()
    })
}

/// `None` if others were faster at every try.
fn change(
    cells: &impl Cells,
    slot: Option<Slot>,
    mut change: impl FnMut(&mut Quota) -> Result<(), Bound>,
) -> Option<Result<(), Bound>> {
    let key = slot.map_or_else(|| keys::ENVOY_QUOTA.to_owned(), keys::quota);
    for _ in 0..TRIES {
        let (bytes, number) = cells.get(&key).unzip();
        let mut quota = bytes.as_deref().map_or_else(Quota::default, Quota::decode);
        let before = quota.clone();
        if let Err(bound) = change(&mut quota) {
            return Some(Err(bound));
        }
        if quota == before || cells.swap(&key, &quota.encode(), number) {
            return Some(Ok(()));
        }
    }
    None
}

#[cfg(test)]
mod tests;
