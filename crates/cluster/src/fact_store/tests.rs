//! What a store says has changed, while it is listed and afterwards.

use super::*;

#[test]
fn is_complete_once_listed() {
    let mut mirror = FactStore::default();
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

fn mk_mirror(facts: &[(&'static str, u32)]) -> FactStore<&'static str, u32> {
    let mut mirror = FactStore::default();
    mirror.begin();
    for (key, value) in facts {
        mirror.apply(*key, *value);
    }
    mirror.end();
    mirror
}
