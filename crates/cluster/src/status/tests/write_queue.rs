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
fn what_another_writer_changes_is_put_right() {
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
    play.drops_replicas = true;
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
    // As every API server writes versions, and as it may.
    for version in ["1000", "opaque"] {
        let mut play = Play::new(&["web"]);
        play.sees("web", "ready");
        play.writes();
        play.passes(1_000);
        play.replace("web", version);
        assert_eq!(play.writes(), ["web"], "must be written at {version}");
    }
}

#[test]
fn a_change_is_written_within_half_a_second_together_with_what_comes_with_it() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "waking");
    play.writes();
    play.sees("web", "ready");
    play.passes(150);
    assert!(play.begin().is_none(), "must wait for what comes with it");
    play.seen.get_mut("web").unwrap().ready_endpoints = 2;
    play.changed("web");
    play.passes(50);
    assert_eq!(play.now_writes(), ["web"], "must not wait longer for it");
    assert_eq!(play.status("web").ready_endpoints, Some(2), "must be together");
}

#[test]
fn what_changes_all_the_time_is_written_once_a_second_after_ten_times() {
    let mut play = Play::new(&["web"]);
    let mut written = 0;
    for n in 0..300 {
        play.sees("web", "ready");
        play.seen.get_mut("web").unwrap().ready_endpoints = n;
        play.passes(100);
        written += play.now_writes().len();
    }
    assert!(
        (35..=40).contains(&written),
        "must be bounded in thirty seconds: {written}"
    );
    play.passes(1_000);
    play.now_writes();
    assert_eq!(
        play.status("web").ready_endpoints,
        Some(299),
        "must come to what is true"
    );
}

#[test]
fn only_what_was_told_to_have_changed_is_compared() {
    let mut play = Play::new(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        play.sees(name, "asleep");
    }
    play.writes();
    assert_eq!(play.writes(), [""; 0], "must find its writes there");
    assert_eq!(play.write_queue.poll_timeout(play.now), None, "must have no turn");
    play.sees("b", "waking");
    assert_eq!(play.write_queue.waiting(), 1, "must be one");
    play.passes(200);
    let compared: Vec<_> = std::iter::from_fn(|| play.write_queue.poll(play.now)).collect();
    assert_eq!(compared, [mk_shown("b").id], "must be that one");
}

#[test]
fn is_compared_again_when_an_envoy_has_not_reached_it_for_long_enough() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "ready");
    play.writes();
    let seen = play.seen.get_mut("web").unwrap();
    seen.unreached = vec![mk_unreached("refused", 1_000)];
    seen.conditions = vec![mk_condition("Unreached", "refused")];
    play.changed("web");
    assert_eq!(play.writes(), [""; 0], "must wait");
    let turn = play.write_queue.poll_timeout(play.now).unwrap();
    assert_eq!(
        turn.since(play.now).as_millis(),
        4_000,
        "must know when it has lasted"
    );
    play.changed("web");
    assert_eq!(
        play.write_queue.waiting(),
        1,
        "must have one turn, the earlier one"
    );
    play.passes(4_000);
    play.seen.get_mut("web").unwrap().unreached[0].for_ms = 5_000;
    assert_eq!(play.now_writes(), ["web"], "must be told then");
}

#[test]
fn what_changes_while_it_is_written_is_written_after_it() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "waking");
    play.passes(200);
    let job = play.begin().unwrap();
    play.sees("web", "ready");
    play.passes(200);
    assert!(play.begin().is_none(), "must not write one target twice at once");
    play.end(job);
    assert_eq!(play.writes(), ["web"], "must write the newer one");
    assert_eq!(
        play.status("web").state.as_deref(),
        Some("Ready"),
        "must be the newer one"
    );
}

#[test]
fn those_that_have_waited_longest_go_first() {
    let mut play = Play::new(&["a", "b", "c"]);
    for name in ["c", "a", "b"] {
        play.sees(name, "waking");
        play.passes(1);
    }
    assert_eq!(play.writes(), ["c", "a", "b"], "must be in this order");
}

#[test]
fn at_most_eight_are_under_way() {
    let names: Vec<_> = (0..20).map(|n| format!("t{n:02}")).collect();
    let mut play = Play::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        play.sees(name, "asleep");
    }
    play.passes(200);
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
        written += play.now_writes().len();
    }
    assert_eq!(written, 100, "must go on at the rate");
    for _ in 0..180 {
        play.passes(100);
        written += play.now_writes().len();
    }
    assert_eq!(written, 1000, "must come to an end within twenty seconds");
}

#[test]
fn a_failed_write_is_tried_less_and_less() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "asleep");
    play.passes(200);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let began = play.now;
        let job = loop {
            if let Some(job) = play.begin() {
                break job;
            }
            // However often it changes meanwhile.
            play.sees("web", "asleep");
            play.passes(500);
        };
        waits.push(play.now.since(began).as_secs());
        let id = job.target.id.clone();
        play.write_queue.done(id, Outcome::Failed, play.now);
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60], "must double up to a minute");
}

#[test]
fn what_is_gone_is_forgotten() {
    let mut play = Play::new(&["web"]);
    play.sees("web", "asleep");
    play.shown.clear();
    play.passes(200);
    assert!(play.begin().is_none(), "must not be written");
    assert_eq!(play.write_queue.waiting(), 0, "must not be waited for");
}

/// A queue between a fleet and an API server.
struct Play {
    write_queue: WriteQueue,
    now: Time,
    version: u64,
    seen: BTreeMap<String, TargetStatus>,
    shown: BTreeMap<String, Arc<ShownTarget>>,
    /// The watch shows nothing new.
    lags: bool,
    /// The definition in the cluster is an old one.
    drops_replicas: bool,
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
            drops_replicas: false,
        }
    }

    fn sees(&mut self, name: &str, state: &'static str) {
        self.seen.insert(name.to_owned(), mk_seen(name, state));
        self.changed(name);
    }

    fn changed(&mut self, name: &str) {
        self.write_queue.changed(mk_shown(name).id, self.now);
    }

    fn passes(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    /// The next write whose turn it is now.
    fn begin(&mut self) -> Option<Job> {
        while let Some(id) = self.write_queue.poll(self.now) {
            let name = id.as_str().trim_start_matches("shop/");
            let (seen, shown) = (self.seen.get(name), self.shown.get(name).cloned());
            let wall = i64::try_from(self.now.as_duration().as_secs()).unwrap();
            let job = self.write_queue.compare(&id, seen, shown, at(wall), self.now);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    fn end(&mut self, job: Job) {
        self.version += 1;
        let mut status = job.status;
        if self.drops_replicas {
            status.replicas = None;
        }
        let echo = with_status(&job.target, self.version, &status);
        if !self.lags {
            self.show(&echo);
        }
        self.write_queue
            .done(echo.id.clone(), Outcome::Written(echo), self.now);
    }

    /// All writes whose turn it is now, in their order.
    fn now_writes(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(job) = self.begin() {
            names.push(job.target.id.as_str().trim_start_matches("shop/").to_owned());
            self.end(job);
        }
        names
    }

    /// All writes that what has changed brings about, once what comes with it has come.
    fn writes(&mut self) -> Vec<String> {
        self.passes(200);
        self.now_writes()
    }

    fn status(&self, name: &str) -> &ScaleTargetStatus {
        self.shown[name].status.as_ref().unwrap()
    }

    fn show(&mut self, shown: &Arc<ShownTarget>) {
        let (_, name) = shown.id.as_str().split_once('/').unwrap();
        self.write_queue.changed(shown.id.clone(), self.now);
        self.shown.insert(name.to_owned(), Arc::clone(shown));
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut ScaleTargetStatus)) {
        self.version += 1;
        let mut status = self.status(name).clone();
        change(&mut status);
        let shown = with_status(&self.shown[name], self.version, &status);
        self.show(&shown);
    }

    fn replace(&mut self, name: &str, version: &str) {
        self.show(&Arc::new(ShownTarget {
            uid: "another".to_owned(),
            version: Version::new(version),
            ..mk_shown(name)
        }));
    }
}
