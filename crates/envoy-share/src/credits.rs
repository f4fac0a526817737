//! What one root context has taken of the ledgers in shared data: takes, gives back, and puts right what went wrong.
//!
//! Each write states the member's whole account, never a difference. So whatever is lost (a compare-and-swap that others won again and
//! again, an account that was closed because its owner stood still for so long that it was taken for dead) is made good by the next
//! write, and a write that comes twice or late changes nothing of anybody else's.

use hold::{Bound, Limits, Member, PermitRequest, ReturnedPermits, Slot};

use crate::ledger::{Credit, Ledger};
use crate::{Members, keys};

/// Tries of a compare-and-swap before it is left for later: with as many workers at once each wins in its turn.
const TRIES: u32 = 256;

/// Shared data, as far as ledgers are concerned.
pub trait Cells {
    /// A value and its compare-and-swap number; `None` if it was never written.
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)>;
    /// Writes if nobody has since `number` was read, or if the key is still missing and that is `None`. True if it was written.
    fn swap(&self, key: &str, value: &[u8], number: Option<u32>) -> bool;
}

/// All that one member has taken.
#[derive(Debug, Default)]
pub struct Credits {
    /// Of each ledger of which something is taken, in the order of slots; `None` is the Envoy's.
    own: Vec<(Option<Slot>, Credit)>,
    /// Ledgers that may say something else of this member than its own book: to be written. Each once.
    owed: Vec<Option<Slot>>,
}

impl Credits {
    /// Takes what a request needs to be held: of its target's ledger, if it has one, and of the Envoy's.
    ///
    /// # Errors
    /// The bound that was reached, and whether it is the Envoy's: nothing is taken then.
    pub fn take(
        &mut self,
        cells: &impl Cells,
        me: Member,
        claim: &PermitRequest,
        limits: &Limits,
    ) -> Result<(), (Bound, bool)> {
        if let Some(slot) = claim.slot {
            self.take_of(
                cells,
                me,
                Some(slot),
                claim.bytes,
                claim.max_requests,
                claim.max_bytes,
            )
            .map_err(|bound| (bound, false))?;
        }
        let taken = self.take_of(cells, me, None, claim.bytes, limits.requests, limits.bytes);
        if taken.is_err() && claim.slot.is_some() {
            self.put_back(claim.slot, 1, claim.bytes);
            self.settle(cells, me);
        }
        taken.map_err(|bound| (bound, true))
    }

    /// Takes one request of `bytes` of one ledger: of a target's, or of the Envoy's.
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
        let own = self.credit(slot);
        let taken = change(cells, slot, |ledger| {
            ledger.take(me, own, bytes, max_requests, max_bytes)
        });
        match taken {
            Some(Ok(())) => {
                let credit = Credit {
                    requests: own.requests + 1,
                    bytes: own.bytes.saturating_add(bytes),
                };
                self.book(slot, credit);
                Ok(())
            }
            Some(Err(bound)) => Err(bound),
            None => Err(Bound::Requests),
        }
    }

    /// Gives credits back to the targets' ledgers, and the same to the Envoy's. [`Credits::settle`] writes it.
    pub fn give_back(&mut self, credits: &[ReturnedPermits]) {
        for credit in credits {
            if credit.slot.is_some() {
                self.put_back(credit.slot, credit.requests, credit.bytes);
            }
            self.put_back(None, credit.requests, credit.bytes);
        }
    }

    /// Writes every account that is owed. What cannot be written now stays owed: call it again at the next tick.
    pub fn settle(&mut self, cells: &impl Cells, me: Member) {
        for slot in std::mem::take(&mut self.owed) {
            let credit = self.credit(slot);
            let written = change(cells, slot, |ledger| {
                ledger.set(me, credit);
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

    /// Every account is to be compared with its ledger: somebody may have taken this member for dead.
    pub fn doubt(&mut self) {
        self.owed.sort();
        let known = std::mem::take(&mut self.owed);
        let others = self.own.iter().map(|(slot, _)| *slot);
        self.owed = others.filter(|slot| known.binary_search(slot).is_err()).collect();
        self.owed.extend(known);
    }

    /// Closes this member's accounts though it holds on: it is about to go by another name, under which all of them are owed. False if
    /// one could not be written: then it must not change its name yet, as nobody would know whose account that is.
    pub fn disown(&mut self, cells: &impl Cells, me: Member) -> bool {
        self.doubt();
        self.owed.iter().all(|slot| {
            let closed = change(cells, *slot, |ledger| {
                ledger.set(me, Credit::default());
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
        let own = self.credit(slot);
        let credit = Credit {
            requests: own.requests.saturating_sub(requests),
            bytes: own.bytes.saturating_sub(bytes),
        };
        self.book(slot, credit);
        if !self.owed.contains(&slot) {
            self.owed.push(slot);
        }
    }

    fn credit(&self, slot: Option<Slot>) -> Credit {
        let at = self.own.binary_search_by_key(&slot, |(slot, _)| *slot);
        at.ok()
            .and_then(|at| self.own.get(at))
            .map_or_else(Credit::default, |(_, credit)| *credit)
    }

    fn book(&mut self, slot: Option<Slot>, credit: Credit) {
        match self.own.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) if credit.requests == 0 => {
                self.own.remove(at);
            }
            Ok(at) => {
                if let Some((_, own)) = self.own.get_mut(at) {
                    *own = credit;
                }
            }
            Err(_) if credit.requests == 0 => {}
            Err(at) => self.own.insert(at, (slot, credit)),
        }
    }
}

/// Members that have an account of the Envoy's ledger and are not listed: they were forgotten, and took credits after that.
pub fn strangers(cells: &impl Cells, members: impl FnOnce() -> Members) -> Vec<Member> {
    let Some((bytes, _)) = cells.get(keys::ENVOY_LEDGER) else {
        return Vec::new();
    };
    let mut owners = Ledger::decode(&bytes).members();
    // The list is read after the ledger: whoever takes a credit has joined before.
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

/// Closes the accounts of a member that is no more, in the Envoy's ledger and in those of so many slots. False if one of them could
/// not be written.
pub fn close_accounts(cells: &impl Cells, member: Member, slots: u32) -> bool {
    let mut ledgers = std::iter::once(None).chain((0..slots).map(|slot| Some(Slot(slot))));
    ledgers.all(|slot| {
        change(cells, slot, |ledger| {
            ledger.set(member, Credit::default());
            Ok(())
        })
        .is_some()
    })
}

/// `None` if others were faster at every try.
fn change(
    cells: &impl Cells,
    slot: Option<Slot>,
    mut change: impl FnMut(&mut Ledger) -> Result<(), Bound>,
) -> Option<Result<(), Bound>> {
    let key = slot.map_or_else(|| keys::ENVOY_LEDGER.to_owned(), keys::ledger);
    for _ in 0..TRIES {
        let (bytes, number) = cells.get(&key).unzip();
        let mut ledger = bytes.as_deref().map_or_else(Ledger::default, Ledger::decode);
        let before = ledger.clone();
        if let Err(bound) = change(&mut ledger) {
            return Some(Err(bound));
        }
        if ledger == before || cells.swap(&key, &ledger.encode(), number) {
            return Some(Ok(()));
        }
    }
    None
}

#[cfg(test)]
mod tests;
