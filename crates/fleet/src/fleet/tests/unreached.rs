//! Clusters that an Envoy does not reach although their target is ready.

use protocol::{Report, Unreached};

use super::super::world::{World, id, mk_report};
use super::super::*;
use crate::command::Command;

#[test]
fn what_an_envoy_does_not_reach_is_shown_until_it_says_otherwise() {
    let mut world = mk_world();
    say(&mut world, "a", 10, &[("web", "web-v1", "refused", 2_500)]);
    say(&mut world, "b", 10, &[("web", "web-v2", "no endpoint", 3_000)]);
    let web = status(&world);
    assert_eq!(web.unreached_clusters, 2, "must count them");
    let shown: Vec<_> = web
        .unreached
        .iter()
        .map(|one| {
            (
                one.proxy.as_str(),
                one.cluster.as_str(),
                one.saw.as_str(),
                one.for_ms,
            )
        })
        .collect();
    let expected = [
        ("b", "web-v2", "no endpoint", 3_000),
        ("a", "web-v1", "refused", 2_500),
    ];
    assert_eq!(shown, expected, "must show the longest first");
    assert_eq!(
        message(&web),
        Some(
            "it is ready, but the Envoy b does not reach it by cluster web-v2: no endpoint, and 1 more"
                .to_owned()
        ),
    );
    say(&mut world, "b", 11, &[]);
    say(&mut world, "a", 11, &[("web", "web-v1", "refused", 3_500)]);
    let web = status(&world);
    assert_eq!(web.unreached_clusters, 1, "must believe the newer word");
    assert_eq!(web.unreached[0].for_ms, 3_500, "must follow it");
    say(&mut world, "a", 12, &[]);
    assert_eq!(message(&status(&world)), None, "must say nothing of nothing");
}

#[test]
fn it_is_told_to_the_log_once() {
    let mut world = mk_world();
    let told = |world: &mut World, seq, saw| {
        let report = mk_unreached("a", seq, &[("web", "web-v1", saw, 100)]);
        world.fleet.report(&report, world.now);
        let effects = world.take_effects();
        let events = effects
            .into_iter()
            .filter(|effect| matches!(effect, Effect::Emit(FleetEvent::Unreached { .. })));
        events.count()
    };
    assert_eq!(told(&mut world, 10, "refused"), 1, "must be told");
    assert_eq!(
        told(&mut world, 11, "no endpoint"),
        0,
        "must not be told again and again"
    );
    let other = mk_unreached(
        "a",
        12,
        &[("web", "web-v1", "refused", 9), ("web", "web-v2", "refused", 1)],
    );
    world.fleet.report(&other, world.now);
    let news = world
        .fleet
        .take_effects()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Emit(FleetEvent::Unreached { cluster, .. }) => Some(cluster),
            _ => None,
        });
    assert_eq!(
        news.collect::<Vec<_>>(),
        ["web-v2"],
        "must be told of each cluster"
    );
}

#[test]
fn it_ends_with_the_readiness_that_it_is_about() {
    let mut world = mk_world();
    say(&mut world, "a", 10, &[("web", "web-v1", "refused", 900)]);
    world.see_all("web", 1, 1, 0, 1);
    assert_eq!(
        status(&world).unreached_clusters,
        0,
        "must not count while it is away"
    );
    say(&mut world, "a", 11, &[("web", "web-v1", "refused", 900)]);
    world.see("web", 2, 1);
    assert_eq!(
        status(&world).unreached_clusters,
        0,
        "must not count in the next epoch"
    );
    say(&mut world, "a", 12, &[("web", "web-v1", "refused", 900_000)]);
    let web = status(&world);
    assert_eq!(
        web.unreached[0].for_ms, 0,
        "must not be older than what it is about"
    );
}

#[test]
fn it_ends_with_the_proxy() {
    let mut world = mk_world();
    say(&mut world, "b", 10, &[("web", "web-v1", "refused", 900)]);
    world.pass(14_999);
    world.sync("a");
    assert_eq!(status(&world).unreached_clusters, 1, "must stand while it lives");
    world.pass(1);
    assert_eq!(
        status(&world).unreached_clusters,
        0,
        "must not outlive its silence"
    );
}

#[test]
fn it_is_bounded() {
    let mut world = mk_world();
    let long = "x".repeat(5_000);
    let many: Vec<_> = (0..500)
        .map(|_| ("web", long.as_str(), long.as_str(), 1))
        .collect();
    say(&mut world, "a", 10, &many);
    let web = status(&world);
    assert!(
        web.unreached_clusters <= 25,
        "must be bounded in bytes: {}",
        web.unreached_clusters
    );
    assert_eq!(web.unreached.len(), 16, "must show some");
    assert_eq!(
        (web.unreached[0].cluster.len(), web.unreached[0].saw.len()),
        (512, 128)
    );
    let short: Vec<_> = (0..500).map(|_| ("web", "ü", "ü", 1)).collect();
    say(&mut world, "a", 11, &short);
    assert_eq!(
        status(&world).unreached_clusters,
        Report::MAX_UNREACHED as u64,
        "must be bounded in number"
    );
    say(&mut world, "a", 12, &[("unknown", "c", "refused", 1)]);
    assert_eq!(
        status(&world).unreached_clusters,
        0,
        "must keep nothing of targets that are not there"
    );
}

#[test]
fn where_no_process_listens_the_backend_looks() {
    let mut world = World::new(&["web", "api"]);
    world.wake_up("web", &["a"]);
    let report = |seq, list: &[(&str, &str, &str, u64)]| mk_unreached("a", seq, list);
    let said = [
        ("web", "web-v1", "refused", 100),
        ("web", "web-v2", "refused", 100),
        ("web", "web-v3", "no answer in 1 s", 100),
        ("api", "api", "refused", 100),
    ];
    let look = [Command::Look { id: id("web") }];
    assert_eq!(
        world.say(&report(5, &said)),
        look,
        "must look once, at what is said to be ready"
    );
    assert_eq!(world.say(&report(6, &said[..1])), look, "must look again");
    assert_eq!(
        world.say(&report(7, &said[2..3])),
        [],
        "must not look where a process took the connection"
    );
}

/// `web` is up since five seconds ago.
fn mk_world() -> World {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a", "b"]);
    world.pass(5_000);
    world
}

fn mk_unreached(proxy: &str, seq: u64, list: &[(&str, &str, &str, u64)]) -> Report {
    let unreached = list.iter().map(|(name, cluster, saw, for_ms)| Unreached {
        target: id(name),
        cluster: (*cluster).to_owned(),
        saw: (*saw).to_owned(),
        for_ms: *for_ms,
    });
    Report {
        unreached: unreached.collect(),
        ..mk_report(proxy, seq, &[])
    }
}

fn say(world: &mut World, proxy: &str, seq: u64, list: &[(&str, &str, &str, u64)]) {
    world.say(&mk_unreached(proxy, seq, list));
}

fn status(world: &World) -> TargetStatus {
    world.fleet.status(world.now).targets.remove(0)
}

fn message(status: &TargetStatus) -> Option<String> {
    let found = status.conditions.iter().find(|one| one.kind == "Unreached");
    found.map(|one| one.message.to_string())
}
