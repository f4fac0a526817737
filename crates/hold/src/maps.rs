//! The containers of `hold`. Each kind that is used is code of its own in the module that every worker loads, so there
//! are few: hash maps with a fixed hasher, one kind of ordered set, and plain vectors where keys are dense or few.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

use rustc_hash::FxHasher;

/// A fixed hasher: keys come from the control plane and from Envoy, and order is never seen.
pub type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<FxHasher>>;

/// Numbered things (streams, targets) in the order of a number that each was given; equal numbers in order of their own.
#[derive(Debug, Default)]
pub(crate) struct Ordered {
    set: BTreeSet<Key>,
}

/// Upper and lower half of the order, then the id: in 12 bytes, where `(u64, u32)` takes 16 of the linear memory that each
/// held request costs twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u32, u32, u32);

impl Key {
    fn new(order: u64, id: u32) -> Self {
        Self((order >> 32) as u32, order as u32, id)
    }

    fn parts(self) -> (u64, u32) {
        (u64::from(self.0) << 32 | u64::from(self.1), self.2)
    }
}

impl Ordered {
    pub(crate) fn insert(&mut self, order: u64, id: u32) {
        self.set.insert(Key::new(order, id));
    }

    pub(crate) fn remove(&mut self, order: u64, id: u32) {
        self.set.remove(&Key::new(order, id));
    }

    pub(crate) fn first(&self) -> Option<(u64, u32)> {
        self.set.first().map(|key| key.parts())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.set.iter().map(|key| key.parts())
    }

    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}
