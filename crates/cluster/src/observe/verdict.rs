//! Whether a workload can start, judged by its own conditions and by those of its Pods together.
//!
//! A Pod that is terminating, has finished, or was made from another template than the newest one, does not count.
//! While one Pod that counts may still come up, those that cannot do not make the workload fail.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{PodFacts, Workload};
use crate::failure::Failure;

/// What is to be said at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why it cannot start, if it cannot.
    pub failure: Option<Failure>,
    /// When to look again although nothing has changed.
    pub look_again: Option<Timestamp>,
}

/// Why `workload` with these Pods cannot start, at `now` by the wall clock. `grace`: how long a Pod may be
/// unschedulable before that counts, since the moment that its condition names.
pub(super) fn of_workload(
    workload: &Workload,
    pods: &[&PodFacts],
    now: Timestamp,
    grace: Duration,
) -> Verdict {
    let pods = of_pods(pods, now, grace);
    let own = workload.failure.clone();
    Verdict {
        failure: own.into_iter().chain(pods.failure).min_by_key(|found| found.kind),
        look_again: pods.look_again,
    }
}

fn of_pods(pods: &[&PodFacts], now: Timestamp, grace: Duration) -> Verdict {
    let live = || pods.iter().filter(|pod| !pod.terminating && !pod.finished);
    let newest = live()
        .max_by_key(|pod| (pod.created, &pod.name))
        .map(|pod| &pod.template);
    let mut failures = Vec::new();
    let mut look_again = None;
    let mut one_may_come_up = false;
    for pod in live().filter(|pod| Some(&pod.template) == newest) {
        match verdict_of(pod, now, grace) {
            Verdict {
                failure: Some(failure),
                ..
            } => failures.push((failure.kind, &pod.name, failure)),
            Verdict {
                look_again: Some(at), ..
            } => {
                one_may_come_up = true;
                look_again = Some(look_again.map_or(at, |other: Timestamp| other.min(at)));
            }
            Verdict { .. } => one_may_come_up = true,
        }
    }
    let first = failures
        .into_iter()
        .min_by(|(kind, name, _), (other_kind, other_name, _)| (kind, name).cmp(&(other_kind, other_name)));
    Verdict {
        failure: first.filter(|_| !one_may_come_up).map(|(_, _, failure)| failure),
        look_again,
    }
}

fn verdict_of(pod: &PodFacts, now: Timestamp, grace: Duration) -> Verdict {
    let failed = |failure: &Failure| Verdict {
        failure: Some(failure.clone()),
        look_again: None,
    };
    match (&pod.failure, &pod.unscheduled) {
        (Some(failure), _) => failed(failure),
        (None, Some(unscheduled)) => {
            let since = unscheduled.since.or(pod.created).unwrap_or(now);
            // A grace that overflows never ends.
            let end = since.checked_add(grace).unwrap_or(Timestamp::MAX);
            if now >= end {
                failed(&unscheduled.failure)
            } else {
                Verdict {
                    failure: None,
                    look_again: Some(end),
                }
            }
        }
        (None, None) => Verdict::default(),
    }
}

#[cfg(test)]
mod tests;
