//! Polls and incarnations of proxies, and targets that are removed.

use std::time::Duration;

use protocol::{Incarnation, Proxy, Report, State};

use super::super::proxies::PollId;
use super::super::world::{World, id, mk_proxy, mk_report, mk_spec, start};
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
    world.take_effects();
    world
        .fleet
        .open_poll(&mk_proxy("a"), PollId(2), world.now)
        .unwrap();
    assert!(
        world.take_effects().contains(&Effect::EndPoll(PollId(1))),
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
fn what_is_removed_while_it_is_used_is_used_no_more() {
    let mut world = World::new(&["web", "other"]);
    world.wake_up("web", &["a"]);
    let mut report = mk_report("a", 3, &[("web", 2, 3, Some(0)), ("other", 0, 1, None)]);
    let unreached = |name: &str| protocol::Unreached {
        target: id(name),
        cluster: name.to_owned(),
        saw: "no endpoint".to_owned(),
        for_ms: 0,
    };
    report.unreached = vec![unreached("web")];
    world.say(&report);
    let count = |world: &World| {
        let counts = world.fleet.counts();
        (counts.held, counts.in_flight, counts.unreached)
    };
    assert_eq!(count(&world), (2, 4, 1));
    world.configure(&[("other", "other.example.com")], "");
    assert_eq!(count(&world), (0, 1, 0), "must be counted no more");
}

#[test]
fn what_several_proxies_use_is_added_up() {
    let mut world = World::new(&["web", "other"]);
    world.wake_up("web", &["a", "b"]);
    world.report("a", 10, &[("web", 1, 4, None), ("other", 3, 0, None)]);
    world.report("b", 10, &[("web", 2, 5, None)]);
    let used = |world: &World| (world.fleet.proxies.usage(&id("web")), world.fleet.counts().held);
    assert_eq!(used(&world), ((3, 9), 6));
    world.report("a", 11, &[("web", 0, 3, None)]);
    assert_eq!(used(&world), ((2, 8), 2), "must follow each");
    let leaving = Report {
        leaving: true,
        ..mk_report("b", 11, &[])
    };
    world.say(&leaving);
    assert_eq!(used(&world), ((0, 3), 0), "must end with the proxy");
    world.report("a", 12, &[("web", 0, 0, None)]);
    let of_a = world.fleet.proxies.iter().map(|(_, state)| state.usage.len());
    assert_eq!(of_a.sum::<usize>(), 0, "must keep nothing of what is not used");
}

#[test]
fn the_poll_of_one_that_signs_off_ends() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    let leaving = Report {
        leaving: true,
        ..mk_report("a", 1, &[])
    };
    world.fleet.report(&leaving, world.now);
    let effects = world.take_effects();
    assert!(
        effects.contains(&Effect::EndPoll(PollId(1))),
        "must end: {effects:?}"
    );
    assert_eq!(world.fleet.counts().polling, 0, "must be counted no more");
}

#[test]
fn a_timeout_that_comes_late_finds_proxies_that_have_gone_silent_meanwhile() {
    let mut world = World::new(&["web"]);
    world.sync("a");
    let due = world.fleet.poll_timeout().unwrap();
    world.fleet.handle_timeout(due + Duration::from_millis(1));
    world.settle();
    assert_eq!(world.fleet.counts().silent, 1, "no clock is exact");
}

#[test]
fn what_is_to_start_with_us_is_started_at_once() {
    for (autostart, expected) in [(true, vec![start("web", 1, Cause::Person)]), (false, vec![])] {
        let process = format!("{{command: [a], autostart: {autostart}, ready: {{tcp: {{port: 1}}}}}}");
        let mut world = World::new(&[]);
        let workload = format!("workload: {{process: {process}}}");
        let commands = world.configure(&[("web", "web.example.com")], &workload);
        assert_eq!(commands, expected, "autostart: {autostart}");
    }
}

#[test]
fn only_what_is_configured_has_a_life() {
    let world = World::new(&["web"]);
    assert!(world.fleet.life(&id("web")).is_some() && world.fleet.life(&id("no")).is_none());
}

#[test]
fn retries_are_spread() {
    let settings = crate::testing::mk_settings();
    let now = Time::default();
    let spread: Vec<_> = (0..200)
        .map(|n| settings.jitter(&id(&format!("t{n}")), now))
        .collect();
    assert!(spread.iter().all(|jitter| *jitter <= 1000), "{spread:?}");
    for part in 0..4 {
        let there = spread.iter().filter(|jitter| **jitter / 251 == part).count();
        assert!(there > 20, "must be spread evenly: {spread:?}");
    }
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
    assert_eq!(world.target("web").ready_endpoints, 0, "must promise no endpoint");
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
fn what_is_configured_during_a_shutdown_is_left_to_the_next_control_plane() {
    for workloads_end_with_us in [true, false] {
        let mut world = World::new(&["web", "other"]);
        world.fleet.settings.workloads_end_with_us = workloads_end_with_us;
        world.wake_up("web", &["a"]);
        world.fleet.close();
        world.settle();
        let told = world.view.revision().n;
        let renamed = [("shop", "web.example.com"), ("new", "new.example.com")];
        assert_eq!(world.configure(&renamed, ""), [], "must do nothing");
        assert_eq!(
            world.view.revision().n,
            told,
            "must not say that what ends is ready under another name"
        );
    }
}

#[test]
fn a_shutdown_that_leaves_the_workloads_up_tells_no_proxy_anything() {
    let mut world = World::new(&["web", "drained"]);
    world.fleet.settings.workloads_end_with_us = false;
    world.wake_up("web", &["a"]);
    world.sync("a");
    world.report("a", 10, &[("drained", 1, 0, Some(0))]);
    world.see("drained", 1, 1);
    world.report("a", 11, &[]);
    let drained = world.drain("drained");
    world.fleet.close();
    assert_eq!(world.take_effects(), [], "must neither publish nor stop anything");
    assert_eq!(world.state("web"), State::Ready, "must go on passing");
    assert!(world.fleet.is_closed(), "must wait for no proxy");
    assert_eq!(
        world.confirm("a", drained),
        [],
        "must leave the drain to the next leader"
    );
    assert_eq!(world.pass(60_000), [], "must decide nothing any more");
    assert_eq!(world.view.revision().n, drained, "must publish nothing any more");
}
