//! Which gate asks first, and what share of the release each gate has.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn the_release_is_split_by_what_the_gates_hold() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Waking)]);
    s.status(A, s.manifest.version, vec![held(0, 30)]);
    s.status(B, s.manifest.version, vec![held(0, 10)]);
    s.snapshot(2, vec![target("a", State::Ready)]);
    let record = s.record("a");
    assert_eq!(record.shares, [(A.id, 75), (B.id, 25)]);
    assert_eq!(record.prober, Some(A.id), "one of them must ask first");
    assert_eq!(record.confirmed_epoch, None);
}

#[test]
fn a_yes_lets_every_gate_ask() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    s.status(
        B,
        s.manifest.version,
        vec![TargetUsage {
            confirmed_epoch: Some(1),
            ..held(0, 0)
        }],
    );
    assert_eq!(s.record("a").confirmed_epoch, Some(1));
}

#[test]
fn the_prober_is_replaced_when_it_holds_nothing_more() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    assert_eq!(s.record("a").prober, Some(A.id));
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![held(0, 1)]);
    assert_eq!(s.record("a").prober, Some(B.id));
}

#[test]
fn the_prober_is_replaced_when_its_vm_has_died() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Waking)]);
    s.status(A, s.manifest.version, vec![held(0, 30)]);
    s.status(B, s.manifest.version, vec![held(0, 1)]);
    for _ in 0..=10 {
        s.tick();
    }
    s.status(B, s.manifest.version, vec![held(0, 1)]);
    s.snapshot(2, vec![target("a", State::Ready)]);
    assert_eq!(
        s.record("a").prober,
        Some(B.id),
        "a dead gate must not be waited for"
    );
}

#[test]
fn shares_stay_until_endpoints_or_pace_change_or_the_target_is_not_ready() {
    let ready = || Target {
        ready_endpoints: 2,
        ..target("a", State::Ready)
    };
    let mut renamed = ready();
    renamed.hosts.push("a.example.com".to_owned());
    let mut faster = ready();
    faster.release.concurrency_per_endpoint = 120;
    let mut more = ready();
    more.ready_endpoints = 3;
    let mut fewer = ready();
    fewer.ready_endpoints = 1;
    let shares = |a, b| vec![(A.id, a), (B.id, b)];
    let cases = [
        (renamed, shares(150, 50), "its keys say nothing about its pace"),
        (faster, shares(216, 24), "must be split anew at the new pace"),
        (
            more,
            shares(270, 30),
            "must be split anew over the endpoints there are",
        ),
        (fewer, shares(90, 10), "must not release more than they take"),
        (target("a", State::Asleep), vec![], "nothing is released"),
    ];
    for (next, expected, why) in cases {
        let mut s = Scenario::new();
        s.snapshot(1, vec![ready()]);
        s.status(A, s.manifest.version, vec![held(0, 30)]);
        s.snapshot(2, vec![target("a", State::Waking)]);
        s.status(B, s.manifest.version, vec![held(0, 10)]);
        s.snapshot(3, vec![ready()]);
        assert_eq!(s.record("a").shares, shares(150, 50));
        // So that another split would be another.
        s.status(A, s.manifest.version, vec![held(0, 45)]);
        s.status(B, s.manifest.version, vec![held(0, 5)]);
        assert_eq!(
            s.record("a").shares,
            shares(150, 50),
            "must stay while it is about fair"
        );
        s.snapshot(4, vec![next]);
        assert_eq!(s.record("a").shares, expected, "{why}");
    }
}
