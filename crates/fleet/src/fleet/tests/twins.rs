//! Targets that share a key are judged together.

use std::collections::BTreeSet;

use protocol::State;

use super::super::world::{World, id, mk_spec, start};
use super::super::*;
use crate::config::{MatchKeys, ScaleTarget};
use crate::lifecycle::Cause;

const BOTH: [(&str, &str); 2] = [("old", "shared.example.com"), ("new", "shared.example.com")];
const APART: [(&str, &str); 2] = [("old", "old.example.com"), ("new", "shared.example.com")];

#[test]
fn demand_for_one_wakes_the_other_as_well() {
    let mut world = mk_world();
    let commands = world.report("a", 1, &[("old", 1, 0, Some(0))]);
    let expected = [start("new", 1, Cause::Demand), start("old", 1, Cause::Demand)];
    assert_eq!(commands, expected, "must wake both");
    let by: BTreeSet<_> = world
        .fleet
        .status(world.now)
        .targets
        .into_iter()
        .map(|target| target.last_wake.unwrap().by.to_string())
        .collect();
    assert_eq!(
        by,
        ["proxy a".to_owned()].into(),
        "must name who asked for either"
    );
}

#[test]
fn arrivals_at_one_that_is_up_wake_the_other() {
    let mut world = mk_world();
    world.see_all("old", 0, 1, 1, 1);
    assert_eq!(world.state("old"), State::Ready, "must be up");
    assert_eq!(
        world.report("a", 1, &[("old", 0, 1, Some(0))]),
        [start("new", 1, Cause::Demand)],
        "must wake the one that the request may end up at"
    );
}

#[test]
fn use_of_one_keeps_the_other_awake() {
    let mut world = mk_world();
    both_up(&mut world);
    world.poll("a");
    world.report("a", 5, &[("old", 0, 1, Some(1_000_000))]);
    world.pass(600_000);
    let states = (world.state("old"), world.state("new"));
    assert_eq!(
        states,
        (State::Ready, State::Ready),
        "must keep both while either has something in flight"
    );
    let refusal = world.fleet.sleep(&id("new"), world.now);
    assert_eq!(
        refusal.unwrap_err().to_string(),
        "it is in use: 0 held, 1 in flight",
        "must say so to a person, too"
    );
}

#[test]
fn arrivals_at_one_keep_the_other_from_falling_idle() {
    let mut world = mk_world();
    both_up(&mut world);
    world.poll("a");
    for seq in 5..20 {
        world.pass(30_000);
        world.report("a", seq, &[("old", 0, 0, Some(0))]);
    }
    assert_eq!(
        world.state("new"),
        State::Ready,
        "must not be idle while the other is used"
    );
}

#[test]
fn it_ends_when_they_share_no_more() {
    let mut world = mk_world();
    both_up(&mut world);
    world.poll("a");
    world.configure(&APART, "");
    world.report("a", 5, &[("old", 0, 1, Some(0)), ("new", 0, 0, Some(0))]);
    world.pass(65_000);
    assert_eq!(world.state("old"), State::Ready, "must stay up: it is in use");
    assert_ne!(
        world.state("new"),
        State::Ready,
        "must fall idle by itself, the other's use is not its own"
    );
}

#[test]
fn it_begins_when_keys_shift_under_demand() {
    let mut world = World::new(&[]);
    world.configure(&APART, "");
    world.sync("a");
    world.report("a", 1, &[("new", 1, 0, Some(0))]);
    let commands = world.configure(&BOTH, "");
    assert_eq!(
        commands,
        [start("old", 1, Cause::Demand)],
        "must wake at once what now shares the demand"
    );
}

/// `before` is how both are configured while only `new` is in demand.
fn begins_when_both_share(before: [(&str, &str); 2]) {
    let mut world = World::new(&[]);
    world.configure(&before, "");
    world.sync("a");
    world.report("a", 1, &[("new", 1, 0, Some(0))]);
    assert_eq!(
        world.configure(&BOTH, ""),
        [start("old", 1, Cause::Demand)],
        "must wake at once what now shares the demand"
    );
}

#[test]
fn it_begins_for_one_whose_own_keys_stay() {
    begins_when_both_share([("old", "shared.example.com"), ("new", "new.example.com")]);
}

#[test]
fn it_begins_when_both_come_by_a_new_key() {
    begins_when_both_share([("old", "old.example.com"), ("new", "new.example.com")]);
}

#[test]
fn ten_thousand_that_do_not_change_are_compared_and_left_alone() {
    let template = mk_spec("web", "web.example.com", "");
    let specs: Vec<Configured> = (0..10_000)
        .map(|n| ScaleTarget {
            id: id(&format!("web-{n}")),
            keys: MatchKeys::new(vec![format!("web-{n}").parse().unwrap()], Vec::new()),
            ..template.clone()
        })
        .map(Into::into)
        .collect();
    let mut world = World::new(&[]);
    world.fleet.configure(specs.clone(), world.now);
    world.take_effects();
    world.fleet.configure(specs, world.now);
    assert_eq!(world.take_effects(), [], "must do nothing");
}

fn mk_world() -> World {
    let mut world = World::new(&[]);
    world.configure(&BOTH, "");
    world.sync("a");
    // What arrives from now on is later than the configuration.
    world.pass(1_000);
    world
}

/// Both up and matched, nothing in use.
fn both_up(world: &mut World) {
    world.report("a", 1, &[("old", 1, 0, Some(0)), ("new", 1, 0, Some(0))]);
    world.see("old", 1, 1);
    world.see("new", 1, 1);
    world.report("a", 2, &[("old", 0, 0, Some(0)), ("new", 0, 0, Some(0))]);
    let states = (world.state("old"), world.state("new"));
    assert_eq!(states, (State::Ready, State::Ready), "must be up");
}
