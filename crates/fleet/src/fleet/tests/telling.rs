//! What is told of a target, and of an Envoy, and how often.

use super::super::world::{World, mk_proxy};
use super::super::{Effect, FleetEvent};

#[test]
fn an_envoy_with_another_version_of_the_module_is_told_of_once() {
    let mut world = World::new(&["web"]);
    world.sync("envoy");
    let proxy = mk_proxy("envoy");
    world.fleet.take_effects();
    let mut told = |module| {
        world.fleet.hear_module(&proxy, module);
        let effects = world.fleet.take_effects();
        effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Emit(FleetEvent::Module { .. })))
            .count()
    };
    assert_eq!(told(Some(env!("CARGO_PKG_VERSION"))), 0, "it is ours");
    assert_eq!(told(Some("0.0.999")), 1);
    assert_eq!(told(Some("0.0.999")), 0, "once");
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
