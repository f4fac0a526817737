//! Credits: how many requests, and how many bytes of them, are held, by gate. One ledger for each target slot and one
//! for the whole Envoy lie in shared data; whoever changes one does so by compare-and-swap ([`crate::Credits`]), so the bounds are
//! exact over all workers. Kept by member, so that the account of a gate that died can be told apart and closed.

use hold::{Bound, GateId, Member};

/// Requests, and bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credit {
    /// How many.
    pub requests: u32,
    /// Of all of them together.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    gate: GateId,
    /// Of the member: a later user of the same id has an account of its own.
    nonce: u64,
    credit: Credit,
}

impl Account {
    fn is_of(&self, member: Member) -> bool {
        self.gate == member.id && self.nonce == member.nonce
    }
}

/// One ledger. In shared data it is a run of 24-byte accounts: gate, nonce, requests, bytes, each little-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: Vec<Account>,
}

impl Ledger {
    /// Reads what [`Ledger::encode`] wrote. Trailing bytes that make no account are left out.
    pub fn decode(bytes: &[u8]) -> Self {
        let (accounts, _rest) = bytes.as_chunks::<24>();
        Self {
            accounts: accounts.iter().filter_map(|bytes| read(bytes)).collect(),
        }
    }

    /// As it stands in shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.accounts.len() * 24);
        for account in &self.accounts {
            out.extend_from_slice(&account.gate.0.to_le_bytes());
            out.extend_from_slice(&account.nonce.to_le_bytes());
            out.extend_from_slice(&account.credit.requests.to_le_bytes());
            out.extend_from_slice(&account.credit.bytes.to_le_bytes());
        }
        out
    }

    /// Requests and bytes of all members together.
    pub fn total(&self) -> (u64, u64) {
        sum(self.accounts.iter())
    }

    /// Whose accounts there are.
    pub fn members(&self) -> Vec<Member> {
        let member = |account: &Account| Member {
            id: account.gate,
            nonce: account.nonce,
            gate: true,
        };
        self.accounts.iter().map(member).collect()
    }

    /// Takes one request of `bytes` for `member`, who has `own` already, whatever the ledger says of that.
    ///
    /// # Errors
    /// The bound that it would exceed; the ledger is unchanged.
    pub fn take(
        &mut self,
        member: Member,
        own: Credit,
        bytes: u64,
        max_requests: u32,
        max_bytes: u64,
    ) -> Result<(), Bound> {
        let (requests, total_bytes) = sum(self.accounts.iter().filter(|account| !account.is_of(member)));
        if requests + u64::from(own.requests) >= u64::from(max_requests) {
            return Err(Bound::Requests);
        }
        let next = Credit {
            requests: own.requests + 1,
            bytes: own.bytes.saturating_add(bytes),
        };
        if total_bytes.saturating_add(next.bytes) > max_bytes {
            return Err(Bound::Bytes);
        }
        self.set(member, next);
        Ok(())
    }

    /// What `member` has, in all: an account that has no requests is closed.
    pub fn set(&mut self, member: Member, credit: Credit) {
        let (gate, nonce) = (member.id, member.nonce);
        let known = self.accounts.iter().position(|account| account.is_of(member));
        match known {
            Some(at) if credit.requests == 0 => {
                self.accounts.remove(at);
            }
            Some(at) => {
                if let Some(account) = self.accounts.get_mut(at) {
                    account.credit = credit;
                }
            }
            None if credit.requests == 0 => {}
            None => self.accounts.push(Account { gate, nonce, credit }),
        }
    }
}

fn sum<'a>(accounts: impl Iterator<Item = &'a Account>) -> (u64, u64) {
    accounts.fold((0, 0), |(requests, bytes), account| {
        (
            requests + u64::from(account.credit.requests),
            bytes.saturating_add(account.credit.bytes),
        )
    })
}

fn read(account: &[u8]) -> Option<Account> {
    let (gate, rest) = account.split_first_chunk()?;
    let (nonce, rest) = rest.split_first_chunk()?;
    let (requests, rest) = rest.split_first_chunk()?;
    let bytes = rest.first_chunk()?;
    Some(Account {
        gate: GateId(u32::from_le_bytes(*gate)),
        nonce: u64::from_le_bytes(*nonce),
        credit: Credit {
            requests: u32::from_le_bytes(*requests),
            bytes: u64::from_le_bytes(*bytes),
        },
    })
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const A: Member = member(1, 11);
    const B: Member = member(2, 12);
    /// Who has A's id after it.
    const HEIR: Member = member(1, 13);
    const NONE: Credit = credit(0, 0);

    const fn member(id: u32, nonce: u64) -> Member {
        Member {
            id: GateId(id),
            nonce,
            gate: true,
        }
    }

    const fn credit(requests: u32, bytes: u64) -> Credit {
        Credit { requests, bytes }
    }

    #[test]
    fn bounds_are_exact_over_all_gates() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take(A, NONE, 10, 3, 100), Ok(()));
        assert_eq!(ledger.take(B, NONE, 10, 3, 100), Ok(()));
        assert_eq!(ledger.take(A, credit(1, 10), 80, 3, 100), Ok(()));
        assert_eq!(ledger.take(B, credit(1, 10), 0, 3, 100), Err(Bound::Requests));
        ledger.set(A, credit(1, 80));
        assert_eq!(ledger.take(B, credit(1, 10), 11, 3, 100), Err(Bound::Bytes));
        assert_eq!(ledger.take(B, credit(1, 10), 10, 3, 100), Ok(()));
        assert_eq!(ledger.total(), (3, 100));
    }

    #[test]
    fn survives_its_encoding() {
        let mut ledger = Ledger::default();
        ledger.set(A, credit(7, 9));
        ledger.set(B, credit(u32::MAX, u64::MAX));
        let bytes = ledger.encode();
        assert_eq!(bytes.len(), 48);
        assert_eq!(Ledger::decode(&bytes), ledger);
        assert_eq!(Ledger::decode(&[1, 2, 3]), Ledger::default());
    }

    #[test]
    fn a_members_account_is_its_own() {
        let mut ledger = Ledger::default();
        ledger.set(A, credit(1, 7));
        ledger.set(HEIR, credit(2, 5));
        ledger.set(A, NONE);
        assert_eq!(
            ledger.total(),
            (2, 5),
            "the next user of the id must keep its own"
        );
        assert_eq!(
            ledger.take(A, credit(1, 7), 1, 9, 99),
            Ok(()),
            "one whose account was closed goes by its own book"
        );
        assert_eq!(ledger.total(), (4, 13));
        ledger.set(B, NONE);
        assert_eq!(ledger.total(), (4, 13), "what has no requests has no account");
    }
}
