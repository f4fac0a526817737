//! A control plane's second life: a proxy that the first one knew counts as silent until it is heard or forgotten.

use protocol::{Proxy, State};

use super::super::world::{World, mk_proxy};
use super::super::*;

#[test]
fn whom_the_one_before_knew_blocks_sleeps_until_it_is_heard() {
    let (mut world, known) = successor(&["a", "lost"]);
    world.fleet.remember(&known, world.now);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.pass(300_000);
    assert_eq!(
        world.state("web"),
        State::Ready,
        "must not drain while one has not come back"
    );
    world.poll("lost");
    world.pass(1);
    assert_eq!(
        world.state("web"),
        State::Draining,
        "must drain once all are back"
    );
}

#[test]
fn without_that_knowledge_it_would_sleep() {
    let (mut world, _) = successor(&["a", "lost"]);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.pass(60_000);
    assert_eq!(world.state("web"), State::Draining, "this is what it is for");
}

#[test]
fn who_does_not_come_back_is_forgotten_like_any_silent_one() {
    for known in [successor(&["a", "lost"]).1, Known::unreadable()] {
        let (mut world, _) = successor(&[]);
        world.fleet.remember(&known, world.now);
        world.wake_up("web", &["a"]);
        world.poll("a");
        world.pass(599_000);
        assert_eq!(world.state("web"), State::Ready, "must wait: {known:?}");
        world.pass(10_900);
        assert_ne!(world.state("web"), State::Ready, "must be forgotten: {known:?}");
    }
}

#[test]
fn who_is_remembered_is_known_to_the_next_as_well() {
    let (mut world, known) = successor(&["a", "lost"]);
    world.fleet.remember(&known, world.now);
    world.settle();
    assert_eq!(world.fleet.known(), known, "must be passed on");
    let before = world.fleet.known_changes();
    world.sync("a");
    assert_eq!(world.fleet.known_changes(), before, "the same are known");
    world.sync("new");
    assert_ne!(world.fleet.known_changes(), before, "a proxy has come");
    assert_eq!(world.fleet.known().proxies.len(), 3, "must be passed on");
    let before = world.fleet.known_changes();
    world.pass(700_000);
    assert_ne!(world.fleet.known_changes(), before, "they are forgotten");
    assert_eq!(
        world.fleet.known(),
        Known::default(),
        "must not be passed on for ever"
    );
}

#[test]
fn each_set_of_known_proxies_has_a_number_of_its_own() {
    let mut world = World::new(&["web"]);
    let mut told: Vec<(u64, Known)> = vec![(world.fleet.known_changes(), world.fleet.known())];
    let mut tell = |world: &World| told.push((world.fleet.known_changes(), world.fleet.known()));
    world.fleet.remember(&Known::unreadable(), world.now);
    world.settle();
    tell(&world);
    world.pass(300_000);
    world.sync("a");
    tell(&world);
    // It goes silent: known it is all the same.
    world.pass(20_000);
    tell(&world);
    // The other one is forgotten.
    world.pass(300_000);
    tell(&world);
    world.pass(300_000);
    tell(&world);
    for (one, known) in &told {
        for (other, other_known) in &told {
            assert!(
                one != other || known == other_known,
                "must not be taken for what is written: {told:?}"
            );
        }
    }
    for pair in told.windows(2) {
        let same = pair[0].1 == pair[1].1;
        assert!(
            !same || pair[0].0 == pair[1].0,
            "must not be written anew: {told:?}"
        );
    }
}

#[test]
fn whom_the_one_before_knew_makes_room_after_those_who_never_confirmed() {
    let (mut world, known) = successor(&["lost"]);
    world.fleet.remember(&known, world.now);
    world.pass(100);
    for name in ["x", "y", "z"] {
        world.report(name, 1, &[]);
    }
    world.pass(15_000);
    for name in ["x2", "y2", "z2"] {
        world.report(name, 1, &[]);
        let lost = ProxyKey::from(&mk_proxy("lost"));
        assert!(world.fleet.proxies.find(&lost).is_some(), "must stay: {name}");
    }
}

#[test]
fn more_than_may_be_are_counted() {
    let names: Vec<_> = (0..9).map(|n| format!("envoy-{n}")).collect();
    let proxies = names.iter().map(|name| ProxyKey::from(&mk_proxy(name)));
    let known = Known {
        proxies: proxies.collect(),
        others: 2,
    };
    let mut world = World::new(&["web"]);
    world.fleet.remember(&known, world.now);
    world.settle();
    assert_eq!(world.fleet.proxies.iter().count(), 4, "must be bounded");
    assert_eq!(world.fleet.proxies.others(), 7, "no proxy must be lost");
    world.sync("one more");
    assert_eq!(world.fleet.proxies.others(), 8, "must make room");
}

#[test]
fn a_remembered_one_may_come_back_under_any_term() {
    let (mut world, known) = successor(&["lost"]);
    world.fleet.remember(&known, world.now);
    let proxy = Proxy {
        term: 77,
        ..mk_proxy("lost")
    };
    assert_eq!(world.fleet.open_poll(&proxy, PollId(1), world.now), Ok(()));
}

/// A control plane, and whom the one before it knew.
fn successor(names: &[&str]) -> (World, Known) {
    let mut world = World::new(&["web"]);
    for name in names {
        world.sync(name);
    }
    let known = world.fleet.known();
    (World::new(&["web"]), known)
}
