use protocol::{Incarnation, Proxy, Report, Revision, State};

use super::proxies::PollId;
use super::world::{World, id, mk_proxy, mk_report, start, stop};
use super::*;
use crate::backend::Command;
use crate::life::{Cause, Observed};

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
fn a_drain_needs_every_proxy() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a", "b"]);
    let drained = world.drain("web");
    assert_eq!(world.confirm("a", drained), [], "must wait for the other");
    assert_eq!(world.state("web"), State::Draining, "must still drain");
    assert_eq!(
        world.confirm("b", drained),
        [stop("web", 2)],
        "must be stopped once both have confirmed"
    );
    assert_eq!(
        world.state("web"),
        State::Asleep,
        "must be published as asleep before it is stopped"
    );
}

#[test]
fn a_confirmation_of_another_instance_counts_for_nothing() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    world.seq += 1;
    let mut report = mk_report("a", world.seq, &[]);
    report.applied = Some(Revision {
        instance: "another".to_owned(),
        n: drained + 5,
    });
    assert_eq!(world.say(&report), [], "must not stop on another life's word");
}

#[test]
fn a_proxy_that_appears_during_a_drain_must_confirm_it_too() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    let drained = world.drain("web");
    world.sync("late");
    assert_eq!(
        world.confirm("a", drained),
        [],
        "must wait for the one that has come"
    );
    assert_eq!(
        world.confirm("late", drained),
        [stop("web", 2)],
        "must then be stopped"
    );
}

#[test]
fn one_that_signs_off_is_not_waited_for() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a", "b"]);
    let drained = world.drain("web");
    world.confirm("a", drained);
    world.seq += 1;
    let report = Report {
        leaving: true,
        ..mk_report("b", world.seq, &[])
    };
    assert_eq!(world.say(&report), [stop("web", 2)], "must be stopped without it");
}

#[test]
fn what_is_held_or_in_flight_turns_a_drain_back() {
    for usage in [("web", 1, 0, Some(0)), ("web", 0, 1, Some(100_000))] {
        let mut world = World::new(&["web"]);
        world.wake_up("web", &["a", "b"]);
        let drained = world.drain("web");
        world.confirm("a", drained);
        world.seq += 1;
        assert_eq!(world.report("b", world.seq, &[usage]), [], "must not stop it");
        assert_eq!(world.state("web"), State::Ready, "must pass again");
        assert_eq!(world.target("web").epoch, 1, "must be the same epoch");
    }
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
fn nothing_sleeps_without_a_live_proxy() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.seq += 1;
    world.say(&Report {
        leaving: true,
        ..mk_report("a", world.seq, &[])
    });
    world.pass(3_600_000);
    assert_eq!(
        world.state("web"),
        State::Ready,
        "must stay up while nobody is live"
    );
}

#[test]
fn a_silent_proxy_blocks_sleeps_until_it_is_forgotten() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a", "gone"]);
    world.poll("a");
    let sleeps = |world: &World| world.state("web") != State::Ready;
    world.pass(30_000);
    assert!(!sleeps(&world), "must not drain while one is silent");
    assert_eq!(
        world
            .fleet
            .status(world.now)
            .proxies
            .iter()
            .filter(|p| p.silent)
            .count(),
        1,
        "must be silent"
    );
    world.pass(570_000);
    assert!(sleeps(&world), "must drain once it is forgotten");
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
fn an_open_poll_is_a_word() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    world.pass(3_600_000);
    assert!(
        world.fleet.status(world.now).proxies.iter().all(|p| !p.silent),
        "must not be silent while it polls"
    );
    world.fleet.close_poll(&mk_proxy("a"), PollId(1), world.now);
    world.pass(14_999);
    assert!(
        world.fleet.status(world.now).proxies.iter().all(|p| !p.silent),
        "must count from the poll's end"
    );
    world.pass(1);
    assert!(
        world.fleet.status(world.now).proxies.iter().all(|p| p.silent),
        "must be silent in the end"
    );
}

#[test]
fn a_newer_poll_ends_the_older() {
    let mut world = World::new(&["web"]);
    world
        .fleet
        .open_poll(&mk_proxy("a"), PollId(1), world.now)
        .unwrap();
    world.fleet.take_effects();
    world
        .fleet
        .open_poll(&mk_proxy("a"), PollId(2), world.now)
        .unwrap();
    assert!(
        world.fleet.take_effects().contains(&Effect::EndPoll(PollId(1))),
        "must end the older"
    );
    world.fleet.close_poll(&mk_proxy("a"), PollId(1), world.now);
    let status = world.fleet.status(world.now);
    assert!(
        status.proxies.iter().all(|p| p.polling),
        "must still have the newer one open"
    );
}

#[test]
fn a_poll_of_a_lower_term_is_superseded() {
    let mut world = World::new(&["web"]);
    world
        .fleet
        .open_poll(
            &Proxy {
                term: 2,
                ..mk_proxy("a")
            },
            PollId(1),
            world.now,
        )
        .unwrap();
    let refusal = world.fleet.open_poll(&mk_proxy("a"), PollId(2), world.now);
    assert_eq!(
        refusal,
        Err(PollRefusal::Superseded),
        "must not take the place of a later relay"
    );
}

#[test]
fn two_incarnations_are_two_proxies() {
    let mut world = World::new(&["web"]);
    world
        .fleet
        .open_poll(&mk_proxy("a"), PollId(1), world.now)
        .unwrap();
    let other = Proxy {
        incarnation: Incarnation::new("other"),
        ..mk_proxy("a")
    };
    world.fleet.open_poll(&other, PollId(2), world.now).unwrap();
    assert_eq!(
        world.fleet.status(world.now).proxies.len(),
        2,
        "must be told apart"
    );
}

#[test]
fn proxies_are_bounded() {
    let mut world = World::new(&["web"]);
    for n in 0..4 {
        world.sync(&format!("envoy-{n}"));
    }
    let refusal = world.fleet.open_poll(&mk_proxy("one more"), PollId(9), world.now);
    assert_eq!(refusal, Err(PollRefusal::TooMany), "must be refused");
    let report = mk_report("one more", 1, &[]);
    assert_eq!(
        world.fleet.report(&report, world.now),
        Reported::TooMany,
        "must be refused"
    );
}

#[test]
fn no_drain_begins_just_after_a_start() {
    let mut world = World::new(&["web"]);
    world.begin_at(0);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.pass(59_999);
    assert_eq!(world.state("web"), State::Ready, "must wait for idle.after");
    world.pass(10_000);
    assert_ne!(world.state("web"), State::Ready, "must drain then");
    let mut world = World::with("idle: {after: 1s}", &["web"]);
    world.begin_at(0);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.pass(29_999);
    assert_eq!(world.state("web"), State::Ready, "must wait for two leases");
    world.pass(1);
    assert_eq!(world.state("web"), State::Draining, "must drain then");
}

#[test]
fn what_no_proxy_has_matched_is_not_put_to_sleep() {
    let mut world = World::new(&["web"]);
    world.poll("a");
    world.fleet.wake(&id("web"), world.now).unwrap();
    world.see("web", 1, 1);
    world.pass(3_600_000);
    assert_eq!(world.state("web"), State::Ready, "must stay up");
    let kinds: Vec<_> = world.fleet.status(world.now).targets[0]
        .conditions
        .iter()
        .map(|c| c.kind)
        .collect();
    assert_eq!(kinds, ["NeverMatched"], "must say why");
    world.report("a", 1, &[("web", 0, 0, Some(5))]);
    world.pass(60_000);
    assert_eq!(
        world.state("web"),
        State::Draining,
        "must sleep once it has been matched"
    );
}

#[test]
fn new_match_keys_must_be_matched_anew() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.poll("a");
    world.configure(&[("web", "new.example.com")], "");
    assert_eq!(
        world.target("web").hosts,
        ["new.example.com"],
        "must publish the new key"
    );
    world.report("a", 50, &[("web", 0, 0, Some(60_000))]);
    world.pass(3_600_000);
    assert_eq!(
        world.state("web"),
        State::Ready,
        "must not count what matched the old key"
    );
}

#[test]
fn a_person_may_send_to_sleep_what_was_never_matched() {
    let mut world = World::new(&["web"]);
    world.sync("a");
    world.fleet.wake(&id("web"), world.now).unwrap();
    world.see("web", 1, 1);
    world.fleet.sleep(&id("web"), world.now).unwrap();
    world.settle();
    assert_eq!(world.state("web"), State::Draining, "must drain");
}

#[test]
fn a_person_is_told_why_not() {
    let mut world = World::new(&["web"]);
    world.wake_up("web", &["a"]);
    world.report("a", 70, &[("web", 0, 2, Some(0))]);
    let refusal = world.fleet.sleep(&id("web"), world.now).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "it is in use: 0 held, 2 in flight",
        "must say that it is in use"
    );
    assert_eq!(
        world.fleet.sleep(&id("no"), world.now),
        Err(WishRefusal::Unknown),
        "must know its targets"
    );
}

#[test]
fn what_is_removed_while_ready_is_let_go_at_once() {
    let mut world = World::new(&["web", "other"]);
    world.wake_up("web", &["a"]);
    let commands = world.configure(&[("other", "other.example.com")], "");
    assert!(
        commands.contains(&Command::Release { id: id("web") }),
        "must be let go: {commands:?}"
    );
    assert!(world.published("web").is_none(), "must no longer be published");
}

#[test]
fn what_is_removed_while_asleep_is_woken_and_published_until_it_is_up() {
    let mut world = World::new(&["web", "other"]);
    let commands = world.configure(&[("other", "other.example.com")], "");
    assert!(
        commands.contains(&start("web", 1, Cause::Retired)),
        "must be woken: {commands:?}"
    );
    assert_eq!(world.state("web"), State::Waking, "must still be published");
    world.see("web", 1, 1);
    assert!(world.published("web").is_none(), "must be dropped once it is up");
}

#[test]
fn what_has_lost_its_keys_to_another_is_dropped_and_not_woken() {
    let mut world = World::new(&["web"]);
    let commands = world.configure(&[("renamed", "web.example.com")], "");
    assert!(
        world.published("web").is_none(),
        "must not be published beside the new owner"
    );
    assert!(
        !commands.iter().any(|c| matches!(c, Command::Start { .. })),
        "must not be woken: {commands:?}"
    );
}

#[test]
fn a_failed_target_tells_the_reason_and_when_to_come_back() {
    let mut world = World::new(&["web"]);
    world.report("a", 1, &[("web", 1, 0, Some(0))]);
    let failure = Observed {
        command: 1,
        replicas: 1,
        failure: Some("no disk".to_owned()),
        ..Observed::default()
    };
    world.fleet.observe(&id("web"), failure, world.now);
    world.settle();
    let target = world.target("web");
    assert_eq!(
        (target.state, target.reason.as_deref()),
        (State::Failed, Some("no disk")),
        "must say why"
    );
    let wait = target.retry_after_ms.unwrap();
    assert!((800..=1200).contains(&wait), "must say when to come back: {wait}");
    world.report("a", 2, &[]);
    assert_eq!(world.pass(5_000), [], "must not be retried for nobody");
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

#[test]
fn an_empty_start_is_published_too() {
    let mut world = World::new(&[]);
    assert!(world.view.is_complete(), "must answer the proxies");
    assert_eq!(world.configure(&[], ""), [], "must do nothing");
}
