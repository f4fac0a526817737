//! Wakes that others undo.

use protocol::State;

use super::super::world::{World, id, start};
use super::super::*;
use crate::lifecycle::Cause;

#[test]
fn a_wake_that_is_undone_twice_waits_and_says_who_insists() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    let first = world.report("a", 1, &[("web", 1, 0, Some(0))]);
    assert_eq!(first, [start("web", 1, Cause::Demand)], "must be started");
    assert_eq!(
        undo(&mut world, 1),
        [start("web", 2, Cause::Demand)],
        "must be started again at once: a request waits"
    );
    assert_eq!(conditions(&world), [], "must not complain of the first time");
    assert_eq!(undo(&mut world, 2), [], "must hold the third start back");
    assert_eq!(
        world.state("web"),
        State::Asleep,
        "must keep the requests held: they are not refused"
    );
    let told = conditions(&world);
    assert_eq!(told.len(), 1, "must say so once: {told:?}");
    assert!(
        told[0].0 == "Contended" && told[0].1.contains("keda-operator"),
        "must name who insists: {told:?}"
    );
    assert_eq!(
        world.pass(1_200),
        [start("web", 3, Cause::Demand)],
        "must be tried again after the wait"
    );
}

#[test]
fn each_time_it_is_undone_is_told_once() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    undo(&mut world, 1);
    world.fleet.observe(&id("web"), mk_zero(2), world.now);
    let events: Vec<_> = world
        .take_effects()
        .into_iter()
        .filter(|effect| matches!(effect, Effect::Emit(FleetEvent::Contended { times: 2, .. })))
        .collect();
    assert_eq!(events.len(), 1, "must be told once");
    world.fleet.observe(&id("web"), mk_zero(2), world.now);
    assert_eq!(world.take_effects(), [], "must not be told again without a wake");
}

#[test]
fn a_wake_that_lasts_clears_the_condition() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    undo(&mut world, 1);
    undo(&mut world, 2);
    world.pass(1_200);
    world.see("web", 3, 1);
    world.report("a", 2, &[("web", 0, 1, Some(0))]);
    world.pass(58_000);
    assert_eq!(conditions(&world).len(), 1, "must still be shown");
    world.pass(2_000);
    assert_eq!(conditions(&world), [], "must be over after a minute");
}

fn mk_zero(command: u64) -> Observed {
    Observed {
        command,
        set_by: Some("keda-operator".to_owned()),
        ..Observed::default()
    }
}

fn undo(world: &mut World, command: u64) -> Vec<crate::command::Command> {
    world.fleet.observe(&id("web"), mk_zero(command), world.now);
    world.settle()
}

/// Without `NeverMatched`, which is beside the point here.
fn conditions(world: &World) -> Vec<(&'static str, String)> {
    let status = world.fleet.status(world.now);
    let told = status.targets.into_iter().flat_map(|target| target.conditions);
    told.filter(|one| one.kind != "NeverMatched")
        .map(|one| (one.kind, one.message.into_owned()))
        .collect()
}
