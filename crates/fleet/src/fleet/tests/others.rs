//! Polls and incarnations of proxies, and targets that are removed.

use protocol::{Incarnation, Proxy, State};

use super::super::proxies::PollId;
use super::super::world::{World, id, mk_proxy, mk_spec, start};
use super::super::*;
use crate::command::Command;
use crate::config::Workload;
use crate::lifecycle::Cause;

#[test]
fn an_open_poll_is_a_word() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    world.pass(3_600_000);
    assert!(
        world.fleet.status(world.now).proxies.iter().all(|p| !p.silent),
        "must not be silent while it polls"
    );
    world.fleet.close_poll(&mk_proxy("a"), PollId(1), world.now);
    world.pass(14_999);
    assert!(
        world.fleet.status(world.now).proxies.iter().all(|p| !p.silent),
        "must count from the poll's end"
    );
    world.pass(1);
    assert!(
        world.fleet.status(world.now).proxies.iter().all(|p| p.silent),
        "must be silent in the end"
    );
}

#[test]
fn a_newer_poll_ends_the_older() {
    let mut world = World::new(&["web"]);
    world
        .fleet
        .open_poll(&mk_proxy("a"), PollId(1), world.now)
        .unwrap();
    world.fleet.take_effects();
    world
        .fleet
        .open_poll(&mk_proxy("a"), PollId(2), world.now)
        .unwrap();
    assert!(
        world.fleet.take_effects().contains(&Effect::EndPoll(PollId(1))),
        "must end the older"
    );
    world.fleet.close_poll(&mk_proxy("a"), PollId(1), world.now);
    let status = world.fleet.status(world.now);
    assert!(
        status.proxies.iter().all(|p| p.polling),
        "must still have the newer one open"
    );
}

#[test]
fn two_incarnations_are_two_proxies() {
    let mut world = World::new(&["web"]);
    world
        .fleet
        .open_poll(&mk_proxy("a"), PollId(1), world.now)
        .unwrap();
    let other = Proxy {
        incarnation: Incarnation::new("other"),
        ..mk_proxy("a")
    };
    world.fleet.open_poll(&other, PollId(2), world.now).unwrap();
    assert_eq!(
        world.fleet.status(world.now).proxies.len(),
        2,
        "must be told apart"
    );
}

#[test]
fn what_is_removed_while_ready_is_let_go_at_once() {
    let mut world = World::new(&["web", "other"]);
    world.wake_up("web", &["a"]);
    let commands = world.configure(&[("other", "other.example.com")], "");
    assert!(
        commands.contains(&Command::Release { id: id("web") }),
        "must be let go: {commands:?}"
    );
    assert!(world.published("web").is_none(), "must no longer be published");
}

#[test]
fn what_is_removed_while_asleep_is_woken_and_published_until_it_is_up() {
    let mut world = World::new(&["web", "other"]);
    let commands = world.configure(&[("other", "other.example.com")], "");
    assert!(
        commands.contains(&start("web", 1, Cause::Retired)),
        "must be woken: {commands:?}"
    );
    assert_eq!(world.state("web"), State::Waking, "must still be published");
    world.see("web", 1, 1);
    assert!(world.published("web").is_none(), "must be dropped once it is up");
}

#[test]
fn what_was_renamed_is_dropped_and_not_woken() {
    let mut world = World::new(&["web"]);
    let commands = world.configure(&[("renamed", "web.example.com")], "");
    assert!(
        world.published("web").is_none(),
        "must not be published beside the new owner"
    );
    assert!(
        !commands.iter().any(|c| matches!(c, Command::Start { .. })),
        "must not be woken: {commands:?}"
    );
}

#[test]
fn what_is_removed_without_a_key_is_woken_all_the_same() {
    let mut world = World::new(&["web"]);
    let other = Workload::Object {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "another".to_owned(),
    };
    let mut usurper = mk_spec("usurper", "web.example.com", "");
    usurper.workload = other;
    world.fleet.configure(vec![usurper.into()], world.now);
    let commands = world.settle();
    assert!(
        commands.contains(&start("web", 1, Cause::Retired)),
        "must be woken, for it sleeps: {commands:?}"
    );
    let keys = world.target("web");
    assert!(
        keys.hosts.is_empty() && keys.clusters.is_empty(),
        "must not be published beside the new owner"
    );
}

#[test]
fn an_empty_start_is_published_too() {
    let mut world = World::new(&[]);
    assert!(world.view.is_complete(), "must answer the proxies");
    assert_eq!(world.configure(&[], ""), [], "must do nothing");
}

#[test]
fn a_shutdown_tells_the_proxies_to_hold_and_wakes_nothing() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.fleet.close();
    world.settle();
    assert_eq!(world.state("web"), State::Asleep, "must no longer be passed into");
    assert!(!world.fleet.is_closed(), "must wait for the proxy");
    let n = world.view.revision().n;
    assert_eq!(world.confirm("a", n), [], "must stop nothing itself");
    assert!(world.fleet.is_closed(), "must be done once it is confirmed");
    assert_eq!(
        world.report("a", 900, &[("web", 1, 0, Some(0))]),
        [],
        "must wake nothing any more"
    );
}

#[test]
fn a_shutdown_that_leaves_the_workloads_up_tells_nobody_anything() {
    let mut world = World::new(&["web", "drained"]);
    world.fleet.settings.workloads_end_with_us = false;
    world.wake_up("web", &["a"]);
    world.sync("a");
    world.report("a", 10, &[("drained", 1, 0, Some(0))]);
    world.see("drained", 1, 1);
    world.report("a", 11, &[]);
    let drained = world.drain("drained");
    world.fleet.close();
    assert_eq!(
        world.fleet.take_effects(),
        [],
        "must neither publish nor stop anything"
    );
    assert_eq!(world.state("web"), State::Ready, "must go on passing");
    assert!(world.fleet.is_closed(), "must wait for nobody");
    assert_eq!(
        world.confirm("a", drained),
        [],
        "must leave the drain to whoever leads next"
    );
    assert_eq!(world.pass(60_000), [], "must decide nothing any more");
    assert_eq!(world.view.revision().n, drained, "must publish nothing any more");
}
