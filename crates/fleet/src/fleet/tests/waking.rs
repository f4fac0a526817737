//! What a status tells of the last wake: its cause, when it began, and how long it took.

use protocol::State;

use super::super::world::{World, id};
use super::super::*;
use crate::lifecycle::{Failure, FailureClass};

const HOUR_MS: u64 = 3_600_000;

#[test]
fn the_status_tells_who_woke_it_when_and_how_long_it_took() {
    let mut world = World::new(&["web"]);
    world.fleet.set_wall_clock(1_000_000 + HOUR_MS, world.now);
    world.sync("envoy-7");
    world.pass(500);
    world.report("envoy-7", 1, &[("web", 1, 0, Some(0))]);
    let begun = LastWake {
        unix_ms: 1_000_500 + HOUR_MS,
        duration_ms: None,
        by: WokenBy::Proxy("envoy-7".to_owned()),
    };
    assert_eq!(last_wake(&world), Some(begun.clone()), "must say that it began");
    world.pass(1_200);
    world.see_all("web", 1, 2, 2, 2);
    let ended = LastWake {
        duration_ms: Some(1_200),
        ..begun
    };
    assert_eq!(
        last_wake(&world),
        Some(ended.clone()),
        "must say how long it took"
    );
    world.report("envoy-7", 2, &[("web", 0, 0, Some(0))]);
    world.drain("web");
    assert_eq!(last_wake(&world), Some(ended), "must stay as it is afterwards");
    assert_eq!(
        world.fleet.status(world.now).targets[0].replicas,
        2,
        "must tell the replicas"
    );
}

#[test]
fn each_way_to_be_woken_has_its_name() {
    let mut world = World::new(&["web", "other"]);
    world.sync("a");
    assert_eq!(last_wake(&world), None, "must not invent a wake");
    let seen = Observed {
        replicas: 2,
        left: 2,
        set_by: Some("kubectl".to_owned()),
        ..Observed::default()
    };
    world.fleet.observe(&id("web"), seen, world.now);
    assert_eq!(woken_by(&world), "others (kubectl)");
    world.see_all("web", 0, 2, 2, 2);
    world.see_all("web", 0, 2, 0, 2);
    assert_eq!(woken_by(&world), "lost endpoints");
    world.see_all("web", 1, 0, 0, 0);
    world.fleet.wake(&id("web"), world.now).unwrap();
    assert_eq!(woken_by(&world), "a person");
    world.configure(&[("web", "web.example.com")], "");
    assert_eq!(wake_of(&world, "other").unwrap().by.to_string(), "removal");
    world.configure(&[("web", "web.example.com")], "suspend: true");
    assert_eq!(world.state("web"), State::Suspended);
    world.see_all("web", 2, 2, 0, 2);
    world.configure(&[("web", "web.example.com")], "suspend: false");
    assert_eq!(woken_by(&world), "end of suspension");
}

#[test]
fn a_retry_is_a_wake_of_its_own_and_endpoints_end_a_failed_one() {
    let mut world = World::new(&["web"]);
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    world.report("a", 2, &[]);
    fail(&mut world, 1);
    world.pass(5_000);
    world.report("a", 3, &[("web", 0, 0, Some(0))]);
    assert_eq!(woken_by(&world), "retry");
    world.pass(1_000);
    fail(&mut world, 2);
    world.pass(3_000);
    world.see("web", 2, 1);
    assert_eq!(world.state("web"), State::Ready, "must be up after all");
    let wake = last_wake(&world).unwrap();
    assert_eq!(
        wake.duration_ms,
        Some(4_000),
        "must count from the retry to the endpoints"
    );
}

#[test]
fn a_wake_that_no_request_waited_for_has_no_duration() {
    let mut world = World::new(&["web"]);
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    world.see_all("web", 1, 0, 0, 1);
    assert_eq!(
        world.state("web"),
        State::Asleep,
        "must follow the manager that set zero"
    );
    let wake = last_wake(&world).unwrap();
    assert_eq!(wake.duration_ms, None, "must not have been up");
}

fn fail(world: &mut World, command: u64) {
    let failure = Observed {
        command,
        replicas: 1,
        failure: Some(Failure::new(FailureClass::Config, "no disk")),
        ..Observed::default()
    };
    world.fleet.observe(&id("web"), failure, world.now);
    world.settle();
}

fn last_wake(world: &World) -> Option<LastWake> {
    wake_of(world, "web")
}

fn wake_of(world: &World, name: &str) -> Option<LastWake> {
    let status = world.fleet.status(world.now);
    let target = status.targets.into_iter().find(|target| target.id == id(name));
    target.unwrap().last_wake
}

fn woken_by(world: &World) -> String {
    last_wake(world).unwrap().by.to_string()
}
