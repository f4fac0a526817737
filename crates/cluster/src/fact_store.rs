//! The objects of one kind as a watch has shown them, reduced to facts. Says what changed; holds nothing else.

use std::collections::{BTreeMap, BTreeSet};

/// One kind's facts by key. Complete once its first listing has ended.
#[derive(Clone, Debug)]
pub struct FactStore<K, V> {
    facts: BTreeMap<K, V>,
    /// Keys listed so far, while a listing is under way: what is not among them at its end is gone.
    listed: Option<BTreeSet<K>>,
    complete: bool,
}

impl<K, V> Default for FactStore<K, V> {
    fn default() -> Self {
        Self {
            facts: BTreeMap::new(),
            listed: None,
            complete: false,
        }
    }
}

impl<K: Ord + Clone, V: PartialEq> FactStore<K, V> {
    /// True once everything has been read.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The facts of one object.
    pub fn find(&self, key: &K) -> Option<&V> {
        self.facts.get(key)
    }

    /// All facts, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.facts.iter()
    }

    /// A listing begins.
    pub fn begin(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// An object was listed, added or modified. True if its facts changed.
    pub fn apply(&mut self, key: K, value: V) -> bool {
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        if self.facts.get(&key) == Some(&value) {
            return false;
        }
        self.facts.insert(key, value);
        true
    }

    /// The object is there, but what it says cannot be used: what was known of it stays.
    pub fn keep(&mut self, key: K) {
        if let Some(listed) = &mut self.listed {
            listed.insert(key);
        }
    }

    /// An object is gone. True if it was known.
    pub fn delete(&mut self, key: &K) -> bool {
        if let Some(listed) = &mut self.listed {
            listed.remove(key);
        }
        self.facts.remove(key).is_some()
    }

    /// The listing has ended: everything is known, and what was not listed is gone. Returns the keys of what is gone.
    pub fn end(&mut self) -> Vec<K> {
        self.complete = true;
        let Some(listed) = self.listed.take() else {
            return Vec::new();
        };
        let gone: Vec<K> = self
            .facts
            .keys()
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        for key in &gone {
            self.facts.remove(key);
        }
        gone
    }

    /// There is no such kind in this cluster: nothing is known, and that is all.
    pub fn absent(&mut self) -> Vec<K> {
        self.begin();
        self.end()
    }
}

#[cfg(test)]
mod tests;
