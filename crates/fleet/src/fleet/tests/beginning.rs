//! Targets at their first publication: what was found up is never told as asleep.

use protocol::State;

use super::super::world::{World, id, mk_spec};
use super::super::*;
use crate::command::Command;
use crate::lifecycle::{Failure, FailureClass, Observed};
use crate::view::Publication;

#[test]
fn the_first_publication_is_where_it_is() {
    let failed = Observed {
        failure: Some(Failure::new(FailureClass::Image, "no image")),
        ..mk_seen(1, 0)
    };
    let cases = [
        (mk_seen(3, 3), State::Ready, 1, 3),
        (mk_seen(3, 0), State::Waking, 0, 0),
        (mk_seen(0, 0), State::Asleep, 0, 0),
        (failed, State::Failed, 0, 0),
    ];
    for (seen, state, epoch, endpoints) in cases {
        let mut world = World::new(&[]);
        let told = configure(&mut world, vec![mk_configured("web", Some(seen.clone()))]);
        let published: Vec<_> = told
            .publications
            .iter()
            .flat_map(|one| &one.changed)
            .map(|target| (target.state, target.epoch, target.ready_endpoints))
            .collect();
        assert_eq!(
            published,
            [(state, epoch, endpoints)],
            "{seen:?} must be published once, and so"
        );
        assert_eq!(told.starts_and_stops, 0, "{seen:?} must start and stop nothing");
    }
}

#[test]
fn what_comes_later_begins_where_it_is_too() {
    let mut world = World::new(&["web"]);
    let specs = vec![
        mk_configured("web", None),
        mk_configured("late", Some(mk_seen(2, 2))),
    ];
    let told = configure(&mut world, specs);
    let states: Vec<_> = told.publications.iter().flat_map(|one| &one.changed).collect();
    assert_eq!(states.len(), 1, "must publish the new one alone: {states:?}");
    assert_eq!(world.state("late"), State::Ready, "must be up from the first");
}

#[test]
fn what_nothing_was_seen_of_begins_asleep() {
    let mut world = World::new(&[]);
    configure(&mut world, vec![mk_configured("web", None)]);
    assert_eq!(world.state("web"), State::Asleep, "must begin asleep");
}

#[test]
fn a_proxy_must_know_of_what_was_found_before_it_is_stopped() {
    let mut world = World::new(&[]);
    world.poll("a");
    let behind = world.view.revision().n;
    world.confirm("a", behind);
    configure(&mut world, vec![mk_configured("web", Some(mk_seen(1, 0)))]);
    world.fleet.sleep(&id("web"), world.now).unwrap_err();
    let known = world.view.revision().n;
    world.confirm("a", known);
    world.fleet.sleep(&id("web"), world.now).unwrap();
}

#[test]
fn a_document_that_is_the_same_costs_nothing() {
    let mut world = World::new(&["web"]);
    let mut same = mk_configured("web", None);
    let before = world.fleet.n;
    assert_eq!(
        configure(&mut world, vec![same.clone()]),
        Told::default(),
        "must neither adopt nor publish"
    );
    same.conditions.push(Condition {
        kind: "AmbiguousHost",
        message: "another has it".into(),
    });
    assert_eq!(
        configure(&mut world, vec![same]),
        Told::default(),
        "must not tell the proxies what is for people"
    );
    assert_eq!(world.fleet.n, before, "must not count what is not published");
    let status = world.fleet.status(world.now);
    assert_eq!(
        status.targets[0].conditions[0].kind, "AmbiguousHost",
        "must show it"
    );
}

#[test]
fn a_drain_ends_when_another_manager_scales_meanwhile() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    assert_eq!(
        world.see_all("web", 1, 5, 1, 5),
        [],
        "must leave what they have set"
    );
    assert_eq!(world.state("web"), State::Ready, "must pass again");
    assert_eq!(world.confirm("a", drained), [], "must not stop it any more");
}

#[test]
fn an_abandoned_stop_is_published_as_ready_in_one_step() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    world.confirm("a", drained);
    let before = world.view.revision().n;
    world.see_all("web", 2, 5, 1, 5);
    assert_eq!(world.state("web"), State::Ready, "must be back in service");
    assert_eq!(
        world.view.revision().n,
        before + 1,
        "must not be published as waking in between"
    );
}

/// What was told while a configuration was taken in.
#[derive(Debug, Default, PartialEq)]
struct Told {
    publications: Vec<Publication>,
    adopted: usize,
    starts_and_stops: usize,
}

fn configure(world: &mut World, configured: Vec<Configured>) -> Told {
    world.fleet.configure(configured, world.now);
    let mut told = Told::default();
    for effect in world.take_effects() {
        match effect {
            Effect::Backend(Command::Adopt { .. }) => told.adopted += 1,
            Effect::Backend(_) => told.starts_and_stops += 1,
            Effect::Publish(publication) => {
                world.view.apply(publication.clone());
                told.publications.push(publication);
            }
            Effect::EndPoll(_) | Effect::Emit(_) | Effect::Changed(_) => {}
        }
    }
    told
}

fn mk_configured(name: &str, seen: Option<Observed>) -> Configured {
    Configured {
        spec: mk_spec(name, &format!("{name}.example.com"), ""),
        seen,
        conditions: Vec::new(),
    }
}

fn mk_seen(replicas: u32, ready: u32) -> Observed {
    Observed {
        replicas,
        ready,
        left: replicas,
        ..Observed::default()
    }
}
