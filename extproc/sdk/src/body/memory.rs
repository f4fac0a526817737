//! The memory that bodies of all exchanges may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory is taken in steps of this many bytes.
const STEP: usize = 64 << 10;

/// A budget in bytes, shared by all exchanges of a server.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl BodyMemory {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        })
    }

    /// Bytes that are taken at present, in whole steps.
    #[cfg_attr(
        not(any(test, feature = "metrics")),
        allow(dead_code, reason = "metrics and tests read it")
    )]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The budget from here on. What is taken stays taken.
    #[cfg_attr(
        not(feature = "server"),
        allow(dead_code, reason = "servers are told their budget")
    )]
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|wanted| *wanted <= limit)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one body has taken; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    memory: Arc<BodyMemory>,
    taken: usize,
}

impl Reservation {
    pub(crate) fn new(memory: Arc<BodyMemory>) -> Self {
        Self { memory, taken: 0 }
    }

    /// Makes it cover `bytes`, rounded up to whole steps. False if the budget does not allow it; then nothing changes.
    pub(crate) fn cover(&mut self, bytes: usize) -> bool {
        let Some(wanted) = bytes.checked_next_multiple_of(STEP) else {
            return false;
        };
        if wanted <= self.taken {
            return true;
        }
        let more = wanted - self.taken;
        if !self.memory.take(more) {
            return false;
        }
        self.taken = wanted;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_exact_and_what_is_dropped_comes_back() {
        let memory = BodyMemory::new(3 * STEP);
        let mut one = Reservation::new(memory.clone());
        let mut two = Reservation::new(memory.clone());
        assert!(one.cover(1) && one.cover(STEP) && one.cover(0));
        assert_eq!(memory.used(), STEP);
        assert!(two.cover(2 * STEP));
        assert!(!one.cover(STEP + 1));
        assert!(!one.cover(usize::MAX));
        assert_eq!(memory.used(), 3 * STEP);
        drop(two);
        assert!(one.cover(STEP + 1));
        drop(one);
        assert_eq!(memory.used(), 0);
    }
}
