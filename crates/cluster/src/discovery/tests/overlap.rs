//! Keys that a route gave linger beside their new owner for 30 s, and no longer.

use std::time::Duration;

use super::{Cluster, check, message};
use crate::discovery::{Discovery, LINGER, Output};
use fleet::time::Time;

const RULE_0: &str = "httproute/shop/r/rule/0";
const RULE_1: &str = "httproute/shop/r/rule/1";

/// A discovery and its clock.
struct Play {
    discovery: Discovery,
    now: Time,
}

impl Play {
    fn new() -> Self {
        Self {
            discovery: Discovery::new("cluster.local"),
            now: Time::default(),
        }
    }

    fn update(&mut self, cluster: &Cluster) -> Output {
        self.discovery.update(&cluster.input(), self.now)
    }

    fn wait(&mut self, seconds: u64) -> Output {
        self.now = self.now + Duration::from_secs(seconds);
        self.discovery.handle_timeout(self.now)
    }
}

/// Cluster keys of a target that stay for a while only.
fn leaving<'a>(output: &'a Output, target: &str) -> Vec<&'a str> {
    let keys = &output.targets[&protocol::TargetId::new(target)].keys;
    keys.leaving.iter().map(|key| key.as_str()).collect()
}

fn shop() -> Cluster {
    Cluster::default()
        .target("shop/web", "web")
        .target("shop/api", "api")
}

#[test]
fn a_rule_inserted_at_the_front_leaves_both_owners_for_a_while() {
    let mut play = Play::new();
    play.update(&shop().http("shop/r", &[], &[&["web:80"]]));
    let found = play.update(&shop().http("shop/r", &[], &[&["api:80"], &["web:80"]]));
    check(
        &found,
        &[(RULE_0, &["shop/api", "shop/web"]), (RULE_1, &["shop/web"])],
    );
    assert_eq!(
        leaving(&found, "shop/web").first(),
        Some(&RULE_0),
        "must be said to be leaving"
    );
    assert_eq!(
        leaving(&found, "shop/api"),
        [""; 0],
        "must be said of its former owner alone"
    );
    assert_eq!(
        message(&found, "shop/web", "KeyConflict"),
        None,
        "must not be called a conflict"
    );
    assert_eq!(
        play.discovery.poll_timeout(),
        Some(Time::new(LINGER)),
        "must ask to be called"
    );
    check(&play.wait(29), &[(RULE_0, &["shop/api", "shop/web"])]);
    let after = play.wait(1);
    check(&after, &[(RULE_0, &["shop/api"]), (RULE_1, &["shop/web"])]);
    assert_eq!(leaving(&after, "shop/web"), [""; 0], "must have left");
    assert_eq!(after.lingering, 0, "must count what lingers");
    assert_eq!(play.discovery.poll_timeout(), None, "must not ask for more");
}

#[test]
fn later_updates_do_not_prolong_it() {
    let mut play = Play::new();
    play.update(&shop().http("shop/r", &[], &[&["web:80"]]));
    play.update(&shop());
    for _ in 0..2 {
        play.wait(14);
        check(&play.update(&shop()), &[(RULE_0, &["shop/web"])]);
    }
    play.now = play.now + Duration::from_secs(2);
    check(&play.update(&shop()), &[(RULE_0, &[])]);
}

#[test]
fn a_key_that_comes_back_is_owned_again() {
    let mut play = Play::new();
    let with = shop().http("shop/r", &[], &[&["web:80"]]);
    play.update(&with);
    play.update(&shop());
    assert_eq!(play.update(&with).lingering, 0, "must not linger beside itself");
    check(&play.wait(60), &[(RULE_0, &["shop/web"])]);
}

#[test]
fn hosts_of_routes_linger_too() {
    let mut play = Play::new();
    play.update(&shop().http("shop/r", &["a.example.com"], &[&["web:80"]]));
    let moved = play.update(&shop().http("shop/r", &["a.example.com"], &[&["api:80"]]));
    check(&moved, &[("a.example.com", &["shop/api", "shop/web"])]);
    let shared = play.update(&shop().http("shop/r", &["a.example.com"], &[&["api:80"], &["web:80"]]));
    check(&shared, &[("a.example.com", &["shop/api", "shop/web"])]);
    assert!(
        message(&shared, "shop/api", "AmbiguousHost").is_some(),
        "must be said at once"
    );
    check(&play.wait(30), &[("a.example.com", &[])]);
}

#[test]
fn the_users_word_and_the_services_names_change_at_once() {
    let mut play = Play::new();
    play.update(&shop().own(&["own.example.com"], &["own"]));
    let mut next = shop();
    next.targets[0] = super::mk_target("shop/web", 0, "next");
    let found = play.update(&next);
    check(
        &found,
        &[
            ("own.example.com", &[]),
            ("own", &[]),
            ("web.shop", &[]),
            ("outbound|80|*|web.shop.svc.cluster.local", &[]),
            ("next.shop", &["shop/web"]),
        ],
    );
}

#[test]
fn keys_of_a_deleted_target_do_not_linger() {
    let mut play = Play::new();
    let both = shop().http("shop/r", &[], &[&["web:80"]]);
    play.update(&both);
    let mut without = both.clone();
    without.targets.remove(0);
    check(&play.update(&without), &[(RULE_0, &[])]);
    let mut back = both;
    back.routes.clear();
    check(&play.update(&back), &[(RULE_0, &[])]);
}

#[test]
fn a_key_lost_to_an_older_target_does_not_linger() {
    let mut play = Play::new();
    let cluster = Cluster::default()
        .target("shop/old", "old")
        .target("shop/web", "web");
    let cluster = cluster.http("shop/r", &[], &[&["web:80"]]);
    play.update(&cluster);
    let mut claimed = cluster.clone();
    claimed.targets[0].own.clusters.push(RULE_0.parse().unwrap());
    let found = play.update(&claimed);
    check(&found, &[(RULE_0, &["shop/old"])]);
    assert!(
        message(&found, "shop/web", "KeyConflict").is_some(),
        "must be said"
    );
    check(&play.update(&cluster), &[(RULE_0, &["shop/web"])]);
}

#[test]
fn what_lingers_is_bounded() {
    let mut play = Play::new();
    for round in 0..5 {
        let mut cluster = shop();
        for n in 0..300 {
            cluster = cluster.http(&format!("shop/r{round}-{n}"), &[], &[&["web:80"]]);
        }
        let found = play.update(&cluster);
        assert!(found.lingering <= 1000, "must be bounded: {}", found.lingering);
    }
}
