//! What the control plane is told of arrivals, until it has surely heard of them.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn a_successor_is_told_of_arrivals_from_long_before_and_once() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Ready)]);
    for _ in 0..2 {
        s.status(A, s.manifest.version, vec![held(0, 0)]);
        s.status(B, s.manifest.version, vec![held(1, 0)]);
    }
    s.taken("cp");
    s.taken("cp");
    let asked = s.now.before(HEARTBEAT * 2);
    s.now += Duration::from_secs(300);
    s.status(A, s.manifest.version, vec![]);
    s.status(B, s.manifest.version, vec![]);
    assert!(
        s.taken("cp").targets.is_empty(),
        "must be no news to a control plane that knows"
    );

    s.now += HEARTBEAT;
    assert!(
        s.taken("next").targets.is_empty(),
        "cannot know yet which control plane takes it"
    );
    s.snapshot_of(
        "next",
        1,
        vec![
            target("a", State::Ready),
            Target {
                hosts: vec!["other".to_owned()],
                ..target("b", State::Ready)
            },
        ],
    );
    s.now += HEARTBEAT;
    let told = s.taken("next").targets;
    let ages: Vec<_> = told
        .iter()
        .map(|(id, usage)| (id.clone(), usage.idle_ms))
        .collect();
    let age = s.now.since(asked).as_millis() as u64;
    assert_eq!(
        ages,
        [(TargetId::new("a"), Some(age))],
        "must tell of all that still have their keys"
    );
    s.now += HEARTBEAT;
    assert!(s.taken("next").targets.is_empty(), "must tell it once");
}

#[test]
fn an_arrival_is_told_until_the_control_plane_has_surely_heard_of_it() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let arrived = |age: Duration| TargetUsage {
        idle_ms: Some(age.as_millis() as u64),
        ..held(0, 0)
    };
    s.status(A, s.manifest.version, vec![]);
    s.status(A, s.manifest.version, vec![arrived(Duration::ZERO)]);
    // No report gets through for half a minute, in which the status stays as it is.
    let half_a_minute = Duration::from_secs(30);
    let since = s.now;
    while s.now < since + half_a_minute {
        s.now += HEARTBEAT;
        if s.relay.poll_report(s.now).is_some() {
            s.relay.report_answered(s.now, false);
        }
    }
    let told = |s: &mut Scenario| {
        let usage = s
            .report()
            .and_then(|report| report.targets.get(&TargetId::new("a")).copied());
        usage.and_then(|usage| usage.idle_ms)
    };
    s.now += HEARTBEAT;
    let age = s.now.since(since).as_millis() as u64;
    assert_eq!(told(&mut s), Some(age), "no control plane has heard of it yet");
    s.now += HEARTBEAT;
    assert_eq!(told(&mut s), None, "has been heard of");
}

#[test]
fn an_arrival_in_the_status_of_a_gate_that_has_not_beaten_is_no_news() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready)]);
    let arrived = TargetUsage {
        idle_ms: Some(100),
        ..held(0, 0)
    };
    s.status(A, s.manifest.version, vec![arrived]);
    s.status(B, s.manifest.version, vec![]);
    s.later();
    let targets = |s: &mut Scenario| s.report().map(|report| report.targets.len());
    assert_eq!(
        targets(&mut s),
        Some(0),
        "the status may be years old: its gate may be dead"
    );
    s.status(A, s.manifest.version, vec![arrived]);
    s.later();
    assert_eq!(targets(&mut s), Some(1), "it lives");
}

#[test]
fn a_successor_is_not_told_of_arrivals_of_what_is_gone() {
    let mut s = Scenario::new();
    s.snapshot(1, vec![target("a", State::Ready), target("b", State::Ready)]);
    for _ in 0..2 {
        s.status(A, s.manifest.version, vec![held(0, 0), held(1, 0)]);
        s.status(B, s.manifest.version, vec![]);
    }
    s.taken("cp");
    s.taken("cp");
    s.snapshot(2, vec![target("b", State::Ready)]);
    s.status(A, s.manifest.version, vec![]);
    s.taken("next");
    s.snapshot_of("next", 1, vec![target("b", State::Ready)]);
    let told = s.taken("next").targets;
    assert_eq!(told.keys().map(TargetId::as_str).collect::<Vec<_>>(), ["b"]);
}
