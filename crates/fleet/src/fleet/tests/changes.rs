//! Which targets are told to have a status that shows something else.

use super::super::world::{World, id, mk_report, mk_spec};
use super::super::{Condition, Configured, Effect};

#[test]
fn a_change_of_what_people_see_is_told_and_one_of_numbers_is_not() {
    let mut world = World::new(&["web", "api"]);
    world.wake_up("web", &["envoy"]);
    world.pass(1_000);
    let mut changed = |what: &dyn Fn(&mut World)| {
        what(&mut world);
        let effects = world.take_effects();
        let changed = effects.into_iter().filter_map(|effect| match effect {
            Effect::Changed(id) => Some(id),
            _ => None,
        });
        changed.collect::<Vec<_>>()
    };
    let reports = |usage: (u32, u32), seq: u64| {
        move |world: &mut World| {
            let (held, in_flight) = usage;
            let report = mk_report("envoy", seq, &[("web", held, in_flight, Some(1))]);
            world.fleet.report(&report, world.now);
        }
    };
    assert_eq!(
        changed(&reports((0, 7), 10)),
        [],
        "must not be told of what passes"
    );
    assert_eq!(
        changed(&reports((3, 0), 11)),
        [],
        "must not be told of what is held"
    );
    let told = Condition {
        kind: "AmbiguousHost",
        message: "web.example.com".into(),
    };
    let configures = |world: &mut World| {
        let conditions = vec![told.clone()];
        let web = Configured {
            conditions,
            ..mk_spec("web", "web.example.com", "").into()
        };
        let api = mk_spec("api", "api.example.com", "").into();
        world.fleet.configure(vec![web, api], world.now);
    };
    assert_eq!(changed(&configures), [id("web")], "must be told of a condition");
    assert_eq!(changed(&configures), [], "must be told once");
}
