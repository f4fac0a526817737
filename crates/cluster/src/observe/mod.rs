//! Reduces objects of the API to the few facts that a life is judged by. Pure: does no I/O, and knows no clock.

mod endpoints;
mod pods;
mod verdict;
mod version;
mod workload;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

pub use endpoints::{Endpoint, Endpoints, Slice, endpoints_of};
pub use pods::PodFacts;
pub use version::Version;
pub use workload::{ReplicasAt, Workload};

use super::failure::Failure;
use fleet::lifecycle::Observed;
use verdict::Verdict;

/// The field manager of every write of ours.
pub const MANAGER: &str = "holdfast";

/// What is known of one target's workload.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The object; `None`: there is none.
    pub workload: Option<&'a Workload>,
    /// What its scale subresource said, for kinds whose object does not tell ([`Workload::replicas`] is `None`).
    pub scale: Option<u32>,
    /// Of its Service.
    pub endpoints: Endpoints,
    /// Why it cannot even be read or written, if so.
    pub trouble: Option<&'a Failure>,
    /// Replicas that we last wrote: while the workload has them, no other is said to have set them. API servers
    /// before 1.22 do not note which manager wrote through the scale subresource.
    pub ours: Option<u32>,
    /// Number of the last command carried out.
    pub command: u64,
}

/// What a life is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// For the life.
    pub observed: Observed,
    /// Why it cannot start, as in `observed`, with what kind of failure it is.
    pub failure: Option<Failure>,
    /// When it may look different although nothing changes: a grace time ends.
    pub look_again: Option<Timestamp>,
}

/// What is to be said of a workload whose Pods are `pods`, at `now` by the wall clock. `grace`: how long a Pod may be
/// unschedulable before that counts as a failure.
pub fn observed<'a>(
    known: Known<'_>,
    pods: impl IntoIterator<Item = &'a PodFacts>,
    now: Timestamp,
    grace: Duration,
) -> Seen {
    let replicas = known.workload.map_or(0, |workload| {
        // Until the scale has been read, what is ready must have been wanted.
        let told = workload.replicas.or(known.scale);
        told.unwrap_or(known.endpoints.ready)
    });
    let pods: Vec<_> = pods.into_iter().collect();
    // A Pod whose endpoint is gone may still be on its way out.
    let there = pods.iter().filter(|pod| !pod.finished).count();
    let left = known.endpoints.left.max(u32::try_from(there).unwrap_or(u32::MAX));
    let verdict = match known.workload {
        // At zero nothing is meant to start.
        Some(workload) if replicas > 0 => verdict::of_workload(workload, &pods, now, grace),
        _ => Verdict::default(),
    };
    let failure = known.trouble.cloned().or(verdict.failure);
    let set_by = known
        .workload
        .filter(|_| known.ours != Some(replicas))
        .and_then(|workload| workload.set_by.clone());
    Seen {
        observed: Observed {
            command: known.command,
            replicas,
            ready: known.endpoints.ready,
            left,
            absent: known.workload.is_none(),
            finished: false,
            failure: failure.as_ref().map(Failure::for_life),
            set_by,
        },
        failure,
        look_again: verdict.look_again,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::failure::Kind;

    #[test]
    fn tells_what_the_object_says() {
        let seen = look(&mk_workload(&json!({"replicas": 3})), |known| known.command = 4);
        assert_eq!(seen.replicas, 3, "must tell the replicas wanted");
        assert_eq!((seen.ready, seen.left), (1, 2), "must tell the endpoints");
        assert_eq!(seen.command, 4, "must tell the command");
        assert_eq!(seen.set_by.as_deref(), Some("hpa"), "must tell who set them");
    }

    #[test]
    fn where_the_object_does_not_tell_the_scale_does() {
        let mut workload = mk_workload(&json!({}));
        workload.replicas = None;
        let seen = look(&workload, |known| known.scale = Some(2));
        assert_eq!(seen.replicas, 2, "must take the scale's word");
        assert_eq!(
            look(&workload, |_| {}).replicas,
            1,
            "must not call what is ready unwanted while its scale has not been read"
        );
    }

    #[test]
    fn no_other_manager_set_what_we_wrote() {
        let seen = look(&mk_workload(&json!({"replicas": 1})), |known| {
            known.ours = Some(1)
        });
        assert_eq!(
            seen.set_by, None,
            "must not name another manager for what is ours"
        );
        let seen = look(&mk_workload(&json!({"replicas": 0})), |known| {
            known.ours = Some(1)
        });
        assert_eq!(seen.set_by.as_deref(), Some("hpa"), "must name who undid it");
    }

    #[test]
    fn what_is_at_zero_does_not_fail_to_start() {
        let mut workload = mk_workload(&json!({"replicas": 0}));
        workload.failure = Some(Failure::new(Kind::Deadline, "late"));
        assert_eq!(look(&workload, |_| {}).failure, None, "must not fail at zero");
        workload.replicas = Some(1);
        assert_eq!(
            reason(look(&workload, |_| {})),
            Some("late".to_owned()),
            "must fail above zero"
        );
        let trouble = Failure::new(Kind::Refused, "forbidden");
        workload.replicas = Some(0);
        let seen = look(&workload, |known| known.trouble = Some(&trouble));
        assert_eq!(
            reason(seen),
            Some("forbidden".to_owned()),
            "must fail if it cannot be written"
        );
    }

    #[test]
    fn nothing_there_is_nothing_wanted() {
        let gone = Failure::new(Kind::WorkloadNotFound, "there is no Deployment shop/web");
        let known = Known {
            workload: None,
            trouble: Some(&gone),
            ..mk_known(None)
        };
        let seen = observed(known, [], Timestamp::UNIX_EPOCH, Duration::ZERO).observed;
        assert!(seen.absent, "must be absent");
        assert_eq!(seen.replicas, 0, "must want nothing");
        assert_eq!(seen.failure, Some(gone.for_life()), "must say that it is missing");
    }

    #[test]
    fn a_pod_on_its_way_out_is_left() {
        let pod = |phase: &str| {
            let pod = json!({"metadata": {"name": "p", "uid": phase}, "status": {"phase": phase}});
            PodFacts::reduce(&serde_json::from_value(pod).unwrap())
        };
        let pods = [
            pod("Running"),
            pod("Pending"),
            pod("Unknown"),
            pod("Failed"),
            pod("Succeeded"),
        ];
        let workload = mk_workload(&json!({"replicas": 0}));
        let seen = observed(
            mk_known(Some(&workload)),
            &pods,
            Timestamp::UNIX_EPOCH,
            Duration::ZERO,
        );
        assert_eq!(seen.observed.left, 3, "must count Pods that have not ended");
    }

    fn reason(seen: Observed) -> Option<String> {
        seen.failure.map(|failure| failure.reason)
    }

    fn look<'a>(workload: &'a Workload, change: impl FnOnce(&mut Known<'a>)) -> Observed {
        let mut known = mk_known(Some(workload));
        change(&mut known);
        observed(known, [], Timestamp::UNIX_EPOCH, Duration::ZERO).observed
    }

    fn mk_known(workload: Option<&Workload>) -> Known<'_> {
        Known {
            workload,
            scale: None,
            endpoints: Endpoints { ready: 1, left: 2 },
            trouble: None,
            ours: None,
            command: 0,
        }
    }

    fn mk_workload(spec: &Value) -> Workload {
        let entry = json!({"manager": "hpa", "subresource": "scale"});
        let object = json!({"metadata": {"name": "web", "uid": "u", "managedFields": [entry]}, "spec": spec});
        Workload::reduce(&serde_json::from_value(object).unwrap(), ReplicasAt::Spec)
    }
}
