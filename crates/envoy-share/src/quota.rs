//! Counts how many requests, and how many bytes of them, each gate holds of one bound.
//!
//! One quota for each target slot and one for the whole Envoy lie in shared data. Each change is a compare-and-swap
//! ([`crate::Permits`]), so the bounds are exact over all workers. A quota is kept by member, so that the account of a gate that died
//! can be told apart and closed.

use hold::{Bound, GateId, Member};

/// Requests, and bytes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
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
    amount: Amount,
}

impl Account {
    fn is_of(&self, member: Member) -> bool {
        self.gate == member.id && self.nonce == member.nonce
    }
}

/// What each member has taken of one bound. In shared data it is a run of 24-byte accounts: gate, nonce, requests, bytes, each little-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    accounts: Vec<Account>,
}

impl Quota {
    /// Reads what [`Quota::encode`] wrote. Trailing bytes that make no account are left out.
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
            out.extend_from_slice(&account.amount.requests.to_le_bytes());
            out.extend_from_slice(&account.amount.bytes.to_le_bytes());
        }
        out
    }

    /// Requests and bytes of all members together.
    pub fn total(&self) -> (u64, u64) {
        sum(self.accounts.iter())
    }

    /// The members that have accounts.
    pub fn members(&self) -> Vec<Member> {
        let member = |account: &Account| Member {
            id: account.gate,
            nonce: account.nonce,
            gate: true,
        };
        self.accounts.iter().map(member).collect()
    }

    /// Takes one request of `bytes` for `member`, which has `own` already, even if the quota counts another amount for it.
    ///
    /// # Errors
    /// The bound that it would exceed; the quota is unchanged.
    pub fn take(
        &mut self,
        member: Member,
        own: Amount,
        bytes: u64,
        max_requests: u32,
        max_bytes: u64,
    ) -> Result<(), Bound> {
        let (requests, total_bytes) = sum(self.accounts.iter().filter(|account| !account.is_of(member)));
        if requests + u64::from(own.requests) >= u64::from(max_requests) {
            return Err(Bound::Requests);
        }
        let next = Amount {
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
    pub fn set(&mut self, member: Member, amount: Amount) {
        let (gate, nonce) = (member.id, member.nonce);
        let known = self.accounts.iter().position(|account| account.is_of(member));
        match known {
            Some(at) if amount.requests == 0 => {
                self.accounts.remove(at);
            }
            Some(at) => {
                if let Some(account) = self.accounts.get_mut(at) {
                    account.amount = amount;
                }
            }
            None if amount.requests == 0 => {}
            None => self.accounts.push(Account { gate, nonce, amount }),
        }
    }
}

fn sum<'a>(accounts: impl Iterator<Item = &'a Account>) -> (u64, u64) {
    accounts.fold((0, 0), |(requests, bytes), account| {
        (
            requests + u64::from(account.amount.requests),
            bytes.saturating_add(account.amount.bytes),
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
        amount: Amount {
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
    /// The next user of A's id.
    const HEIR: Member = member(1, 13);
    const NONE: Amount = amount(0, 0);

    const fn member(id: u32, nonce: u64) -> Member {
        Member {
            id: GateId(id),
            nonce,
            gate: true,
        }
    }

    const fn amount(requests: u32, bytes: u64) -> Amount {
        Amount { requests, bytes }
    }

    #[test]
    fn bounds_are_exact_over_all_gates() {
        let mut quota = Quota::default();
        assert_eq!(quota.take(A, NONE, 10, 3, 100), Ok(()));
        assert_eq!(quota.take(B, NONE, 10, 3, 100), Ok(()));
        assert_eq!(quota.take(A, amount(1, 10), 80, 3, 100), Ok(()));
        assert_eq!(quota.take(B, amount(1, 10), 0, 3, 100), Err(Bound::Requests));
        quota.set(A, amount(1, 80));
        assert_eq!(quota.take(B, amount(1, 10), 11, 3, 100), Err(Bound::Bytes));
        assert_eq!(quota.take(B, amount(1, 10), 10, 3, 100), Ok(()));
        assert_eq!(quota.total(), (3, 100));
    }

    #[test]
    fn survives_its_encoding() {
        let mut quota = Quota::default();
        quota.set(A, amount(7, 9));
        quota.set(B, amount(u32::MAX, u64::MAX));
        let bytes = quota.encode();
        assert_eq!(bytes.len(), 48);
        assert_eq!(Quota::decode(&bytes), quota);
        assert_eq!(Quota::decode(&[1, 2, 3]), Quota::default());
    }

    #[test]
    fn a_members_account_is_its_own() {
        let mut quota = Quota::default();
        quota.set(A, amount(1, 7));
        quota.set(HEIR, amount(2, 5));
        quota.set(A, NONE);
        assert_eq!(quota.total(), (2, 5), "the next user of the id must keep its own");
        assert_eq!(
            quota.take(A, amount(1, 7), 1, 9, 99),
            Ok(()),
            "a member whose account was closed goes by its own book"
        );
        assert_eq!(quota.total(), (4, 13));
        quota.set(B, NONE);
        assert_eq!(quota.members(), [HEIR, A], "what has no requests has no account");
        quota.set(A, NONE);
        assert_eq!(quota.members(), [HEIR], "nor has what has none any more");
    }
}
