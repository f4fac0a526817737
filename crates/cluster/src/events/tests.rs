//! Which Events the owner of a target reads, and how many.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::TargetId;

use super::limits::Limits;
use super::told::{History, Told};
use fleet::lifecycle::{Failure, FailureClass, Reason, Refusal};
use fleet::time::Time;
use fleet::{FleetEvent, WokenBy};

#[test]
fn a_wake_tells_by_whom_and_how_long_it_took() {
    let mut history = History::default();
    let waking = mk_move("asleep", "waking", Reason::Asked);
    assert_eq!(history.told(waking), None, "must wait for the end");
    let ready = mk_woken(Duration::from_millis(1234), WokenBy::Person);
    check(
        history.told(ready),
        "Woken",
        "woken by a person, ready after 1.23 s",
    );
}

#[test]
fn a_sleep_tells_why_it_began() {
    for (why, text) in [
        (
            Reason::Idle,
            "no request has used it for its idle time; requests are held from now on",
        ),
        (
            Reason::Asked,
            "a person asked for it; requests are held from now on",
        ),
    ] {
        let mut history = History::default();
        history.told(mk_move("ready", "draining", why));
        history.told(mk_move("draining", "stopping", Reason::Confirmed));
        let told = history.told(mk_move("stopping", "asleep", Reason::Gone));
        check(told, "PutToSleep", text);
    }
}

#[test]
fn what_others_put_to_sleep_is_told_as_theirs() {
    let mut history = History::default();
    history.told(mk_move("ready", "stopping", Reason::SetByOthers));
    check(
        history.told(mk_move("stopping", "asleep", Reason::Gone)),
        "PutToSleep",
        "another manager has set its replicas to zero; requests are held from now on",
    );
}

#[test]
fn a_drain_that_is_given_up_tells_why() {
    let mut history = History::default();
    history.told(mk_move("ready", "draining", Reason::Idle));
    check(
        history.told(mk_move("draining", "ready", Reason::Unconfirmed)),
        "DrainGivenUp",
        "not put to sleep: not every proxy confirmed in time that it holds",
    );
}

#[test]
fn a_refusal_and_a_failure_tell_why() {
    let mut history = History::default();
    let refused = FleetEvent::Refused {
        target: web(),
        refusal: Refusal::Silent,
    };
    check(
        history.told(refused),
        "Refused",
        "what was asked is refused: a proxy has gone silent and may still be passing requests",
    );
    let failed = mk_failed("ImagePullBackOff: no such image");
    let told = history.told(failed);
    assert!(
        told.as_ref().is_some_and(|told| told.warning),
        "must be a warning"
    );
    check(told, "Failed", "ImagePullBackOff: no such image");
}

#[test]
fn who_keeps_undoing_wakes_is_named() {
    let contended = FleetEvent::Contended {
        target: web(),
        by: Some("keda".to_owned()),
        times: 3,
        wait: Duration::from_secs(8),
    };
    check(
        History::default().told(contended),
        "Contended",
        "keda has undone 3 wakes in a row: the next start waits 8.00 s",
    );
}

#[test]
fn a_document_that_cannot_be_used_is_told_once() {
    let mut history = History::default();
    let invalid = |why: &str| BTreeMap::from([(web(), why.to_owned())]);
    let told = history.invalid(invalid("spec.idle: is wrong"));
    check(told.into_iter().next(), "Invalid", "spec.idle: is wrong");
    assert_eq!(
        history.invalid(invalid("spec.idle: is wrong")),
        [],
        "must not be repeated"
    );
    assert_eq!(
        history.invalid(invalid("spec.hold: is wrong")).len(),
        1,
        "must be told anew"
    );
    assert_eq!(
        history.invalid(BTreeMap::new()),
        [],
        "must not be told when it is over"
    );
}

#[test]
fn a_text_is_bounded() {
    let failed = mk_failed(&"ü".repeat(2000));
    let text = History::default().told(failed).unwrap().text;
    assert!(
        text.len() <= 1024 && text.ends_with("ü..."),
        "must be cut at a character: {}",
        text.len()
    );
}

#[test]
fn one_target_is_limited_and_recovers() {
    let mut limits = Limits::default();
    let mut now = Time::default();
    let written = (0..100).filter(|_| limits.take(&web(), now)).count();
    assert_eq!(written, 25, "must be limited");
    assert!(
        limits.take(&TargetId::new("shop/api"), now),
        "must not count against another"
    );
    now = now + Duration::from_secs(300);
    let written = (0..100).filter(|_| limits.take(&web(), now)).count();
    assert_eq!(written, 1, "must have one more after five minutes");
}

#[test]
fn all_targets_together_are_limited() {
    let mut limits = Limits::default();
    let now = Time::default();
    let ids = || (0..1000).map(|n| TargetId::new(format!("shop/t{n}")));
    let written = ids().filter(|id| limits.take(id, now)).count();
    assert_eq!(written, 100, "must be limited");
    let later = now + Duration::from_secs(1);
    let written = ids().filter(|id| limits.take(id, later)).count();
    assert_eq!(written, 10, "must go on ten a second");
}

fn web() -> TargetId {
    TargetId::new("shop/web")
}

fn mk_move(from: &'static str, to: &'static str, why: Reason) -> FleetEvent {
    mk_end(from, to, why, None, None)
}

fn mk_woken(took: Duration, by: WokenBy) -> FleetEvent {
    mk_end("waking", "ready", Reason::Endpoints, Some((took, by)), None)
}

fn mk_failed(reason: &str) -> FleetEvent {
    mk_end(
        "waking",
        "failed",
        Reason::CannotStart,
        None,
        Some(reason.to_owned()),
    )
}

fn mk_end(
    from: &'static str,
    to: &'static str,
    why: Reason,
    woken: Option<(Duration, WokenBy)>,
    reason: Option<String>,
) -> FleetEvent {
    let (woke_in, by) = woken.unzip();
    FleetEvent::Moved {
        target: web(),
        from,
        to,
        why,
        after: Duration::ZERO,
        woke_in,
        by,
        failure: reason.map(|reason| Failure::new(FailureClass::Other, reason)),
    }
}

fn check(told: Option<Told>, reason: &str, text: &str) {
    let told = told.expect("must be told");
    assert_eq!(
        (told.reason, told.text.as_str()),
        (reason, text),
        "must say what happened"
    );
    assert_eq!(told.target, web(), "must be about its target");
}
