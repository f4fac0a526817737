//! What is told of a target, and of an Envoy, and how often.

use protocol::State;

use super::super::proxies::ProxyKey;
use super::super::world::{World, id, mk_proxy, mk_report};
use super::super::{Effect, FleetEvent, Known};
use crate::lifecycle::{Failure, FailureClass, Observed, Reason, Refusal};

#[test]
fn an_envoy_with_another_version_of_the_module_is_told_of_once() {
    let mut world = World::new(&["web"]);
    world.sync("envoy");
    let proxy = mk_proxy("envoy");
    world.take_effects();
    let mut told = |module| {
        world.fleet.hear_module(&proxy, module);
        events(&mut world)
            .iter()
            .filter(|event| matches!(event, FleetEvent::Module { .. }))
            .count()
    };
    assert_eq!(told(Some(env!("CARGO_PKG_VERSION"))), 0, "it is ours");
    assert_eq!(told(Some("0.0.999")), 1);
    assert_eq!(told(Some("0.0.999")), 0, "once");
}

#[test]
fn envoys_that_speak_are_counted_by_their_module() {
    let mut world = World::new(&["web"]);
    let modules = |world: &World| world.fleet.counts().modules.into_iter().collect::<Vec<_>>();
    for name in ["a", "b"] {
        world.sync(name);
    }
    assert_eq!(modules(&world), [("unknown", 2)], "must not be guessed");
    world.fleet.hear_module(&mk_proxy("a"), Some("0.0.999"));
    world
        .fleet
        .hear_module(&mk_proxy("b"), Some(env!("CARGO_PKG_VERSION")));
    world.settle();
    assert_eq!(modules(&world), [("older", 1), ("same", 1)]);
    world.pass(15_000);
    assert_eq!(modules(&world), [], "must speak");
    world.sync("a");
    assert_eq!(modules(&world), [("older", 1)], "it is what it was");
}

#[test]
fn how_many_endpoints_are_ready_is_published() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["envoy"]);
    world.see("web", 1, 3);
    assert_eq!(
        world.target("web").ready_endpoints,
        3,
        "the release is paced by it"
    );
}

#[test]
fn a_start_that_failed_is_told_with_its_reason() {
    let mut world = World::new(&["web"]);
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    let failure = Failure::new(FailureClass::Config, "no disk");
    let seen = Observed {
        command: 1,
        replicas: 1,
        failure: Some(failure.clone()),
        ..Observed::default()
    };
    world.fleet.observe(&id("web"), seen, world.now);
    let told = events(&mut world).into_iter().find_map(|event| match event {
        FleetEvent::Moved {
            to: "failed",
            failure,
            ..
        } => Some(failure),
        _ => None,
    });
    assert_eq!(told, Some(Some(failure)), "its owner must read why");
}

#[test]
fn each_proxy_that_confirms_a_drain_is_told_of_once() {
    let mut world = World::new(&["web", "other"]);
    world.wake_up("web", &["a", "b"]);
    let drained = world.drain("web");
    let told = |world: &mut World, proxy: &str, n| {
        world.seq += 1;
        let mut report = mk_report(proxy, world.seq, &[]);
        report.applied = Some(protocol::Revision {
            instance: "me".to_owned(),
            n,
        });
        world.fleet.report(&report, world.now);
        let confirmed = events(world).into_iter().filter_map(|event| match event {
            FleetEvent::Confirmed { target, proxy } => Some((target, proxy)),
            _ => None,
        });
        confirmed.collect::<Vec<_>>()
    };
    let a = ProxyKey::from(&mk_proxy("a"));
    assert_eq!(a.to_string(), "a#one", "must be told apart from its other lives");
    assert_eq!(told(&mut world, "a", drained - 1), [], "it has not");
    assert_eq!(told(&mut world, "a", drained), [(id("web"), a)], "once");
    assert_eq!(told(&mut world, "a", drained), [], "once");
    let b = ProxyKey::from(&mk_proxy("b"));
    assert_eq!(told(&mut world, "b", drained), [(id("web"), b)], "each");
}

#[test]
fn the_first_demand_for_what_does_not_pass_is_told() {
    let mut world = World::new(&["web"]);
    let told = |world: &mut World, seq, held| {
        world
            .fleet
            .report(&mk_report("a", seq, &[("web", held, 0, Some(0))]), world.now);
        let reported = events(world).into_iter().filter_map(|event| match event {
            FleetEvent::Reported { state, held, .. } => Some((state, held)),
            _ => None,
        });
        reported.collect::<Vec<_>>()
    };
    assert_eq!(told(&mut world, 1, 0), [], "none");
    assert_eq!(told(&mut world, 2, 3), [(State::Asleep, 3)], "the first");
    assert_eq!(told(&mut world, 3, 4), [], "more of the same is no news");
    assert_eq!(told(&mut world, 4, 0), [], "none");
    assert_eq!(told(&mut world, 5, 1), [(State::Waking, 1)], "the first again");
    assert_eq!(told(&mut world, 6, 0), [], "none");
    world.see("web", 1, 1);
    assert_eq!(told(&mut world, 7, 1), [], "it passes: it is let go at once");
}

#[test]
fn those_that_had_to_make_room_are_told_of_when_they_are_forgotten() {
    let mut world = World::new(&["web"]);
    let told = |world: &mut World, ms| {
        let end = world.now + std::time::Duration::from_millis(ms);
        let mut told = Vec::new();
        while let Some(at) = world.fleet.poll_timeout().filter(|at| *at <= end) {
            world.fleet.handle_timeout(at);
            told.extend(events(world).into_iter().filter_map(|event| match event {
                FleetEvent::OthersForgotten(count) => Some(count),
                _ => None,
            }));
        }
        world.now = end;
        told
    };
    world.sync("a");
    assert_eq!(told(&mut world, 100_000), [0_u64; 0], "there are none");
    let known = Known {
        others: 7,
        ..Known::default()
    };
    world.fleet.remember(&known, world.now);
    assert_eq!(told(&mut world, 700_000), [7], "must be told once");
}

#[test]
fn what_an_owner_would_want_to_read_is_history() {
    let target = id("web");
    let moved = FleetEvent::Moved {
        target: target.clone(),
        from: "ready",
        to: "draining",
        why: Reason::Idle,
        after: std::time::Duration::ZERO,
        woke_in: None,
        by: None,
        failure: None,
    };
    let refused = FleetEvent::Refused {
        target: target.clone(),
        refusal: Refusal::Suspended,
    };
    for event in [moved, refused, FleetEvent::Dropped(target.clone())] {
        assert!(event.is_history(), "{event:?}");
    }
    let proxy = ProxyKey::from(&mk_proxy("a"));
    for event in [
        FleetEvent::Removed { target },
        FleetEvent::Live(proxy.clone()),
        FleetEvent::StaleReport(proxy),
        FleetEvent::OthersForgotten(1),
    ] {
        assert!(!event.is_history(), "{event:?}");
    }
}

/// What is told, of all that is to be done.
fn events(world: &mut World) -> Vec<FleetEvent> {
    let effects = world.take_effects().into_iter();
    let told = effects.filter_map(|effect| match effect {
        Effect::Emit(event) => Some(event),
        _ => None,
    });
    told.collect()
}
