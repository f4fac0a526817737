//! Credits: how many requests, and how many bytes of them, are held, by gate. One ledger for each target slot and one
//! for the whole Envoy lie in shared data; whoever changes one does so by compare-and-swap, so the bounds are exact over
//! all workers. Kept by gate, so that the credits of a gate that died can be told apart and freed.

use crate::GateId;

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Of requests.
    Requests,
    /// Of bytes.
    Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    gate: GateId,
    requests: u32,
    bytes: u64,
}

/// One ledger. In shared data it is a run of 16-byte accounts: gate, requests, bytes, each little-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accounts: Vec<Account>,
}

impl Ledger {
    /// Reads what [`Ledger::encode`] wrote. Trailing bytes that make no account are left out.
    pub fn decode(bytes: &[u8]) -> Self {
        let (accounts, _rest) = bytes.as_chunks::<16>();
        let accounts = accounts
            .iter()
            .map(
                |&[g0, g1, g2, g3, r0, r1, r2, r3, b0, b1, b2, b3, b4, b5, b6, b7]| Account {
                    gate: GateId(u32::from_le_bytes([g0, g1, g2, g3])),
                    requests: u32::from_le_bytes([r0, r1, r2, r3]),
                    bytes: u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
                },
            )
            .collect();
        Self { accounts }
    }

    /// As it stands in shared data.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.accounts.len() * 16);
        for account in &self.accounts {
            out.extend_from_slice(&account.gate.0.to_le_bytes());
            out.extend_from_slice(&account.requests.to_le_bytes());
            out.extend_from_slice(&account.bytes.to_le_bytes());
        }
        out
    }

    /// Requests and bytes of all gates together.
    pub fn total(&self) -> (u64, u64) {
        self.accounts.iter().fold((0, 0), |(requests, bytes), account| {
            (
                requests + u64::from(account.requests),
                bytes.saturating_add(account.bytes),
            )
        })
    }

    /// Takes one request of `bytes` for `gate`.
    ///
    /// # Errors
    /// The bound that it would exceed; the ledger is unchanged.
    pub fn take(&mut self, gate: GateId, bytes: u64, max_requests: u32, max_bytes: u64) -> Result<(), Bound> {
        let (requests, total_bytes) = self.total();
        if requests >= u64::from(max_requests) {
            return Err(Bound::Requests);
        }
        if total_bytes.saturating_add(bytes) > max_bytes {
            return Err(Bound::Bytes);
        }
        match self.accounts.iter_mut().find(|account| account.gate == gate) {
            Some(account) => {
                account.requests += 1;
                account.bytes += bytes;
            }
            None => self.accounts.push(Account {
                gate,
                requests: 1,
                bytes,
            }),
        }
        Ok(())
    }

    /// Gives credits of `gate` back. Never goes below zero: the relay may have freed them already.
    pub fn give_back(&mut self, gate: GateId, requests: u32, bytes: u64) {
        if let Some(account) = self.accounts.iter_mut().find(|account| account.gate == gate) {
            account.requests = account.requests.saturating_sub(requests);
            account.bytes = account.bytes.saturating_sub(bytes);
        }
        self.accounts.retain(|account| account.requests > 0);
    }

    /// Frees all credits of a gate that is no more. True if it had any.
    pub fn reap(&mut self, gate: GateId) -> bool {
        let before = self.accounts.len();
        self.accounts.retain(|account| account.gate != gate);
        self.accounts.len() != before
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const A: GateId = GateId(1);
    const B: GateId = GateId(2);

    #[test]
    fn bounds_are_exact_over_all_gates() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.take(A, 10, 3, 100), Ok(()));
        assert_eq!(ledger.take(B, 10, 3, 100), Ok(()));
        assert_eq!(ledger.take(A, 80, 3, 100), Ok(()));
        assert_eq!(ledger.take(B, 0, 3, 100), Err(Bound::Requests));
        ledger.give_back(A, 1, 10);
        assert_eq!(ledger.take(B, 11, 3, 100), Err(Bound::Bytes));
        assert_eq!(ledger.take(B, 10, 3, 100), Ok(()));
        assert_eq!(ledger.total(), (3, 100));
    }

    #[test]
    fn survives_its_encoding() {
        let mut ledger = Ledger::default();
        ledger.take(A, 7, 9, 99).unwrap();
        ledger.take(B, 1 << 40, 9, u64::MAX).unwrap();
        assert_eq!(Ledger::decode(&ledger.encode()), ledger);
        assert_eq!(Ledger::decode(&[1, 2, 3]), Ledger::default());
    }

    #[test]
    fn a_dead_gates_credits_are_freed() {
        let mut ledger = Ledger::default();
        ledger.take(A, 7, 9, 99).unwrap();
        ledger.take(B, 7, 9, 99).unwrap();
        assert!(ledger.reap(A));
        assert!(!ledger.reap(A), "must free them once");
        ledger.give_back(A, 1, 7);
        assert_eq!(ledger.total(), (1, 7));
    }
}
