//! What a report says, and when it is sent.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn nothing_is_reported_before_the_first_sync() {
    let mut s = Scenario::new();
    s.run();
    assert_eq!(s.syncs.len(), 1, "must ask at once");
    s.later();
    assert_eq!(s.report(), None);
    s.snapshot(1, vec![target("a", State::Asleep)]);
    assert!(
        s.report().is_some(),
        "must report once it is known to the control plane"
    );
}

#[test]
fn applied_is_what_every_gate_has_applied() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let version = s.manifest.version;
    s.status(A, version, vec![]);
    assert_eq!(
        s.report().unwrap().applied,
        None,
        "must not speak for a gate that has not applied it"
    );
    s.status(B, version, vec![]);
    s.later();
    assert_eq!(s.report().unwrap().applied, Some(revision(1)));
}

#[test]
fn a_confirmed_drain_is_reported_at_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert!(s.report().is_some());
    s.snapshot(2, vec![target("a", State::Draining)]);
    s.status(A, s.manifest.version, vec![]);
    assert_eq!(s.report(), None, "one gate has not yet applied the drain");
    s.status(B, s.manifest.version, vec![]);
    assert_eq!(
        s.report().expect("must be reported at once").applied,
        Some(revision(2))
    );
}

#[test]
fn demand_is_reported_at_once_and_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert!(s.report().is_some());
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    let report = s.report().expect("demand must be reported at once");
    assert_eq!(report.targets[&TargetId::new("a")].held, 1);
    for more in 2..100 {
        s.status(A, s.manifest.version, vec![held(0, more)]);
        assert_eq!(s.report(), None, "more of the same is no news");
    }
}

#[test]
fn a_lost_report_is_repeated() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    s.status(A, s.manifest.version, vec![held(0, 1)]);
    assert!(s.relay.poll_report(s.now).is_some());
    assert_eq!(s.relay.poll_report(s.now), None, "only one may be on its way");
    s.relay.report_answered(s.now, false);
    s.now += Duration::from_millis(200);
    let again = s.report().expect("must be repeated before the next heartbeat");
    assert_eq!(again.targets[&TargetId::new("a")].held, 1);
}

#[test]
fn only_what_a_status_says_anew_is_news() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Asleep)]);
    let version = s.manifest.version;
    s.status(A, version, vec![held(0, 1)]);
    assert!(s.relay.take_news());
    let older = TargetUsage {
        idle_ms: Some(7000),
        ..held(0, 1)
    };
    s.status(A, version, vec![older]);
    assert!(!s.relay.take_news(), "a heartbeat is no news, nor is an age");
    s.status(A, version, vec![held(0, 2)]);
    assert!(s.relay.take_news());
    s.status(A, version, vec![]);
    assert!(s.relay.take_news());
    s.status(A, version + 1, vec![]);
    assert!(s.relay.take_news());
    assert!(!s.relay.take_news());
}

#[test]
fn clusters_that_are_not_reached_are_reported_the_oldest_first_and_each_once() {
    let mut scenario = Scenario::new();
    scenario.snapshot(1, vec![mk_target("web")]);
    let unreached = |cluster: String, for_ms| UnreachedCluster {
        slot: Slot(0),
        cluster,
        saw: "refused".to_owned(),
        for_ms,
    };
    for (member, age) in [(A, 1_000), (B, 2_000)] {
        scenario.unreached = (0..100).map(|n| unreached(format!("c{n}"), age + n)).collect();
        let version = scenario.manifest.version;
        scenario.status(member, version, vec![held(0, 1)]);
    }
    scenario.now += Duration::from_millis(50);
    let report = scenario.report().expect("must report what is held");
    let told: Vec<_> = report
        .unreached
        .iter()
        .map(|one| (one.cluster.as_str(), one.for_ms))
        .collect();
    assert_eq!(told.len(), Report::MAX_UNREACHED, "must be bounded");
    assert_eq!(
        told[0],
        ("c99", 2_149),
        "the oldest first, with the time since it was read"
    );
    assert_eq!(told[1], ("c98", 2_148), "each cluster once");
}

#[test]
fn one_cluster_that_several_gates_do_not_reach_is_reported_once_and_of_each_target() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Ready)]);
    let mk = |slot, for_ms| UnreachedCluster {
        slot,
        cluster: "shared".to_owned(),
        saw: "refused".to_owned(),
        for_ms,
    };
    let (a, b) = (s.slot("a"), s.slot("b"));
    s.unreached = vec![mk(a, 5), mk(b, 6)];
    s.status(A, s.manifest.version, vec![]);
    s.unreached = vec![mk(a, 7)];
    s.status(B, s.manifest.version, vec![]);
    s.later();
    let unreached = s.report().expect("must report").unreached;
    let told: Vec<_> = unreached
        .iter()
        .map(|one| (one.target.as_str(), one.for_ms))
        .collect();
    assert_eq!(told, [("a", 1_007), ("b", 1_006)]);
}
