//! More proxies than may be: the proxy that would be missed least makes room, and goes on blocking sleeps.

use protocol::{Incarnation, Proxy, Report, State};

use super::super::world::{World, mk_proxy, mk_report};
use super::super::*;

/// As in [`World`].
const MAX: usize = 4;

#[test]
fn made_up_proxies_do_not_keep_a_real_one_out() {
    let mut world = World::new(&["web"]);
    for n in 0..1_024 {
        world.sync(&format!("made up {n}"));
        assert!(world.fleet.proxies.iter().count() <= MAX, "must be bounded");
    }
    world.sync("real");
    assert_eq!(
        world.fleet.report(&mk_report("real", 1, &[]), world.now),
        Reported::Taken
    );
    for n in 0..1_024 {
        world.sync(&format!("made up again {n}"));
    }
    let real = ProxyKey::from(&mk_proxy("real"));
    let state = world.fleet.proxies.find(&real);
    assert!(state.is_some_and(|state| !state.silent), "who reports must stay");
}

#[test]
fn open_polls_of_made_up_proxies_do_not_keep_a_real_one_out() {
    let mut world = World::new(&["web"]);
    for n in 0..MAX {
        world.poll(&format!("made up {n}"));
    }
    let poll = world.fleet.open_poll(&mk_proxy("real"), PollId(9), world.now);
    assert_eq!(poll, Ok(()), "must be taken");
    assert!(
        world.take_effects().contains(&Effect::EndPoll(PollId(1))),
        "the poll of the proxy that made room must end"
    );
}

#[test]
fn who_speaks_makes_no_room() {
    let mut world = World::new(&["web"]);
    for n in 0..MAX {
        world.report(&format!("envoy-{n}"), 1, &[]);
    }
    let refusal = world.fleet.open_poll(&mk_proxy("one more"), PollId(9), world.now);
    assert_eq!(refusal, Err(PollRefusal::TooMany), "must be refused");
    let report = mk_report("one more", 1, &[]);
    assert_eq!(
        world.fleet.report(&report, world.now),
        Reported::TooMany,
        "must be refused"
    );
    world.pass(15_000);
    assert_eq!(
        world.fleet.report(&report, world.now),
        Reported::Taken,
        "must be taken once the others are silent"
    );
}

#[test]
fn of_the_silent_those_go_first_that_never_confirmed_and_were_heard_of_longest_ago() {
    let mut world = World::new(&["web"]);
    let n = world.view.revision().n;
    world.confirm("proven", n);
    for name in ["first", "second"] {
        world.pass(100);
        world.report(name, 1, &[]);
    }
    world.pass(15_000);
    world.report("real", 1, &[]);
    let mut gone = Vec::new();
    for name in ["x", "y", "z"] {
        let before: Vec<_> = world.names();
        world.report(name, 1, &[]);
        let after = world.names();
        gone.extend(before.into_iter().filter(|name| !after.contains(name)));
    }
    assert_eq!(gone, ["first", "second", "proven"], "must go in this order");
}

#[test]
fn who_made_room_blocks_sleeps_until_it_would_be_forgotten() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.poll("a");
    for n in 0..MAX {
        world.sync(&format!("made up {n}"));
    }
    assert_eq!(world.fleet.proxies.others(), 1, "one must have made room");
    world.pass(599_999);
    assert_eq!(
        world.state("web"),
        State::Ready,
        "must not drain while one of them may live"
    );
    // One is forgotten up to a 64th too late.
    world.pass(600_000 / 64);
    assert_ne!(
        world.state("web"),
        State::Ready,
        "must drain once all are forgotten"
    );
    assert_eq!(world.fleet.proxies.others(), 0, "must be forgotten");
}

#[test]
fn an_envoy_that_crashes_all_the_time_takes_few_places() {
    let mut world = World::new(&["web"]);
    world.fleet.proxies = Proxies::new(Limits {
        max: 1_000,
        ..world.fleet.settings.limits
    });
    for n in 0..100 {
        let life = Proxy {
            incarnation: Incarnation::new(format!("life {n}")),
            ..mk_proxy("crasher")
        };
        world.fleet.open_poll(&life, PollId(1), world.now).unwrap();
        world.fleet.close_poll(&life, PollId(1), world.now);
        world.settle();
        world.pass(2_000);
    }
    let known = world.fleet.proxies.iter().count();
    // Those that speak, and sixteen silent ones.
    assert!(known <= 16 + 8, "must be few: {known}");
    assert_eq!(
        known as u64 + world.fleet.proxies.others(),
        100,
        "must count all of them"
    );
}

#[test]
fn lives_of_one_name_that_speak_all_stay() {
    let mut world = World::new(&["web"]);
    world.fleet.proxies = Proxies::new(Limits {
        max: 1_000,
        ..world.fleet.settings.limits
    });
    for n in 0..100 {
        let mut report: Report = mk_report("shared", 1, &[]);
        report.proxy.incarnation = Incarnation::new(format!("envoy {n}"));
        world.fleet.report(&report, world.now);
    }
    world.settle();
    assert_eq!(
        world.fleet.proxies.iter().count(),
        100,
        "one name may be many Envoys'"
    );
}

impl World {
    fn names(&self) -> Vec<String> {
        self.fleet.proxies.iter().map(|(key, _)| key.id.clone()).collect()
    }
}
