//! The objects of one kind as a watch has shown them, reduced to facts. Says what changed; holds nothing else.

use std::collections::{BTreeMap, BTreeSet};

/// One kind's facts by key. Complete once its first listing has ended.
#[derive(Clone, Debug)]
pub struct Mirror<K, V> {
    facts: BTreeMap<K, V>,
    /// Keys listed so far, while a listing is under way: what is not among them at its end is gone.
    listed: Option<BTreeSet<K>>,
    complete: bool,
}

impl<K, V> Default for Mirror<K, V> {
    fn default() -> Self {
        Self {
            facts: BTreeMap::new(),
            listed: None,
            complete: false,
        }
    }
}

impl<K: Ord + Clone, V: PartialEq> Mirror<K, V> {
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
mod tests {
    use super::*;

    #[test]
    fn is_complete_once_listed() {
        let mut mirror = Mirror::default();
        mirror.begin();
        assert!(mirror.apply("a", 1), "must be news");
        assert!(!mirror.is_complete(), "must not be complete while it is listed");
        assert_eq!(mirror.end(), Vec::<&str>::new(), "must lose nothing");
        assert!(mirror.is_complete(), "must be complete");
    }

    #[test]
    fn says_what_is_gone_after_a_new_listing() {
        let mut mirror = mk_mirror(&[("a", 1), ("b", 2)]);
        mirror.begin();
        assert!(!mirror.apply("a", 1), "must not be news");
        assert!(
            mirror.find(&"b").is_some(),
            "must stay until the listing has ended"
        );
        assert_eq!(mirror.end(), ["b"], "must say what is gone");
        assert_eq!(mirror.find(&"b"), None, "must forget it");
    }

    #[test]
    fn keeps_what_is_there_but_cannot_be_read() {
        let mut mirror = mk_mirror(&[("a", 1)]);
        mirror.begin();
        mirror.keep("a");
        assert_eq!(mirror.end(), Vec::<&str>::new(), "must not be gone");
        assert_eq!(mirror.find(&"a"), Some(&1), "must keep the last good facts");
    }

    #[test]
    fn forgets_all_of_a_kind_that_is_not_installed() {
        let mut mirror = mk_mirror(&[("a", 1)]);
        assert_eq!(mirror.absent(), ["a"], "must say what is gone");
        assert!(mirror.is_complete(), "must be complete all the same");
    }

    #[test]
    fn what_is_deleted_while_it_is_listed_is_gone() {
        let mut mirror = mk_mirror(&[("a", 1)]);
        mirror.begin();
        mirror.apply("a", 1);
        assert!(mirror.delete(&"a"), "must have been known");
        assert_eq!(mirror.end(), Vec::<&str>::new(), "must not be told twice");
    }

    fn mk_mirror(facts: &[(&'static str, u32)]) -> Mirror<&'static str, u32> {
        let mut mirror = Mirror::default();
        mirror.begin();
        for (key, value) in facts {
            mirror.apply(*key, *value);
        }
        mirror.end();
        mirror
    }
}
