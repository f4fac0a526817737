//! Stands in for shared data in tests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use hold::Slot;

use crate::{Cells, Quota, keys};

/// Shared data whose next so many writes others win.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    /// Writes that others win.
    pub(crate) lost: Cell<u32>,
}

impl Cells for Shelf {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.values.borrow().get(key).cloned()
    }

    fn swap(&self, key: &str, value: &[u8], number: Option<u32>) -> bool {
        if self.lost.get() > 0 {
            self.lost.set(self.lost.get() - 1);
            return false;
        }
        let mut values = self.values.borrow_mut();
        let known = values.get(key).map(|(_, number)| *number);
        if known != number {
            return false;
        }
        values.insert(key.to_owned(), (value.to_vec(), known.unwrap_or(0) + 1));
        true
    }
}

impl Shelf {
    pub(crate) fn total(&self, slot: Option<Slot>) -> (u64, u64) {
        let key = slot.map_or_else(|| keys::ENVOY_QUOTA.to_owned(), keys::quota);
        let bytes = self.get(&key).map_or_else(Vec::new, |(bytes, _)| bytes);
        Quota::decode(&bytes).total()
    }
}
