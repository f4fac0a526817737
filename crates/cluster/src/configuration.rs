//! Turns what is in the index into the fleet's configuration: match keys are derived, documents become targets.
//!
//! Runs in every replica, so that a new leader has it at once and keys that linger do so across a change of leaders.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use protocol::TargetId;
use std::collections::BTreeSet;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::discovery::Discovery;
use super::index::{Facts, Found, Index};
use super::observe::{Known, observed};
use fleet::config::ScaleTarget;
use fleet::lifecycle::Observed;
use fleet::{Condition, Configured};
use fleet_actor::Clock;

/// Changes closer than this are taken together: applying a set of manifests is one change.
const TOGETHER: Duration = Duration::from_millis(20);

/// Type of the condition of a target whose workload is not there or cannot be scaled.
const WORKLOAD_NOT_FOUND: &str = "WorkloadNotFound";

/// All targets with their derived keys, in the order of ids.
pub type Configuration = Vec<(ScaleTarget, Vec<Condition>)>;

/// Derives the configuration anew whenever something that it follows from changes. `None` until everything has been
/// read. Runs until it is dropped.
pub async fn derive(
    index: Index,
    mut discovery: Discovery,
    clock: Clock,
    told: watch::Sender<Option<Arc<Configuration>>>,
) {
    let mut changes = index.changes();
    loop {
        changes.mark_unchanged();
        if index.is_complete() {
            let claims = index.claims();
            let now = clock.now();
            let derived = discovery.update(&claims.input(), now);
            let configuration = index
                .objects()
                .into_iter()
                .filter_map(|object| Some((object.spec?, object.invalid)))
                .map(|(mut spec, invalid)| {
                    let mut conditions: Vec<Condition> = invalid.map(is_invalid).into_iter().collect();
                    if let Some(found) = derived.targets.get(&spec.id) {
                        spec.keys = found.keys.clone();
                        if let Some(authority) = &found.authority {
                            spec.derive_authority(authority.clone());
                        }
                        conditions.extend(found.conditions.iter().cloned());
                    }
                    (spec, conditions)
                })
                .collect();
            // Told even if it is the same: a workload that a new target waited for may have been read.
            told.send_replace(Some(Arc::new(configuration)));
        }
        let expiry = async {
            match discovery.poll_timeout() {
                Some(at) => sleep_until(clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = expiry => {}
        }
        tokio::time::sleep(TOGETHER).await;
    }
}

/// The configuration as a fleet takes it: with what is seen of each workload. A target that is new to the fleet waits
/// until its workload has been read.
pub fn configured(
    index: &Index,
    configuration: &Configuration,
    known: &mut BTreeSet<TargetId>,
) -> Vec<Configured> {
    let all = configuration.iter().filter_map(|(spec, conditions)| {
        let facts = index.facts(spec);
        let seen = see(&facts);
        if seen.is_none() && !known.contains(&spec.id) {
            return None;
        }
        let mut conditions = conditions.clone();
        if let Found::Unusable(failure) = &facts.workload {
            conditions.push(Condition {
                kind: WORKLOAD_NOT_FOUND,
                message: failure.reason.clone().into(),
            });
        }
        Some(Configured {
            spec: spec.clone(),
            seen,
            conditions,
        })
    });
    let all: Vec<_> = all.collect();
    *known = all.iter().map(|one| one.spec.id.clone()).collect();
    all
}

/// What the index alone tells of a workload; `None` if it has not been read.
fn see(facts: &Facts) -> Option<Observed> {
    let (workload, trouble) = match &facts.workload {
        Found::Unread => return None,
        Found::Unusable(failure) => (None, Some(failure)),
        Found::There(workload) => (Some(workload), None),
    };
    let known = Known {
        workload,
        scale: None,
        endpoints: facts.endpoints,
        trouble,
        ours: None,
        command: 0,
    };
    Some(observed(known, [], Timestamp::now(), Duration::MAX).observed)
}

fn is_invalid(reason: String) -> Condition {
    Condition {
        kind: "Invalid",
        message: reason.into(),
    }
}
