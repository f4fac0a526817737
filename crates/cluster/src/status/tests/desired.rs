//! The status that a ScaleTarget should have.

use std::time::Duration;

use super::super::desired::{changes_in, desired, differs};
use super::*;
use crate::crd::{self, ConditionStatus};
use fleet::LastWake;

#[test]
fn says_the_state_and_whether_requests_pass() {
    for (state, name, ready) in [
        ("asleep", "Asleep", ConditionStatus::False),
        ("waking", "Waking", ConditionStatus::False),
        ("ready", "Ready", ConditionStatus::True),
        ("draining", "Draining", ConditionStatus::False),
        ("stopping", "Stopping", ConditionStatus::False),
        ("failed", "Failed", ConditionStatus::False),
        ("suspended", "Suspended", ConditionStatus::True),
    ] {
        let status = of(&mk_seen("web", state), None, at(0));
        assert_eq!(status.state.as_deref(), Some(name), "must be the state");
        assert_eq!(
            status.observed_generation,
            Some(3),
            "must be about this generation"
        );
        let condition = find(&status, "Ready");
        assert_eq!(
            (condition.reason.as_str(), condition.status),
            (name, ready),
            "must say why"
        );
        assert!(!condition.message.is_empty(), "must say it to people");
    }
}

#[test]
fn says_why_it_failed_and_goes_on_saying_so_when_that_is_over() {
    let mut seen = mk_seen("web", "failed");
    seen.reason = Some("image cannot be pulled".to_owned());
    let failed = of(&seen, None, at(0));
    assert_eq!(
        find(&failed, "Ready").message,
        "image cannot be pulled",
        "must say why"
    );
    let ready = of(&mk_seen("web", "ready"), Some(&failed), at(1));
    assert_eq!(
        ready.last_reason.as_deref(),
        Some("image cannot be pulled"),
        "must keep the last reason"
    );
}

#[test]
fn says_nothing_of_what_nothing_is_known_of() {
    assert_eq!(
        desired(&mk_shown("web"), None, None, at(0)),
        None,
        "must be left as it is"
    );
}

#[test]
fn says_that_a_spec_was_never_usable() {
    let mut shown = mk_shown("web");
    shown.invalid = Some("spec.confirm: enabled: false leaves only settle to be set".to_owned());
    let status = desired(&shown, None, None, at(0)).unwrap();
    assert_eq!(status.state.as_deref(), Some("Invalid"), "must be its state");
    assert_eq!(find(&status, "Ready").reason, "Invalid", "must not be ready");
    assert!(
        find(&status, "Invalid").message.starts_with("spec.confirm: "),
        "must name the field"
    );
}

#[test]
fn what_was_wanted_before_an_unusable_spec_goes_on() {
    let mut shown = mk_shown("web");
    shown.invalid = Some("spec.confirm: no".to_owned());
    let mut seen = mk_seen("web", "ready");
    seen.conditions = vec![mk_condition("Invalid", "spec.confirm: no")];
    let status = desired(&shown, Some(&seen), None, at(0)).unwrap();
    assert_eq!(status.state.as_deref(), Some("Ready"), "must go on");
    assert_eq!(
        find(&status, "Invalid").message,
        "spec.confirm: no",
        "must say so"
    );
}

#[test]
fn a_transition_is_when_the_status_of_a_condition_changes() {
    let asleep = of(&mk_seen("web", "asleep"), None, at(0));
    let waking = of(&mk_seen("web", "waking"), Some(&asleep), at(5));
    assert_eq!(
        find(&waking, "Ready").last_transition_time,
        find(&asleep, "Ready").last_transition_time,
        "must not have changed: it is still not ready"
    );
    let ready = of(&mk_seen("web", "ready"), Some(&waking), at(9));
    assert_eq!(
        find(&ready, "Ready").last_transition_time,
        "2001-09-09T01:46:49Z",
        "must be the moment of the change"
    );
}

#[test]
fn conditions_come_and_go_in_one_order() {
    let mut seen = mk_seen("web", "ready");
    seen.conditions = vec![
        mk_condition("NeverMatched", "traffic may be passing by"),
        mk_condition("AmbiguousHost", "web.example.com"),
        mk_condition("Retiring", "of one that is gone"),
    ];
    let status = of(&seen, None, at(0));
    let kinds: Vec<_> = status.conditions.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["AmbiguousHost", "NeverMatched", "Ready"],
        "must be in order"
    );
    seen.conditions.clear();
    assert_eq!(of(&seen, Some(&status), at(1)).conditions.len(), 1, "must go");
}

#[test]
fn the_last_wake_survives_a_change_of_leader() {
    let mut seen = mk_seen("web", "ready");
    seen.last_wake = Some(LastWake {
        unix_ms: 1_000_000_000_500,
        duration_ms: Some(1_234),
        by: fleet::WokenBy::Person,
    });
    let status = of(&seen, None, at(0));
    let wake = status.last_wake.clone().unwrap();
    assert_eq!(
        wake.time, "2001-09-09T01:46:40Z",
        "must be as Kubernetes writes it"
    );
    assert_eq!(wake.duration.as_deref(), Some("1.234s"), "must be in seconds");
    seen.last_wake = None;
    assert_eq!(of(&seen, Some(&status), at(9)).last_wake, Some(wake), "must stay");
}

#[test]
fn keys_and_messages_are_bounded() {
    let mut seen = mk_seen("web", "failed");
    seen.hosts = (0..100).map(|n| format!("h{n:03}")).collect();
    seen.reason = Some("é".repeat(5_000));
    let status = of(&seen, None, at(0));
    assert_eq!(status.hosts.len(), crd::MAX_KEYS, "must not list all");
    assert_eq!(status.keys_not_shown, Some(68), "must say how many are left out");
    let message = &find(&status, "Ready").message;
    assert!(
        (1_020..=1_024).contains(&message.len()) && message.ends_with("é..."),
        "must be cut, and say so: {}",
        message.len()
    );
}

#[test]
fn no_text_is_empty() {
    let mut seen = mk_seen("web", "failed");
    seen.reason = Some(" ".to_owned());
    seen.conditions = vec![mk_condition("Contended", "")];
    let status = of(&seen, None, at(0));
    assert!(
        status.conditions.iter().all(|one| !one.message.is_empty()),
        "must not be empty: Kubernetes 1.20 refuses it"
    );
    assert_eq!(status.last_reason, None, "must be left out");
}

#[test]
fn requests_and_ages_are_no_difference_and_all_else_is() {
    let calm = mk_seen("web", "ready");
    let known = of(&calm, None, at(0));
    let is_news = |change: fn(&mut TargetStatus)| {
        let mut seen = calm.clone();
        change(&mut seen);
        differs(&of(&seen, Some(&known), at(1)), Some(&known))
    };
    assert!(!is_news(|_| {}), "must be the same");
    assert!(
        !is_news(|seen| (seen.held, seen.in_flight, seen.idle_ms) = (7, 7, Some(7))),
        "must be asked of the API"
    );
    assert!(is_news(|seen| seen.ready_endpoints = 7), "must be written");
    assert!(is_news(|seen| seen.replicas = 7), "must be written");
    assert!(is_news(|seen| seen.hosts.clear()), "must be written");
    assert!(is_news(|seen| seen.state = "draining"), "must be written");
    assert!(
        is_news(|seen| seen.conditions = vec![mk_condition("Contended", "by x")]),
        "must be written"
    );
}

#[test]
fn what_versions_before_wrote_of_held_requests_is_taken_away() {
    let wanted = of(&mk_seen("web", "ready"), None, at(0));
    let before = ScaleTargetStatus {
        held: Some(3),
        ..wanted.clone()
    };
    assert!(differs(&wanted, Some(&before)), "must not stay for ever");
}

#[test]
fn what_an_envoy_does_not_reach_is_told_when_it_lasts() {
    let unreached = |saw: &str, for_ms: u64| {
        let mut seen = mk_seen("web", "ready");
        seen.unreached = vec![mk_unreached(saw, 1), mk_unreached(saw, for_ms)];
        let message = format!("the Envoy edge-1 does not reach it: {saw}");
        seen.conditions = vec![Condition {
            kind: "Unreached",
            message: message.into(),
        }];
        seen
    };
    let calm = of(&mk_seen("web", "ready"), None, at(0));
    let early = unreached("refused", 4_990);
    assert!(
        !differs(&of(&early, Some(&calm), at(4)), Some(&calm)),
        "must not be told of what each wake has"
    );
    assert_eq!(
        changes_in(&early),
        Some(Duration::from_millis(10)),
        "must say when to look again"
    );
    let lasting = unreached("refused", 5_000);
    assert_eq!(changes_in(&lasting), None, "must not have to be looked at again");
    let told = of(&lasting, Some(&calm), at(5));
    assert!(differs(&told, Some(&calm)), "must be told when it lasts");
    let condition = find(&told, "Unreached");
    assert_eq!(condition.status, ConditionStatus::True, "must hold");
    assert!(
        condition.message.ends_with("refused"),
        "must say what was seen: {condition:?}"
    );
    let other = of(&unreached("no endpoint", 6_000), Some(&told), at(6));
    assert!(differs(&other, Some(&told)), "must say what is seen now");
    assert_eq!(
        find(&other, "Unreached").last_transition_time,
        find(&told, "Unreached").last_transition_time,
        "must say since when"
    );
    let over = of(&mk_seen("web", "ready"), Some(&told), at(7));
    assert!(differs(&over, Some(&told)), "must be told when it is over");
}

#[test]
fn conditions_of_others_are_left_alone() {
    let seen = mk_seen("web", "ready");
    let status = of(&seen, None, at(0));
    let mut known = status.clone();
    known.conditions.insert(
        0,
        crd::Condition {
            kind: "Blessed".to_owned(),
            ..find(&status, "Ready").clone()
        },
    );
    assert!(!differs(&status, Some(&known)), "must not be a difference");
}

fn of(seen: &TargetStatus, known: Option<&ScaleTargetStatus>, now: Timestamp) -> ScaleTargetStatus {
    desired(&mk_shown("web"), Some(seen), known, now).unwrap()
}

fn find<'a>(status: &'a ScaleTargetStatus, kind: &str) -> &'a crd::Condition {
    status.conditions.iter().find(|one| one.kind == kind).unwrap()
}
