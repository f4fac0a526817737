//! Targets that go on under another name.

use protocol::State;

use super::super::world::{World, id, mk_report, mk_spec, start, stop};
use super::super::*;
use crate::command::Command;
use crate::config::{MatchKeys, ScaleTarget, Workload};
use crate::lifecycle::Cause;

#[test]
fn what_is_renamed_is_told_in_one_revision_and_goes_on() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.report("a", 3, &[("web", 0, 2, Some(0))]);
    let before = status(&world, "web");
    let n = world.view.revision().n;
    assert_eq!(
        rename(&mut world),
        [renamed()],
        "must neither start nor stop anything"
    );
    assert_eq!(world.view.revision().n, n + 1, "must be one revision");
    let told = world.view.since(Some(&protocol::Revision {
        instance: "me".to_owned(),
        n,
    }));
    let told = told.unwrap();
    assert_eq!(told.removed, [id("web")], "must end the former name");
    let (name, state) = (&told.changed[0].id, told.changed[0].state);
    assert_eq!((name, state), (&id("shop"), State::Ready), "must go on as it was");
    let after = status(&world, "shop");
    assert_eq!(
        (after.epoch, after.in_flight, after.last_wake, after.idle_ms),
        (before.epoch, 2, before.last_wake, before.idle_ms),
        "must know what it knew"
    );
    assert!(world.published("web").is_none(), "must not be there twice");
}

#[test]
fn what_is_renamed_counts_its_commands_on() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    rename(&mut world);
    let drained = world.drain("shop");
    assert_eq!(
        world.confirm("a", drained),
        [stop("shop", 2)],
        "must stop what it has started"
    );
    world.see_all("shop", 2, 0, 0, 0);
    assert_eq!(world.state("shop"), State::Asleep);
    assert_eq!(
        world.report("a", 500, &[("shop", 1, 0, Some(0))]),
        [start("shop", 3, Cause::Demand)],
        "must wake under its name"
    );
}

#[test]
fn a_drain_is_confirmed_anew_under_another_name() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    rename(&mut world);
    assert_eq!(world.state("shop"), State::Draining, "must go on");
    assert_eq!(
        world.confirm("a", drained),
        [],
        "must not believe what was said before they heard of the name"
    );
    let n = world.view.revision().n;
    assert_eq!(
        world.confirm("a", n),
        [stop("shop", 1 + 1)],
        "must go on once they have"
    );
}

#[test]
fn what_was_removed_first_is_found_again_under_another_name() {
    let mut world = World::new(&["web"]);
    let removed = world.configure(&[], "");
    assert_eq!(removed, [start("web", 1, Cause::Retired)], "must be left awake");
    assert_eq!(rename(&mut world), [renamed()], "must be the same");
    world.see("shop", 1, 1);
    assert_eq!(world.state("shop"), State::Ready, "must be kept");
}

#[test]
fn the_same_workload_is_what_counts() {
    let mut world = World::new(&[]);
    let one = object(mk_spec("one", "one.example.com", ""), "app");
    let two = object(mk_spec("two", "two.example.com", ""), "app");
    world.fleet.configure(vec![one.into(), two.into()], world.now);
    world.settle();

    // Both are gone: each goes to the one with its keys, whatever the order; and no other workload is taken for it.
    let a = object(mk_spec("a", "two.example.com", ""), "app");
    let b = object(mk_spec("b", "one.example.com", ""), "app");
    let c = object(mk_spec("c", "one.example.com", ""), "another");
    let elsewhere = ScaleTarget {
        id: protocol::TargetId::new("elsewhere/d"),
        ..a.clone()
    };
    let all = [a, b, c, elsewhere].map(Into::into).to_vec();
    world.fleet.configure(all, world.now);
    let renames = world.settle().into_iter().filter_map(|command| match command {
        Command::Rename { from, spec } => Some((from, spec.id.clone())),
        _ => None,
    });
    let renames: Vec<_> = renames.collect();
    assert_eq!(renames, [(id("two"), id("a")), (id("one"), id("b"))]);
}

#[test]
fn what_is_removed_beside_its_successor_is_not_woken() {
    let mut world = World::new(&["web"]);
    world.configure(&[("web", "web.example.com"), ("shop", "web.example.com")], "");
    let commands = world.configure(&[("shop", "web.example.com")], "");
    assert_eq!(
        commands,
        [Command::Release { id: id("web") }],
        "must be let go at once"
    );
    assert!(world.published("web").is_none());
}

#[test]
fn what_is_removed_beside_its_successor_stays_while_requests_wait_under_keys_of_its_own() {
    let web = object(mk_spec("web", "web.example.com", ""), "app");
    let shop = object(mk_spec("shop", "web.example.com", ""), "app");
    let mut more = web.clone();
    more.keys.hosts.push("own.example.com".parse().unwrap());
    for (web, held, stays) in [
        (&more, 0, false),
        (&more, 1, true),
        (&web, 0, false),
        (&web, 1, false),
    ] {
        let mut world = World::new(&[]);
        let both = vec![web.clone().into(), shop.clone().into()];
        world.fleet.configure(both, world.now);
        world.report("a", 1, &[("web", held, 0, None)]);
        world.fleet.configure(vec![shop.clone().into()], world.now);
        let let_go = world.settle().contains(&Command::Release { id: id("web") });
        let there = world.published("web").is_some();
        let keys = web.keys.hosts.len();
        assert_eq!((let_go, there), (!stays, stays), "{held} held, {keys} keys");
    }
}

#[test]
fn an_object_of_the_same_name_in_another_namespace_is_another() {
    let mut world = World::new(&[]);
    let web = object(mk_spec("web", "web.example.com", ""), "app");
    let elsewhere = ScaleTarget {
        id: protocol::TargetId::new("elsewhere/web"),
        ..web.clone()
    };
    world.fleet.configure(vec![web.into()], world.now);
    world.settle();
    world.fleet.configure(vec![elsewhere.into()], world.now);
    let commands = world.settle();
    assert!(
        !commands.iter().any(|one| matches!(one, Command::Rename { .. })),
        "must not be taken for the one that goes: {commands:?}"
    );
}

#[test]
fn what_is_renamed_is_known_to_be_matched_if_its_keys_are_the_same() {
    for (host, state) in [
        ("web.example.com", State::Draining),
        ("shop.example.com", State::Ready),
    ] {
        let object = |name, host| object(mk_spec(name, host, ""), "app");
        let mut world = World::new(&[]);
        world
            .fleet
            .configure(vec![object("web", "web.example.com").into()], world.now);
        world.settle();
        // What arrives from now on is later than the configuration.
        world.pass(1_000);
        world.wake_up("web", &["a"]);
        world.poll("a");
        world
            .fleet
            .configure(vec![object("shop", host).into()], world.now);
        world.settle();
        world.pass(60_000);
        assert_eq!(world.state("shop"), state, "under {host}");
    }
}

#[test]
fn what_is_not_reached_of_the_others_is_known_on() {
    let mut world = World::new(&["web", "other"]);
    world.wake_up("web", &["a"]);
    world.report("a", 3, &[("other", 1, 0, Some(0))]);
    world.see("other", 1, 1);
    let unreached = ["web", "other"].map(|name| protocol::Unreached {
        target: id(name),
        cluster: name.to_owned(),
        saw: "no endpoint".to_owned(),
        for_ms: 0,
    });
    world.say(&protocol::Report {
        unreached: unreached.to_vec(),
        ..mk_report("a", 4, &[])
    });
    world.configure(&[("shop", "web.example.com"), ("other", "other.example.com")], "");
    let not_reached = |name| status(&world, name).unreached_clusters;
    assert_eq!(
        (not_reached("shop"), not_reached("other")),
        (0, 1),
        "must be said anew of the one, under its name"
    );
}

#[test]
fn what_has_waited_beside_the_former_name_goes_on_with_all_that_is_its() {
    let beside = ScaleTarget {
        keys: MatchKeys::default(),
        ..mk_spec("shop", "web.example.com", "")
    };
    let mut world = World::new(&["web"]);
    world.report("a", 3, &[("web", 1, 0, Some(0))]);
    let web = mk_spec("web", "web.example.com", "");
    let both = vec![web.into(), beside.into()];
    world.fleet.configure(both, world.now);
    world.settle();
    let before = status(&world, "web");
    assert_eq!((before.held, world.state("shop")), (1, State::Asleep));
    let n = world.view.revision().n;

    let release = Command::Release { id: id("shop") };
    assert_eq!(
        rename(&mut world),
        [release, renamed()],
        "must be the one that was there"
    );
    let told = world.view.since(Some(&protocol::Revision {
        instance: "me".to_owned(),
        n,
    }));
    let told = told.unwrap();
    assert_eq!(world.view.revision().n, n + 1, "must be one revision");
    assert_eq!(told.removed, [id("web")], "must end the former name");
    let (name, state) = (&told.changed[0].id, told.changed[0].state);
    assert_eq!(
        (name, state),
        (&id("shop"), State::Waking),
        "must go on as it was"
    );
    let after = status(&world, "shop");
    assert_eq!(
        (after.epoch, after.held, after.since_ms),
        (before.epoch, 1, before.since_ms),
        "must know what it knew"
    );
}

#[test]
fn reports_under_the_former_name_change_nothing() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    rename(&mut world);
    let report = mk_report("a", 400, &[("web", 3, 1, Some(0))]);
    assert_eq!(world.say(&report), [], "must not be a target of its own");
    assert_eq!(status(&world, "shop").held, 0);
}

fn object(spec: ScaleTarget, name: &str) -> ScaleTarget {
    ScaleTarget {
        workload: Workload::Object {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
        },
        ..spec
    }
}

fn rename(world: &mut World) -> Vec<Command> {
    world.configure(&[("shop", "web.example.com")], "")
}

fn renamed() -> Command {
    Command::Rename {
        from: id("web"),
        spec: std::sync::Arc::new(mk_spec("shop", "web.example.com", "")),
    }
}

fn status(world: &World, name: &str) -> TargetStatus {
    let status = world.fleet.status(world.now);
    let found = status.targets.into_iter().find(|target| target.id == id(name));
    found.unwrap()
}
