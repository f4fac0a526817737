//! The Pods of one workload, watched for as long as the value lives: only while it is wanted and not ready.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use super::fact_store::FactStore;
use super::names::Key;
use super::observe::PodFacts;
use super::watches::{Scope, WatchEvent, watch};
use crate::metrics::Metrics;

/// Most workloads whose Pods are watched at once: each takes a connection or a stream of one. The others wait for
/// their turn, and say later why they fail; that they become ready is seen all the same.
const MAX_WATCHES: usize = 64;

/// Opens watches of Pods, a bounded number at once. Clones share the bound.
#[derive(Clone)]
pub struct PodWatches {
    client: Client,
    places: Arc<Semaphore>,
    metrics: Metrics,
}

/// One watch of Pods. Ends when it is dropped.
#[derive(Debug)]
pub struct Pods {
    facts: watch::Receiver<Arc<[PodFacts]>>,
    _task: AbortOnDropHandle<()>,
}

impl PodWatches {
    /// None open yet.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self {
            client,
            places: Arc::new(Semaphore::new(MAX_WATCHES)),
            metrics,
        }
    }

    /// Watches the Pods with labels `selector` in `namespace`.
    pub fn open(&self, namespace: &str, selector: &str) -> Pods {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("pods of {namespace} with {selector}");
        let scope = Scope {
            labels: Some(selector.to_owned()),
        };
        let (places, metrics) = (Arc::clone(&self.places), self.metrics.clone());
        let (told, facts) = watch::channel(Arc::from([]));
        let task = tokio::spawn(async move {
            if places.available_permits() == 0 {
                metrics.bound_hit("pod_watches");
            }
            // Never closed.
            let _place = places.acquire_owned().await;
            let mut store = FactStore::default();
            watch(&what, api, scope, |seen| {
                take(&mut store, seen);
                if store.is_complete() {
                    told.send_replace(store.iter().map(|(_, facts)| facts.clone()).collect());
                }
            })
            .await;
        });
        Pods {
            facts,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

impl Pods {
    /// What is known now; nothing until they have been listed.
    pub fn facts(&mut self) -> Arc<[PodFacts]> {
        Arc::clone(&self.facts.borrow_and_update())
    }

    /// Waits for news.
    pub async fn changed(&mut self) {
        if self.facts.changed().await.is_err() {
            // The task never ends by itself.
            std::future::pending().await
        }
    }
}

fn take(store: &mut FactStore<Key, PodFacts>, seen: WatchEvent<Pod>) {
    match seen {
        WatchEvent::Begin => store.begin(),
        WatchEvent::Apply(pod) => {
            store.apply(Key::of(&pod), PodFacts::reduce(&pod));
        }
        WatchEvent::Delete(pod) => {
            store.delete(&Key::of(&pod));
        }
        WatchEvent::End => {
            store.end();
        }
        WatchEvent::Absent => {
            store.absent();
        }
        WatchEvent::Refused(_) => {}
    }
}
