//! Reports: demand wakes at once, and what was overtaken is ignored.

use protocol::{Proxy, State};

use super::super::Reported;
use super::super::proxies::PollId;
use super::super::world::{World, id, mk_proxy, mk_report, start};
use crate::lifecycle::{Cause, DrainConsent, Failure, FailureClass, Observed};

#[test]
fn a_report_wakes_at_once() {
    let mut world = World::new(&["web"]);
    world.sync("envoy");
    let commands = world.report("envoy", 1, &[("web", 1, 0, Some(0))]);
    assert_eq!(
        commands,
        [start("web", 1, Cause::Demand)],
        "must be started by the first report"
    );
    assert_eq!(world.state("web"), State::Waking, "must be published as waking");
}

#[test]
fn ten_reports_wake_once() {
    let mut world = World::new(&["web"]);
    let commands: Vec<_> = (0..10)
        .flat_map(|n| world.report("envoy", n, &[("web", n as u32 + 1, 0, Some(0))]))
        .collect();
    assert_eq!(commands.len(), 1, "must be started once: {commands:?}");
}

#[test]
fn a_report_that_was_overtaken_is_ignored() {
    let mut world = World::new(&["web"]);
    world.report("envoy", 5, &[]);
    assert_eq!(
        world.report("envoy", 4, &[("web", 1, 0, Some(0))]),
        [],
        "must be ignored"
    );
    assert_eq!(world.state("web"), State::Asleep, "must go on sleeping");
}

#[test]
fn a_report_that_comes_twice_is_taken_twice() {
    let mut world = World::new(&["web"]);
    let report = mk_report("envoy", 5, &[]);
    for _ in 0..2 {
        let outcome = world.fleet.report(&report, world.now);
        assert_eq!(outcome, Reported::Taken, "an Envoy on the way may say it again");
    }
}

#[test]
fn what_is_in_use_was_last_used_when_it_was_last_said_to_be() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let idle = |world: &World| world.fleet.status(world.now).targets[0].idle_ms;
    world.pass(50_000);
    world.report("a", 10, &[("web", 0, 1, Some(50_000))]);
    assert_eq!(idle(&world), Some(0), "a long request is use");
    world.pass(3_000);
    assert_eq!(idle(&world), Some(3_000));
    world.report("a", 11, &[]);
    assert_eq!(idle(&world), Some(0), "it may have ended just now");
    world.pass(3_000);
    world.report("a", 12, &[]);
    assert_eq!(idle(&world), Some(3_000), "it was not used since");
}

#[test]
fn an_estimate_that_moves_by_no_more_than_its_error_is_the_same_arrival() {
    let mut world = World::new(&["web"]);
    let first = world.now;
    let arrival = |world: &World| world.fleet.targets[&id("web")].last_arrival.unwrap();
    world.report("a", 1, &[("web", 0, 0, Some(0))]);
    world.pass(100);
    world.report("a", 2, &[("web", 0, 0, Some(0))]);
    assert_eq!(arrival(&world), first, "must be the same");
    world.pass(1);
    world.report("a", 3, &[("web", 0, 0, Some(0))]);
    assert_eq!(arrival(&world), world.now, "must be another");
}

#[test]
fn a_report_of_a_superseded_relay_is_ignored() {
    let mut world = World::new(&["web"]);
    world
        .fleet
        .open_poll(
            &Proxy {
                term: 2,
                ..mk_proxy("envoy")
            },
            PollId(1),
            world.now,
        )
        .unwrap();
    assert_eq!(
        world.report("envoy", 9, &[("web", 1, 0, Some(0))]),
        [],
        "must be ignored: its term is 1"
    );
}

#[test]
fn targets_it_does_not_know_are_not_kept() {
    let mut world = World::new(&["web"]);
    world.report("envoy", 1, &[("nowhere", 1, 1, Some(0))]);
    let kept: usize = world
        .fleet
        .proxies
        .iter()
        .map(|(_, state)| state.usage.len())
        .sum();
    assert_eq!(kept, 0, "must be bounded by what is configured");
}

#[test]
fn an_unconfirmed_drain_is_given_up_after_ten_seconds() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.drain("web");
    world.pass(9_999);
    assert_eq!(world.state("web"), State::Draining, "must still wait");
    world.pass(1);
    assert_eq!(world.state("web"), State::Ready, "must be given up");
}

#[test]
fn the_demand_of_a_silent_proxy_is_dropped() {
    let mut world = World::new(&["web"]);
    world.report("a", 1, &[("web", 3, 0, Some(0))]);
    assert_eq!(
        world.fleet.proxies.usage(&id("web")),
        (3, 0),
        "must count while it speaks"
    );
    world.pass(15_000);
    assert_eq!(
        world.fleet.proxies.usage(&id("web")),
        (0, 0),
        "must not count once it is silent"
    );
}

#[test]
fn a_confirm_from_before_a_silence_is_none() {
    let mut world = World::new(&["web"]);
    let n = world.view.revision().n;
    world.sync("a");
    world.confirm("a", n);
    assert_eq!(
        world.fleet.proxies.consent(n),
        DrainConsent::Confirmed,
        "must be confirmed"
    );
    world.pass(15_000);
    world.sync("a");
    assert_eq!(
        world.fleet.proxies.consent(n),
        DrainConsent::Unconfirmed,
        "must say again what it has in flight before anything is stopped"
    );
}

#[test]
fn a_failed_target_tells_class_and_reason_and_when_to_come_back() {
    let mut world = World::new(&["web"]);
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    let failure = Observed {
        command: 1,
        replicas: 1,
        failure: Some(Failure::new(FailureClass::Config, "no disk")),
        ..Observed::default()
    };
    world.fleet.observe(&id("web"), failure, world.now);
    world.settle();
    let target = world.target("web");
    assert_eq!(
        (
            target.state,
            target.reason_class.as_deref(),
            target.reason.as_deref()
        ),
        (State::Failed, Some("config"), Some("no disk")),
        "must say why, in a word and in a sentence"
    );
    let status = world.fleet.status(world.now);
    assert_eq!(
        (
            status.targets[0].reason_class,
            status.targets[0].reason.as_deref()
        ),
        (Some("config"), Some("no disk")),
        "must say the same to people"
    );
    let wait = target.retry_after_ms.unwrap();
    assert!((800..=1200).contains(&wait), "must say when to come back: {wait}");
    world.report("a", 2, &[]);
    assert_eq!(world.pass(5_000), [], "must not be retried without a request");
    let commands = world.report("a", 3, &[("web", 0, 0, Some(0))]);
    assert_eq!(
        commands,
        [start("web", 2, Cause::Retry)],
        "must be retried for a refused arrival"
    );
}

#[test]
fn demand_while_stopping_waits_and_then_wakes() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    world.confirm("a", drained);
    world.seq += 1;
    assert_eq!(
        world.report("a", world.seq, &[("web", 1, 0, Some(0))]),
        [],
        "must not turn back"
    );
    assert_eq!(
        world.see_all("web", 2, 0, 0, 0),
        [start("web", 3, Cause::Demand)],
        "must wake once it is gone"
    );
}

#[test]
fn an_arrival_from_before_the_stop_does_not_wake_it_again() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    world.confirm("a", drained);
    world.see_all("web", 2, 0, 0, 0);
    world.pass(1_000);
    world.seq += 1;
    // Sixty seconds old when the drain began, give or take what the network adds.
    assert_eq!(
        world.report("a", world.seq, &[("web", 0, 0, Some(60_990))]),
        [],
        "must not be taken for new"
    );
}
