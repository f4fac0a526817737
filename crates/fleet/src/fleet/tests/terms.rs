//! Two relays that speak in the name of one proxy: the order binds, but no proxy is silenced for good by a number.

use protocol::{Incarnation, Proxy, Report, Reporter, State};

use super::super::proxies::{MAX_TERM_RISE, Misfit};
use super::super::world::{World, mk_proxy, mk_report};
use super::super::*;

/// Three heartbeats of [`World`].
const SILENCE_MS: u64 = 15_000;

#[test]
fn a_poll_of_a_lower_term_is_superseded() {
    let mut world = World::new(&["web"]);
    world.poll_in(2).unwrap();
    assert_eq!(
        world.poll_in(1),
        Err(PollRefusal::Misfit(Misfit::Superseded)),
        "must not take the place of a later relay"
    );
    assert_eq!(
        world.report_in(1, 1),
        Reported::Misfit(Misfit::Superseded),
        "must not speak for it either"
    );
}

#[test]
fn a_term_rises_by_little_while_a_proxy_speaks() {
    for far in [MAX_TERM_RISE + 1, u64::MAX - 1] {
        let mut world = World::new(&["web"]);
        world.poll_in(1).unwrap();
        let jump = Misfit::TermJump { from: 1 };
        assert_eq!(world.poll_in(1 + far), Err(PollRefusal::Misfit(jump)), "by {far}");
        assert_eq!(world.report_in(1 + far, 1), Reported::Misfit(jump), "by {far}");
        assert_eq!(world.poll_in(1), Ok(()), "the real one must be heard on");
        assert_eq!(
            world.report_in(1, 1),
            Reported::Taken,
            "the real one must be heard on"
        );
    }
    let mut world = World::new(&["web"]);
    world.poll_in(1).unwrap();
    assert_eq!(
        world.poll_in(1 + MAX_TERM_RISE),
        Ok(()),
        "takeovers must be heard"
    );
}

#[test]
fn any_term_will_do_at_first_and_after_a_silence() {
    for term in [u64::MAX, 7] {
        let mut world = World::new(&["web"]);
        assert_eq!(
            world.report_in(900_000, 1),
            Reported::Taken,
            "the first is as good as any"
        );
        world.pass(SILENCE_MS);
        assert_eq!(
            world.poll_in(term),
            Ok(()),
            "must be heard after a silence: {term}"
        );
        assert_eq!(world.report_in(term, 1), Reported::Taken, "{term}");
    }
}

/// The smallest input of the fault: one forged poll.
#[test]
fn a_forged_term_silences_a_proxy_until_it_is_silent_itself() {
    let mut world = World::new(&["web"]);
    world.poll_in(1).unwrap();
    world.poll_in(1 + MAX_TERM_RISE).unwrap();
    world.fleet.close_poll(&mk_proxy("a"), PollId(1), world.now);
    // The real one goes on, and what it says in vain is no word of the forged one.
    for _ in 0..SILENCE_MS / 1_000 {
        assert!(world.poll_in(1).is_err());
        world.pass(1_000);
    }
    assert_eq!(world.poll_in(1), Ok(()), "must be heard again");
    let report = mk_report("a", 1, &[("web", 1, 0, Some(0))]);
    assert_eq!(world.say(&report).len(), 1, "its demand must wake");
}

/// Its polls keep it live, so no silence helps.
#[test]
fn a_forged_number_of_a_report_silences_reports_for_three_heartbeats() {
    let mut world = World::new(&["web"]);
    world.poll_in(1).unwrap();
    assert_eq!(world.report_in(1, u64::MAX), Reported::Taken);
    assert_eq!(
        world.report_in(1, 5),
        Reported::Stale,
        "an older one must be ignored"
    );
    world.pass(SILENCE_MS - 1);
    assert_eq!(
        world.report_in(1, 6),
        Reported::Stale,
        "an older one must be ignored"
    );
    world.pass(1);
    let report = mk_report("a", 7, &[("web", 1, 0, Some(0))]);
    assert_eq!(world.say(&report).len(), 1, "its demand must wake");
    assert_eq!(world.state("web"), State::Waking);
}

impl World {
    fn poll_in(&mut self, term: u64) -> Result<(), PollRefusal> {
        let proxy = Proxy {
            term,
            ..mk_proxy("a")
        };
        let outcome = self.fleet.open_poll(&proxy, PollId(1), self.now);
        self.settle();
        outcome
    }

    fn report_in(&mut self, term: u64, seq: u64) -> Reported {
        let report = Report {
            proxy: Reporter {
                id: "a".to_owned(),
                incarnation: Incarnation::new("one"),
                term,
                seq,
            },
            ..mk_report("a", seq, &[])
        };
        let outcome = self.fleet.report(&report, self.now);
        self.settle();
        outcome
    }
}
