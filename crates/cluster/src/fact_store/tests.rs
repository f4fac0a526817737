//! What a store says has changed, while it is listed and afterwards.

use super::*;

#[test]
fn is_complete_once_listed() {
    let mut store = FactStore::default();
    store.begin();
    assert!(store.apply("a", 1), "must be news");
    assert!(!store.is_complete(), "must not be complete while it is listed");
    assert_eq!(store.end(), Vec::<&str>::new(), "must lose nothing");
    assert!(store.is_complete(), "must be complete");
}

#[test]
fn says_what_is_gone_after_a_new_listing() {
    let mut store = mk_store(&[("a", 1), ("b", 2)]);
    store.begin();
    assert!(!store.apply("a", 1), "must not be news");
    assert!(
        store.find(&"b").is_some(),
        "must stay until the listing has ended"
    );
    assert_eq!(store.end(), ["b"], "must say what is gone");
    assert_eq!(store.find(&"b"), None, "must forget it");
}

#[test]
fn keeps_what_is_there_but_cannot_be_read() {
    let mut store = mk_store(&[("a", 1)]);
    store.begin();
    store.keep("a");
    assert_eq!(store.end(), Vec::<&str>::new(), "must not be gone");
    assert_eq!(store.find(&"a"), Some(&1), "must keep the last good facts");
}

#[test]
fn forgets_all_of_a_kind_that_is_not_installed() {
    let mut store = mk_store(&[("a", 1)]);
    assert_eq!(store.absent(), ["a"], "must say what is gone");
    assert!(store.is_complete(), "must be complete all the same");
}

#[test]
fn what_is_deleted_while_it_is_listed_is_gone() {
    let mut store = mk_store(&[("a", 1)]);
    store.begin();
    store.apply("a", 1);
    assert!(store.delete(&"a"), "must have been known");
    assert_eq!(store.end(), Vec::<&str>::new(), "must not be told twice");
}

fn mk_store(facts: &[(&'static str, u32)]) -> FactStore<&'static str, u32> {
    let mut store = FactStore::default();
    store.begin();
    for (key, value) in facts {
        store.apply(*key, *value);
    }
    store.end();
    store
}
