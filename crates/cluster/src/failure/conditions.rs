//! Reads from a workload's own conditions why it cannot start.

use kube::core::DynamicObject;
use serde_json::Value;

use super::{Failure, Kind, of_admission};
use fleet::lifecycle::FailureClass;

/// What the conditions of a workload tell: those that a Deployment and a ReplicaSet have, wherever a kind uses them.
/// Conditions from before the last change of its spec do not count.
pub(in super::super) fn of_conditions(object: &DynamicObject) -> Option<Failure> {
    let status = object.data.get("status")?;
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    if observed.is_some_and(|observed| Some(observed) < object.metadata.generation) {
        return None;
    }
    let conditions = || {
        status
            .get("conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let pods = status.get("replicas").and_then(Value::as_u64).unwrap_or(0);
    let no_pods = conditions().filter(|_| pods == 0).find_map(no_pods);
    no_pods.or_else(|| conditions().find_map(deadline))
}

/// Only while there is no Pod at all: with a quota for two of three Pods, two may do.
fn no_pods(condition: &Value) -> Option<Failure> {
    let is = |field, wanted| text(condition, field) == wanted;
    if !is("type", "ReplicaFailure") || !is("status", "True") || is("reason", "FailedDelete") {
        return None;
    }
    let message = text(condition, "message");
    // pods "web-6bcf-x7k2p" is forbidden: exceeded quota: ..
    let why = message
        .split_once(" is forbidden: ")
        .filter(|(pod, _)| pod.starts_with("pods "))
        .map_or(message, |(_, why)| why);
    let failure = Failure::new(Kind::NoPods, &format!("no Pod can be created: {why}"));
    Some(failure.classed(of_admission(message).unwrap_or(FailureClass::ScaleRefused)))
}

fn deadline(condition: &Value) -> Option<Failure> {
    let is = |field, wanted| text(condition, field) == wanted;
    if !is("type", "Progressing") || !is("status", "False") || !is("reason", "ProgressDeadlineExceeded") {
        return None;
    }
    let message = text(condition, "message");
    Some(Failure::new(
        Kind::Deadline,
        &format!("it made no progress within its progress deadline: {message}"),
    ))
}

fn text<'a>(condition: &'a Value, field: &str) -> &'a str {
    condition.get(field).and_then(Value::as_str).unwrap_or_default()
}
