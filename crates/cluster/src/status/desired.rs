//! What a status should be. Pure: the same facts over the same known status give the same status again.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::temporal::DateTimePrinter;

use super::ShownTarget;
use crate::crd::{Condition, ConditionStatus, LastWake, MAX_KEYS, ScaleTargetStatus};
use fleet::TargetStatus;
use fleet::line::one_line;

/// Longest message taken over, in bytes: what others say of their failures must not fill an object.
const MAX_MESSAGE: usize = 1024;

/// A condition of the fleet that no object can have: it stands for one that is gone.
const RETIRING: &str = "Retiring";

/// The condition of a target that some Envoy does not reach.
const UNREACHED: &str = "Unreached";

/// For how long it must not have been reached, in ms: with each wake some Envoy learns of the endpoints a moment late.
const UNREACHED_FOR: u64 = 5_000;

/// What should be shown of `target`. `seen` is what the fleet knows of it, `known` the status that it has. `None`:
/// nothing is known yet, so nothing is to be said.
pub(super) fn desired(
    target: &ShownTarget,
    seen: Option<&TargetStatus>,
    known: Option<&ScaleTargetStatus>,
    now: Timestamp,
) -> Option<ScaleTargetStatus> {
    let verdict = match (seen, &target.invalid) {
        (Some(seen), _) => verdict(seen),
        (None, Some(reason)) => Verdict::invalid(reason),
        (None, None) => return None,
    };
    let mut status = ScaleTargetStatus {
        observed_generation: Some(target.generation),
        state: Some(verdict.state.clone()),
        last_wake: known.and_then(|known| known.last_wake.clone()),
        last_reason: known.and_then(|known| known.last_reason.clone()),
        ..ScaleTargetStatus::default()
    };
    if let Some(seen) = seen {
        tell_numbers(&mut status, seen);
        tell_keys(&mut status, seen);
        if let Some(wake) = last_wake(seen) {
            status.last_wake = Some(wake);
        }
        if let Some(reason) = seen.reason.as_deref().and_then(text) {
            status.last_reason = Some(reason);
        }
    }
    let others = seen.into_iter().flat_map(|seen| &seen.conditions);
    let mut conditions = vec![verdict.condition()];
    let is_told = |one: &&fleet::Condition| match one.kind {
        RETIRING => false,
        UNREACHED => seen.is_some_and(lasts),
        _ => true,
    };
    conditions.extend(others.filter(is_told).map(holds));
    if seen.is_none() {
        conditions.extend(target.invalid.iter().map(|reason| is_invalid(reason)));
    }
    conditions.sort_by(|a, b| a.kind.cmp(&b.kind));
    conditions.dedup_by(|a, b| a.kind == b.kind);
    for condition in &mut conditions {
        condition.observed_generation = Some(target.generation);
        condition.last_transition_time = since(condition, known, now);
    }
    status.conditions = conditions;
    Some(status)
}

/// True if `desired` is not what is `known` to be there. Conditions of others are none of our business.
pub(super) fn differs(desired: &ScaleTargetStatus, known: Option<&ScaleTargetStatus>) -> bool {
    let Some(known) = known else { return true };
    let mut known = known.clone();
    known.conditions.retain(|condition| is_ours(&condition.kind));
    known.conditions.sort_by(|a, b| a.kind.cmp(&b.kind));
    known != *desired
}

/// After how long a status of `seen` is another although nothing else happens: some Envoy has not reached it for long enough then.
pub(super) fn changes_in(seen: &TargetStatus) -> Option<Duration> {
    let longest = seen.unreached.iter().map(|one| one.for_ms).max()?;
    let left = UNREACHED_FOR.checked_sub(longest).filter(|left| *left > 0)?;
    Some(Duration::from_millis(left))
}

/// State, and what `Ready` says of it.
struct Verdict {
    state: String,
    ready: ConditionStatus,
    message: String,
}

impl Verdict {
    fn invalid(reason: &str) -> Self {
        Self {
            state: "Invalid".to_owned(),
            ready: ConditionStatus::False,
            message: format!("its spec cannot be used: {}", text(reason).unwrap_or_default()),
        }
    }

    fn condition(&self) -> Condition {
        Condition {
            kind: "Ready".to_owned(),
            status: self.ready,
            observed_generation: None,
            last_transition_time: String::new(),
            reason: self.state.clone(),
            message: self.message.clone(),
        }
    }
}

fn verdict(seen: &TargetStatus) -> Verdict {
    let (ready, message) = match seen.state {
        "ready" => (ConditionStatus::True, "requests pass"),
        "suspended" => (
            ConditionStatus::True,
            "suspended: requests pass, and the workload is left alone",
        ),
        "asleep" => (
            ConditionStatus::False,
            "it sleeps: the next request is held, and wakes it",
        ),
        "waking" => (
            ConditionStatus::False,
            "it is on its way up: requests are held until an endpoint is ready",
        ),
        "draining" => (
            ConditionStatus::False,
            "no request has used it: the proxies are asked to confirm that before it is put to sleep",
        ),
        "stopping" => (
            ConditionStatus::False,
            "it is on its way to zero: requests are held, and wake it again",
        ),
        _ => (
            ConditionStatus::False,
            seen.reason.as_deref().unwrap_or("it cannot start"),
        ),
    };
    Verdict {
        state: capitalized(seen.state),
        ready,
        message: text(message).unwrap_or_else(|| "it cannot start".to_owned()),
    }
}

fn tell_numbers(status: &mut ScaleTargetStatus, seen: &TargetStatus) {
    status.replicas = Some(i32::try_from(seen.replicas).unwrap_or(i32::MAX));
    status.ready_endpoints = Some(i32::try_from(seen.ready_endpoints).unwrap_or(i32::MAX));
}

fn tell_keys(status: &mut ScaleTargetStatus, seen: &TargetStatus) {
    let first = |keys: &[String]| keys.iter().take(MAX_KEYS).cloned().collect();
    status.hosts = first(&seen.hosts);
    status.clusters = first(&seen.clusters);
    let rest = [&seen.hosts, &seen.clusters].map(|keys| keys.len().saturating_sub(MAX_KEYS));
    let rest: usize = rest.iter().sum();
    status.keys_not_shown = i32::try_from(rest).ok().filter(|rest| *rest > 0);
}

fn last_wake(seen: &TargetStatus) -> Option<LastWake> {
    let wake = seen.last_wake.as_ref()?;
    Some(LastWake {
        time: rfc3339(Timestamp::from_millisecond(i64::try_from(wake.unix_ms).ok()?).ok()?),
        duration: wake
            .duration_ms
            .map(|took| format!("{}.{:03}s", took / 1000, took % 1000)),
        by: text(&wake.by.to_string())?,
    })
}

/// True if some Envoy has not reached it for long enough to be told.
fn lasts(seen: &TargetStatus) -> bool {
    seen.unreached.iter().any(|one| one.for_ms >= UNREACHED_FOR)
}

fn holds(condition: &fleet::Condition) -> Condition {
    mk_holds(condition.kind, &condition.message)
}

fn is_invalid(reason: &str) -> Condition {
    mk_holds("Invalid", reason)
}

fn mk_holds(kind: &str, message: &str) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: ConditionStatus::True,
        observed_generation: None,
        last_transition_time: String::new(),
        reason: kind.to_owned(),
        message: text(message).unwrap_or_else(|| kind.to_owned()),
    }
}

/// Since when the condition's status is what it is: carried over while it does not change.
fn since(condition: &Condition, known: Option<&ScaleTargetStatus>, now: Timestamp) -> String {
    let before = known
        .into_iter()
        .flat_map(|known| &known.conditions)
        .find(|before| before.kind == condition.kind && before.status == condition.status);
    before.map_or_else(|| rfc3339(now), |before| before.last_transition_time.clone())
}

fn is_ours(kind: &str) -> bool {
    crate::crd::CONDITIONS.iter().any(|(ours, _)| *ours == kind)
}

/// One bounded line, and never empty: an old API server takes an empty text for null, and refuses it.
fn text(text: &str) -> Option<String> {
    Some(one_line(text, MAX_MESSAGE)).filter(|text| !text.is_empty())
}

fn capitalized(state: &str) -> String {
    let mut letters = state.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// As Kubernetes writes times: whole seconds, UTC.
fn rfc3339(time: Timestamp) -> String {
    DateTimePrinter::new()
        .precision(Some(0))
        .timestamp_to_string(&time)
}
