//! The replicas of every Deployment as they were set, one after the other: from a watch, which leaves nothing out.
//!
//! The audit log has no body of an update of `apps/v1` scales (the API server of 1.20 cannot write it down).

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt as _};

use super::Cluster;
use super::task::Task;
use super::watching::watching;
use harness::unix_ms;

/// Replicas were set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// When it was seen, on the clock of the audit log.
    pub unix_ms: u64,
    /// Namespace of the Deployment.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What they were set to.
    pub replicas: i32,
}

/// All changes of replicas since its start. It stops with its handle.
pub struct Scales {
    seen: Arc<Mutex<Vec<Scaled>>>,
    _task: Task,
}

impl Scales {
    /// Begins with the replicas that are set now.
    pub async fn start(cluster: &Cluster) -> Self {
        let api = Api::<Deployment>::all(cluster.client_as("e2e-mesh").await);
        let seen = Arc::default();
        let task = Task::spawn(follow(api, Arc::clone(&seen)));
        Self { seen, _task: task }
    }

    /// What the replicas of one Deployment were set to, oldest first.
    pub fn of(&self, namespace: &str, name: &str) -> Vec<Scaled> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = |one: &&Scaled| one.namespace == namespace && one.name == name;
        seen.iter().filter(of_it).cloned().collect()
    }
}

async fn follow(api: Api<Deployment>, seen: Arc<Mutex<Vec<Scaled>>>) {
    let mut events = watching(api, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(deployment) | Event::InitApply(deployment)) = event else {
            continue;
        };
        let scaled = Scaled {
            unix_ms: unix_ms(),
            namespace: deployment.namespace().unwrap_or_default(),
            name: deployment.name_any(),
            replicas: deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1),
        };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen
            .iter()
            .rfind(|one| one.namespace == scaled.namespace && one.name == scaled.name);
        if before.is_none_or(|before| before.replicas != scaled.replicas) {
            seen.push(scaled);
        }
    }
}
