use protocol::State;
use tokio_util::sync::CancellationToken;

use super::super::actor;
use super::super::world::{World, id, mk_settings, mk_spec};
use super::super::*;
use crate::backend::manual::Manual;
use crate::life::{Failure, FailureClass, Why};
use crate::metrics::Metrics;
use crate::time::Clock;

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
fn a_wake_that_nobody_waited_for_has_no_duration() {
    let mut world = World::new(&["web"]);
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    world.see_all("web", 1, 0, 0, 1);
    assert_eq!(world.state("web"), State::Asleep, "must follow whoever set zero");
    let wake = last_wake(&world).unwrap();
    assert_eq!(wake.duration_ms, None, "must not have been up");
}

#[tokio::test(start_paused = true)]
async fn listeners_hear_of_targets_and_learn_of_the_end() {
    let (handle, metrics, end) = spawn();
    handle
        .configure(vec![mk_spec("web", "web", "").into()])
        .await
        .unwrap();
    let mut notes = handle.notes().unwrap();
    handle.wake(id("web")).await.unwrap().unwrap();
    let moves = [notes.next().await.unwrap(), notes.next().await.unwrap()];
    let told: Vec<_> = moves
        .iter()
        .map(|note| match note {
            Note::Moved {
                to, why, by, woke_in, ..
            } => (*to, *why, by.clone(), woke_in.is_some()),
            other => panic!("must tell of targets alone: {other:?}"),
        })
        .collect();
    let person = Some(WokenBy::Person);
    let expected = [
        ("waking", Why::Asked, person.clone(), false),
        ("ready", Why::Endpoints, person, true),
    ];
    assert_eq!(told, expected, "must tell who woke it, and that it is up");
    end.cancel();
    assert_eq!(notes.next().await, None, "must end with the fleet");
    assert_eq!(metrics.notes_missed.get(), 0, "must have missed nothing");
    assert!(handle.notes().is_err(), "must not wait for what has ended");
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_holds_nobody_up_and_what_it_misses_is_counted() {
    let (handle, metrics, _end) = spawn();
    handle
        .configure(vec![mk_spec("web", "web", "suspend: true").into()])
        .await
        .unwrap();
    // It has been suspended before anybody listens.
    handle.status().await.unwrap();
    let mut notes = handle.notes().unwrap();
    for _ in 0..1_100 {
        handle.wake(id("web")).await.unwrap().unwrap_err();
    }
    let Some(Note::Refused { .. }) = notes.next().await else {
        panic!("must tell of wishes that are refused")
    };
    assert_eq!(
        metrics.notes_missed.get(),
        1_100 - 1_024,
        "must count what was too much"
    );
}

fn spawn() -> (FleetHandle, Metrics, CancellationToken) {
    let (metrics, end) = (Metrics::new(), CancellationToken::new());
    let settings = mk_settings();
    let clock = Clock::start();
    let (handle, actor) = actor::new(
        settings,
        clock,
        metrics.clone(),
        |_| Manual::default(),
        end.clone(),
    );
    tokio::spawn(actor);
    (handle, metrics, end)
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
