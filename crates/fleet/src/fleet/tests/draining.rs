//! A drain over several proxies: which confirmations count, and for what.

use protocol::{Report, Revision, State};

use super::super::world::{World, id, mk_report, stop};
use super::super::*;
use crate::testing::mk_spec;

#[test]
fn a_key_that_comes_during_a_drain_is_confirmed_as_well() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["p1"]);
    let drained = world.drain("web");
    world.configure(&[("web", "new.example.com")], "");
    assert_eq!(
        world.confirm("p1", drained),
        [],
        "must not stop what passes under the new key"
    );
    let rekeyed = world.view.revision().n;
    assert_eq!(
        world.confirm("p1", rekeyed).len(),
        1,
        "must stop once it holds under all of them"
    );
}

#[test]
fn a_cluster_that_comes_during_a_drain_is_confirmed_as_well() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["p1"]);
    let drained = world.drain("web");
    let mut spec = mk_spec("web", "web.example.com", "");
    spec.keys.clusters.push("new".parse().unwrap());
    world.fleet.configure(vec![spec.into()], world.now);
    world.settle();
    assert_eq!(
        world.confirm("p1", drained),
        [],
        "must not stop what passes by the new cluster"
    );
}

#[test]
fn a_change_that_is_no_key_needs_no_other_confirm() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["p1"]);
    let drained = world.drain("web");
    world.configure(&[("web", "web.example.com")], "hold: {timeout: 5s}");
    assert!(world.view.revision().n > drained, "must be told");
    assert_eq!(
        world.confirm("p1", drained),
        [stop("web", 2)],
        "each that knows it holds it: nothing passes by another way"
    );
}

#[test]
fn what_was_applied_before_the_drain_is_no_confirm() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    assert_eq!(
        world.confirm("a", drained - 1),
        [],
        "must not stop what it still lets pass"
    );
}

#[test]
fn a_drain_needs_every_proxy() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a", "b"]);
    let drained = world.drain("web");
    assert_eq!(world.confirm("a", drained), [], "must wait for the other");
    assert_eq!(world.state("web"), State::Draining, "must still drain");
    assert_eq!(
        world.confirm("b", drained),
        [stop("web", 2)],
        "must be stopped once both have confirmed"
    );
    assert_eq!(
        world.state("web"),
        State::Asleep,
        "must be published as asleep before it is stopped"
    );
}

#[test]
fn a_confirmation_of_another_instance_counts_for_nothing() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    world.seq += 1;
    let mut report = mk_report("a", world.seq, &[]);
    report.applied = Some(Revision {
        instance: "another".to_owned(),
        n: drained + 5,
    });
    assert_eq!(world.say(&report), [], "must not stop on another life's word");
}

#[test]
fn a_proxy_that_appears_during_a_drain_must_confirm_it_too() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    world.sync("late");
    assert_eq!(
        world.confirm("a", drained),
        [],
        "must wait for the one that has come"
    );
    assert_eq!(
        world.confirm("late", drained),
        [stop("web", 2)],
        "must then be stopped"
    );
}

#[test]
fn one_that_signs_off_is_not_waited_for() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a", "b"]);
    let drained = world.drain("web");
    world.confirm("a", drained);
    world.seq += 1;
    let report = Report {
        leaving: true,
        ..mk_report("b", world.seq, &[])
    };
    assert_eq!(world.say(&report), [stop("web", 2)], "must be stopped without it");
}

#[test]
fn what_is_held_or_in_flight_turns_a_drain_back() {
    for usage in [("web", 1, 0, Some(0)), ("web", 0, 1, Some(100_000))] {
        let mut world = World::new(&["web"]);
        world.wake_up("web", &["a", "b"]);
        let drained = world.drain("web");
        world.confirm("a", drained);
        world.seq += 1;
        assert_eq!(world.report("b", world.seq, &[usage]), [], "must not stop it");
        assert_eq!(world.state("web"), State::Ready, "must pass again");
        assert_eq!(world.target("web").epoch, 1, "must be the same epoch");
    }
}

#[test]
fn nothing_sleeps_without_a_live_proxy() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.seq += 1;
    world.say(&Report {
        leaving: true,
        ..mk_report("a", world.seq, &[])
    });
    world.pass(3_600_000);
    assert_eq!(
        world.state("web"),
        State::Ready,
        "must stay up while no proxy is live"
    );
}

#[test]
fn a_silent_proxy_blocks_sleeps_until_it_is_forgotten() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a", "gone"]);
    world.poll("a");
    let sleeps = |world: &World| world.state("web") != State::Ready;
    world.pass(30_000);
    assert!(!sleeps(&world), "must not drain while one is silent");
    assert_eq!(
        world
            .fleet
            .status(world.now)
            .proxies
            .iter()
            .filter(|p| p.silent)
            .count(),
        1,
        "must be silent"
    );
    world.pass(570_000);
    assert!(sleeps(&world), "must drain once it is forgotten");
}

#[test]
fn no_drain_begins_just_after_a_start() {
    let mut world = World::new(&["web"]);
    world.begin_at(0);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.pass(59_999);
    assert_eq!(world.state("web"), State::Ready, "must wait for idle.after");
    world.pass(10_000);
    assert_ne!(world.state("web"), State::Ready, "must drain then");
    let mut world = World::with("idle: {after: 1s}", &["web"]);
    world.begin_at(0);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.pass(29_999);
    assert_eq!(world.state("web"), State::Ready, "must wait for two leases");
    world.pass(1);
    assert_eq!(world.state("web"), State::Draining, "must drain then");
}

#[test]
fn what_no_proxy_has_matched_is_not_put_to_sleep() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    world.fleet.wake(&id("web"), world.now).unwrap();
    world.see("web", 1, 1);
    world.pass(3_600_000);
    assert_eq!(world.state("web"), State::Ready, "must stay up");
    let kinds: Vec<_> = world.fleet.status(world.now).targets[0]
        .conditions
        .iter()
        .map(|c| c.kind)
        .collect();
    assert_eq!(kinds, ["NeverMatched"], "must say why");
    world.report("a", 1, &[("web", 0, 0, Some(5))]);
    world.pass(60_000);
    assert_eq!(
        world.state("web"),
        State::Draining,
        "must sleep once it has been matched"
    );
}

#[test]
fn new_match_keys_must_be_matched_anew() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.configure(&[("web", "new.example.com")], "");
    assert_eq!(
        world.target("web").hosts,
        ["new.example.com"],
        "must publish the new key"
    );
    world.report("a", 50, &[("web", 0, 0, Some(60_000))]);
    world.pass(3_600_000);
    assert_eq!(
        world.state("web"),
        State::Ready,
        "must not count what matched the old key"
    );
}

#[test]
fn what_arrives_at_the_moment_of_new_keys_may_have_matched_the_old_ones() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.configure(&[("web", "new.example.com")], "");
    world.report("a", 50, &[("web", 0, 0, Some(0))]);
    world.pass(3_600_000);
    assert_eq!(world.state("web"), State::Ready, "must not count it");
    world.report("a", 51, &[("web", 0, 0, Some(3_599_999))]);
    world.pass(1);
    assert_eq!(
        world.state("web"),
        State::Draining,
        "must count what came a moment later"
    );
}

#[test]
fn a_person_may_send_to_sleep_what_was_never_matched() {
    let mut world = World::new(&["web"]);
    world.sync("a");
    world.fleet.wake(&id("web"), world.now).unwrap();
    world.see("web", 1, 1);
    world.fleet.sleep(&id("web"), world.now).unwrap();
    world.settle();
    assert_eq!(world.state("web"), State::Draining, "must drain");
}

#[test]
fn a_person_is_told_why_not() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.report("a", 70, &[("web", 0, 2, Some(0))]);
    let refusal = world.fleet.sleep(&id("web"), world.now).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "it is in use: 0 held, 2 in flight",
        "must say that it is in use"
    );
    assert_eq!(
        world.fleet.sleep(&id("no"), world.now),
        Err(WishRefusal::Unknown),
        "must know its targets"
    );
}
