//! Which keys are in flight: a bounded set, whose entries are removed when their guards are dropped.

use std::{
    collections::HashSet,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The keys in flight. A clone is the same set.
#[derive(Debug)]
pub struct InFlight<K: Eq + Hash> {
    keys: Arc<Mutex<HashSet<K>>>,
    capacity: NonZeroUsize,
}

/// What became of a key.
#[derive(Debug)]
pub enum Entry<K: Eq + Hash> {
    /// It is in flight now, until the guard is dropped.
    Entered(Guard<K>),
    /// It was in flight already.
    Duplicate,
    /// As many keys are in flight as may be: it is not known whether others like it come.
    Full,
}

/// Keeps one key in flight.
#[derive(Debug)]
pub struct Guard<K: Eq + Hash> {
    keys: Arc<Mutex<HashSet<K>>>,
    key: K,
}

impl<K: Eq + Hash> Clone for InFlight<K> {
    fn clone(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            capacity: self.capacity,
        }
    }
}

impl<K: Clone + Eq + Hash> InFlight<K> {
    /// An empty set of at most `capacity` keys.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            keys: Arc::default(),
            capacity,
        }
    }

    /// Enters `key` unless it is there.
    pub fn enter(&self, key: K) -> Entry<K> {
        let mut keys = lock(&self.keys);
        if keys.contains(&key) {
            return Entry::Duplicate;
        }
        if keys.len() >= self.capacity.get() {
            return Entry::Full;
        }
        keys.insert(key.clone());
        Entry::Entered(Guard {
            keys: Arc::clone(&self.keys),
            key,
        })
    }

    /// How many keys are in flight.
    pub fn len(&self) -> usize {
        lock(&self.keys).len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Eq + Hash> Drop for Guard<K> {
    fn drop(&mut self) {
        lock(&self.keys).remove(&self.key);
    }
}

/// A set is whole whatever its users did: none of its own operations leaves it half done.
fn lock<K>(keys: &Mutex<HashSet<K>>) -> MutexGuard<'_, HashSet<K>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_key_is_a_duplicate_until_its_guard_is_dropped() {
        let keys = mk(8);
        let Entry::Entered(guard) = keys.enter(1) else {
            panic!("the first must enter")
        };
        assert!(matches!(keys.clone().enter(1), Entry::Duplicate));
        drop(guard);
        assert!(matches!(keys.enter(1), Entry::Entered(_)), "must be free again");
        assert!(keys.is_empty(), "what nobody keeps must not stay");
    }

    #[test]
    fn never_has_more_keys_than_it_may() {
        let keys = mk(1);
        let guard = keys.enter(1);
        assert!(matches!(keys.enter(2), Entry::Full));
        assert!(
            matches!(keys.enter(1), Entry::Duplicate),
            "what is known stays known when full"
        );
        drop(guard);
        assert!(matches!(keys.enter(2), Entry::Entered(_)));
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(operations in vec((0..6_u8, any::<bool>()), 0..60)) {
            let keys = mk(4);
            let mut inside: Vec<Guard<u8>> = Vec::new();
            for (key, leaves) in operations {
                if leaves {
                    inside.retain(|guard| guard.key != key);
                } else {
                    let is_known = inside.iter().any(|guard| guard.key == key);
                    match keys.enter(key) {
                        Entry::Entered(guard) => {
                            prop_assert!(!is_known && inside.len() < 4);
                            inside.push(guard);
                        }
                        Entry::Duplicate => prop_assert!(is_known),
                        Entry::Full => prop_assert!(!is_known && inside.len() == 4),
                    }
                }
                prop_assert_eq!(keys.len(), inside.len());
            }
        }
    }

    fn mk(capacity: usize) -> InFlight<u8> {
        InFlight::new(NonZeroUsize::new(capacity).unwrap())
    }
}
