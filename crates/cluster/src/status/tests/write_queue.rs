//! When a status is written, and when it is left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::write_queue::{Job, Outcome, WriteQueue};
use super::*;
use fleet::time::Time;

#[test]
fn writes_what_differs_once() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "asleep");
    assert_eq!(play.writes(), ["web"], "must write what is not there");
    assert_eq!(play.writes(), [""; 0], "must not write it again");
    play.passes(60_000);
    assert_eq!(
        play.writes(),
        [""; 0],
        "must make no request while nothing changes"
    );
}

#[test]
fn a_new_leader_writes_nothing_that_is_there() {
    let mut before = Play::new(&["web"]);
    before.sees("web", "ready");
    before.writes();
    let mut after = Play::new(&["web"]);
    after.shown = before.shown;
    after.sees("web", "ready");
    assert_eq!(after.writes(), [""; 0], "must find all of it there");
}

#[test]
fn a_watch_that_lags_is_no_difference() {
    let mut play = Play::new(&["web"]);
    play.lags = true;
    play.sees("web", "asleep");
    assert_eq!(play.writes(), ["web"], "must be written");
    play.passes(1_000);
    assert_eq!(
        play.writes(),
        [""; 0],
        "must trust its own write until the watch shows it"
    );
    play.sees("web", "waking");
    assert_eq!(play.writes(), ["web"], "must write what is new all the same");
}

#[test]
fn what_somebody_else_changes_is_put_right() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "ready");
    play.writes();
    play.passes(1_000);
    play.change("web", |status| status.state = Some("Asleep".to_owned()));
    assert_eq!(play.writes(), ["web"], "must be put right");
}

#[test]
fn a_definition_that_drops_a_field_is_not_written_to_for_ever() {
    let mut play = Play::new(&["web"]);
    play.drops_held = true;
    play.sees("web", "ready");
    assert_eq!(play.writes(), ["web"], "must be written");
    play.passes(60_000);
    assert_eq!(
        play.writes(),
        [""; 0],
        "must not be written again: it would not help"
    );
}

#[test]
fn another_object_of_the_same_name_is_written_anew() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "ready");
    play.writes();
    play.passes(1_000);
    play.replace("web");
    assert_eq!(play.writes(), ["web"], "must be written");
}

#[test]
fn numbers_are_written_at_most_every_five_seconds() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "waking");
    play.writes();
    play.seen.get_mut("web").unwrap().held = 5;
    play.passes(4_900);
    assert_eq!(play.writes(), [""; 0], "must wait");
    play.passes(100);
    assert_eq!(play.writes(), ["web"], "must be written in the end");
}

#[test]
fn a_change_of_state_does_not_wait_for_numbers() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "waking");
    play.writes();
    play.passes(250);
    play.sees("web", "ready");
    assert_eq!(play.writes(), ["web"], "must be told within half a second");
}

#[test]
fn what_changes_while_it_is_written_is_written_after_it() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "waking");
    let job = play.begin().unwrap();
    play.sees("web", "ready");
    assert!(play.begin().is_none(), "must not write one target twice at once");
    play.end(job);
    play.passes(250);
    assert_eq!(play.writes(), ["web"], "must write the newer one");
    let state = play.shown["web"].status.as_ref().unwrap().state.as_deref();
    assert_eq!(state, Some("Ready"), "must be the newer one");
}

#[test]
fn a_look_while_it_is_written_is_no_difference() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "asleep");
    let job = play.begin().unwrap();
    // The time of a condition that is new would be another by now.
    play.passes(1_000);
    play.look();
    play.end(job);
    play.passes(250);
    let again = play.write_queue.poll(play.now);
    assert!(
        again.is_none(),
        "must not be written again before the next look: {again:?}"
    );
}

#[test]
fn urgent_ones_go_first_and_then_the_oldest() {
    let mut play = Play::new(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        play.sees(name, "waking");
    }
    play.writes();
    play.passes(10_000);
    play.seen.get_mut("a").unwrap().held = 1;
    play.look();
    play.passes(1);
    play.sees("c", "ready");
    play.look();
    play.passes(1);
    play.sees("b", "ready");
    assert_eq!(play.writes(), ["c", "b", "a"], "must be in this order");
}

#[test]
fn at_most_eight_are_under_way() {
    let names: Vec<_> = (0..20).map(|n| format!("t{n:02}")).collect();
    let mut play = Play::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        play.sees(name, "asleep");
    }
    let jobs: Vec<_> = std::iter::from_fn(|| play.begin()).collect();
    assert_eq!(jobs.len(), 8, "must not hold on to the API server with more");
    assert_eq!(
        play.write_queue.poll_timeout(play.now),
        None,
        "must wait for one of them to end"
    );
    for job in jobs {
        play.end(job);
    }
    assert_eq!(play.writes().len(), 12, "must write the rest");
}

#[test]
fn a_thousand_at_once_are_written_at_fifty_a_second() {
    let names: Vec<_> = (0..1000).map(|n| format!("t{n:04}")).collect();
    let mut play = Play::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        play.sees(name, "asleep");
    }
    let mut written = play.writes().len();
    assert_eq!(written, 50, "must begin with the burst");
    for _ in 0..10 {
        play.passes(100);
        written += play.writes().len();
    }
    assert_eq!(written, 100, "must go on at the rate");
    for _ in 0..180 {
        play.passes(100);
        written += play.writes().len();
    }
    assert_eq!(written, 1000, "must come to an end within twenty seconds");
}

#[test]
fn a_failed_write_is_tried_less_and_less() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "asleep");
    let mut waits = Vec::new();
    for _ in 0..8 {
        let began = play.now;
        let job = loop {
            if let Some(job) = play.begin() {
                break job;
            }
            play.passes(500);
        };
        waits.push(play.now.since(began).as_secs());
        play.write_queue.done(&job.target.id, Outcome::Failed, play.now);
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60], "must double up to a minute");
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "asleep");
    play.look();
    play.shown.clear();
    play.look();
    assert_eq!(
        (play.write_queue.waiting(), play.begin().is_none()),
        (0, true),
        "must not be written"
    );
}

#[test]
fn knows_when_to_look_again() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "ready");
    play.look();
    assert!(
        play.write_queue.is_lively(),
        "must be lively while something waits"
    );
    play.writes();
    play.look();
    assert!(!play.write_queue.is_lively(), "must be calm");
    play.seen.get_mut("web").unwrap().held = 1;
    play.look();
    assert!(
        play.write_queue.is_lively(),
        "must be lively while requests are held"
    );
    let seen = play.seen.get_mut("web").unwrap();
    seen.held = 0;
    seen.unreached = vec![mk_unreached("refused", 1)];
    play.look();
    assert!(
        play.write_queue.is_lively(),
        "must be lively while some Envoy may not reach it for long"
    );
}

/// A write_queue between a fleet and an API server.
struct Play {
    write_queue: WriteQueue,
    now: Time,
    version: u64,
    seen: BTreeMap<String, TargetStatus>,
    shown: BTreeMap<String, Arc<ShownTarget>>,
    /// The watch shows nothing new.
    lags: bool,
    /// The definition in the cluster is an old one.
    drops_held: bool,
}

impl Play {
    fn new(names: &[&str]) -> Self {
        let shown = names
            .iter()
            .map(|name| ((*name).to_owned(), Arc::new(mk_shown(name))));
        Self {
            write_queue: WriteQueue::default(),
            now: Time::new(Duration::from_secs(100)),
            version: 100,
            seen: BTreeMap::new(),
            shown: shown.collect(),
            lags: false,
            drops_held: false,
        }
    }

    fn sees(&mut self, name: &str, state: &'static str) {
        self.seen.insert(name.to_owned(), mk_seen(name, state));
    }

    fn passes(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn look(&mut self) {
        let seen: Vec<_> = self.seen.values().cloned().collect();
        let shown: Vec<_> = self.shown.values().cloned().collect();
        let wall = i64::try_from(self.now.as_duration().as_secs()).unwrap();
        self.write_queue.look(&seen, &shown, at(wall), self.now);
    }

    fn begin(&mut self) -> Option<Job> {
        self.look();
        self.write_queue.poll(self.now)
    }

    fn end(&mut self, job: Job) {
        self.version += 1;
        let mut status = job.status;
        if self.drops_held {
            status.held = None;
        }
        let echo = with_status(&job.target, self.version, &status);
        if !self.lags {
            let (_, name) = echo.id.as_str().split_once('/').unwrap();
            self.shown.insert(name.to_owned(), Arc::clone(&echo));
        }
        self.write_queue
            .done(&echo.id, Outcome::Written(Arc::clone(&echo)), self.now);
    }

    /// All writes whose turn it is now, in their order.
    fn writes(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        self.look();
        while let Some(job) = self.write_queue.poll(self.now) {
            names.push(job.target.id.as_str().trim_start_matches("shop/").to_owned());
            self.end(job);
        }
        names
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut ScaleTargetStatus)) {
        self.version += 1;
        let shown = &self.shown[name];
        let mut status = shown.status.clone().unwrap();
        change(&mut status);
        let shown = with_status(shown, self.version, &status);
        self.shown.insert(name.to_owned(), shown);
    }

    fn replace(&mut self, name: &str) {
        self.version += 1;
        let shown = ShownTarget {
            uid: "another".to_owned(),
            version: Version::new(self.version.to_string()),
            ..mk_shown(name)
        };
        self.shown.insert(name.to_owned(), Arc::new(shown));
    }
}
