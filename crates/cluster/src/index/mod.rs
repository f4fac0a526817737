//! The cluster as far as it concerns us, in memory: filled by watches, read by discovery and the reconcilers.
//!
//! Never asks the API server for anything. What the facts of one target are is told to its follower; that documents,
//! routes or Services have changed is told on one channel, and the receiver reads anew.

mod apply;
mod facts;
mod followers;
mod object;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::TargetId;
use tokio::sync::watch;

pub use facts::{Facts, Found};
pub use followers::Follower;
use followers::{Followers, Refers};
pub use object::Object;

use super::discovery::Input;
use super::discovery::facts::{Grant, Route, ServiceFacts, Target};
use super::fact_store::FactStore;
use super::failure::{self, Failure};
use super::names::{Key, Kind};
use super::observe::{Slice, Workload, endpoints_of};
use super::resource::Scalable;
use fleet::config::ScaleTarget;

/// All that is watched. Clones share it.
#[derive(Clone, Debug)]
pub struct Index {
    state: Arc<Mutex<State>>,
    /// Raised when documents, routes, Services or the set of kinds changed, or something was read for the first time.
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct State {
    targets: FactStore<TargetId, Object>,
    services: FactStore<Key, Service>,
    http_routes: FactStore<Key, Arc<Route>>,
    grpc_routes: FactStore<Key, Arc<Route>>,
    grants: FactStore<Key, Arc<Grant>>,
    slices: FactStore<Key, Slice>,
    /// Slices by the Service that they belong to.
    slices_of: BTreeMap<Key, BTreeSet<Key>>,
    kinds: BTreeMap<Kind, Workloads>,
    followers: Followers,
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
struct Service {
    facts: Arc<ServiceFacts>,
    /// Names of its ports by number; a port without a name is `""`.
    ports: BTreeMap<i32, String>,
}

/// The workloads of one kind.
#[derive(Debug, Default)]
struct Workloads {
    store: FactStore<Key, Workload>,
    /// How they are scaled, once that is known.
    scalable: Option<Arc<Scalable>>,
    /// Why there are none.
    unusable: Option<Failure>,
}

/// What match keys are derived from, at one moment.
#[derive(Clone, Debug)]
pub struct Claims {
    targets: Vec<Arc<Target>>,
    services: Vec<Arc<ServiceFacts>>,
    routes: Vec<Arc<Route>>,
    grants: Vec<Arc<Grant>>,
}

impl Claims {
    /// As discovery takes it.
    pub fn input(&self) -> Input<'_> {
        Input {
            targets: self.targets.iter().map(Arc::as_ref).collect(),
            services: self.services.iter().map(Arc::as_ref).collect(),
            routes: self.routes.iter().map(Arc::as_ref).collect(),
            grants: self.grants.iter().map(Arc::as_ref).collect(),
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Index {
    /// Fires when what [`Self::claims`], [`Self::kinds`] or [`Self::is_complete`] say may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// True once everything that is watched has been read, and every kind that a target names has been looked for.
    pub fn is_complete(&self) -> bool {
        let state = self.lock();
        state.targets.is_complete()
            && state.services.is_complete()
            && state.http_routes.is_complete()
            && state.grpc_routes.is_complete()
            && state.grants.is_complete()
            && state.slices.is_complete()
            && state.wanted_kinds().iter().all(|kind| {
                let workloads = state.kinds.get(kind);
                workloads.is_some_and(|one| one.unusable.is_some() || one.store.is_complete())
            })
    }

    /// Kinds that targets name, those of targets that were removed and not yet let go included.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        self.lock().wanted_kinds()
    }

    /// All documents, those that cannot be used included.
    pub fn objects(&self) -> Vec<Object> {
        self.lock()
            .targets
            .iter()
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The document of one target.
    pub fn object(&self, id: &TargetId) -> Option<Object> {
        self.lock().targets.find(id).cloned()
    }

    /// Documents that cannot be used, and why.
    pub fn invalid(&self) -> BTreeMap<TargetId, String> {
        let state = self.lock();
        let invalid = |object: &Object| Some((object.id.clone(), object.invalid.clone()?));
        state
            .targets
            .iter()
            .filter_map(|(_, object)| invalid(object))
            .collect()
    }

    /// What match keys are derived from.
    pub fn claims(&self) -> Claims {
        let state = self.lock();
        let routes = state.http_routes.iter().chain(state.grpc_routes.iter());
        Claims {
            targets: state
                .targets
                .iter()
                .filter_map(|(_, object)| object.target.clone())
                .collect(),
            services: state
                .services
                .iter()
                .map(|(_, one)| Arc::clone(&one.facts))
                .collect(),
            routes: routes.map(|(_, one)| Arc::clone(one)).collect(),
            grants: state.grants.iter().map(|(_, one)| Arc::clone(one)).collect(),
        }
    }

    /// What is known of what `spec` refers to.
    pub fn facts(&self, spec: &ScaleTarget) -> Facts {
        self.lock().facts(&Refers::of(spec))
    }

    /// Tells what is known of what `spec` refers to, now and as it changes.
    pub fn follow(&self, spec: &ScaleTarget) -> Follower {
        let refers = Refers::of(spec);
        let mut state = self.lock();
        let known = state.followers.find(&spec.id, &refers);
        let is_new = known.is_none();
        let facts = known.unwrap_or_else(|| {
            let facts = state.facts(&refers);
            state.followers.add(&spec.id, refers, facts)
        });
        drop(state);
        if is_new {
            self.ring();
        }
        Follower {
            index: self.clone(),
            id: spec.id.clone(),
            facts,
        }
    }

    fn unfollow(&self, id: &TargetId, facts: &watch::Receiver<Facts>) {
        let left = self.lock().followers.leave(id, facts);
        if left {
            self.ring();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the facts are facts all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.changed.send_modify(|n| *n += 1);
    }
}

impl State {
    fn wanted_kinds(&self) -> BTreeSet<Kind> {
        let named = self.targets.iter().filter_map(|(_, object)| object.kind());
        named.chain(self.followers.kinds().cloned()).collect()
    }

    fn facts(&self, refers: &Refers) -> Facts {
        let (scalable, workload) = self.workload(refers);
        let service = refers.service.as_ref();
        let port = service
            .and_then(|key| self.services.find(key))
            .zip(refers.port)
            .and_then(|(service, port)| service.ports.get(&i32::from(port)))
            .map(String::as_str);
        let slices = service
            .and_then(|key| self.slices_of.get(key))
            .into_iter()
            .flatten();
        let slices = slices.filter_map(|key| self.slices.find(key));
        Facts {
            scalable,
            workload,
            endpoints: endpoints_of(slices, port),
        }
    }

    fn workload(&self, refers: &Refers) -> (Option<Arc<Scalable>>, Found) {
        let Some((kind, key)) = &refers.workload else {
            return (None, Found::Unusable(not_found("the target names no workload")));
        };
        let Some(workloads) = self.kinds.get(kind) else {
            return (None, Found::Unread);
        };
        let found = match (&workloads.unusable, workloads.store.find(key)) {
            (Some(failure), _) => Found::Unusable(failure.clone()),
            (None, Some(workload)) => Found::There(workload.clone()),
            (None, None) if workloads.store.is_complete() => Found::Unusable(not_found(&format!(
                "there is no {} {:?} in {:?}",
                kind.kind, key.name, key.namespace
            ))),
            (None, None) => Found::Unread,
        };
        (workloads.scalable.clone(), found)
    }

    fn tell(&self, ids: Vec<TargetId>) {
        for id in ids {
            if let Some(refers) = self.followers.refers(&id) {
                self.followers.tell(&id, self.facts(refers));
            }
        }
    }
}

fn not_found(reason: &str) -> Failure {
    Failure::new(failure::Kind::WorkloadNotFound, reason)
}
