//! Takes in what watches tell: each object is reduced to its facts, and its subscribers are told.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as slices;
use kube::ResourceExt;
use kube::core::DynamicObject;
use tracing::warn;

use super::{Index, Object, Service, State, Workloads};
use crate::crd;
use crate::discovery::facts::{Grant, Route, RouteKind, ServiceFacts};
use crate::fact_store::FactStore;
use crate::failure::{self, Failure};
use crate::names::{Key, Kind};
use crate::observe::{ReplicasAt, Slice, Workload};
use crate::resource::Scalable;
use crate::watches::WatchEvent;
use fleet::lifecycle::FailureClass;

/// What one event changed in a store.
struct Change<K> {
    /// Whose facts changed.
    keys: Vec<K>,
    /// Everything was read for the first time.
    completed: bool,
}

impl<K> Change<K> {
    fn is_news(&self) -> bool {
        self.completed || !self.keys.is_empty()
    }
}

impl Index {
    /// Documents.
    pub fn targets(&self, seen: WatchEvent<crd::ScaleTarget>) {
        let mut state = self.lock();
        let store = &mut state.targets;
        let change = match seen {
            WatchEvent::Apply(object) => {
                let id = object.id();
                let known = store.find(&id);
                let object = Object::read(&object, known);
                if let Some(reason) = &object.invalid
                    && known.and_then(|known| known.invalid.as_ref()) != Some(reason)
                {
                    warn!(event = "refused", target = %id, "{id}: {reason}: keeping the last good document");
                }
                let news = store.apply(id.clone(), object);
                Change {
                    keys: news.then_some(id).into_iter().collect(),
                    completed: false,
                }
            }
            WatchEvent::Delete(object) => {
                let id = object.id();
                Change {
                    keys: store.delete(&id).then_some(id).into_iter().collect(),
                    completed: false,
                }
            }
            other => frame(store, &other),
        };
        drop(state);
        self.ring_if(change.is_news());
    }

    /// Services.
    pub fn services(&self, seen: &WatchEvent<core::Service>) {
        let mut state = self.lock();
        let change = take(&mut state.services, seen, Service::reduce);
        let followers = change
            .keys
            .iter()
            .flat_map(|key| state.followers.of_service(key))
            .collect();
        state.tell(followers);
        drop(state);
        self.ring_if(change.is_news());
    }

    /// HTTPRoutes and GRPCRoutes.
    pub fn routes(&self, kind: RouteKind, seen: &WatchEvent<DynamicObject>) {
        let mut state = self.lock();
        let store = match kind {
            RouteKind::Http => &mut state.http_routes,
            RouteKind::Grpc => &mut state.grpc_routes,
        };
        let change = take(store, seen, |object| {
            Route::parse(kind, object)
                .map(Arc::new)
                .map_err(|e| e.to_string())
        });
        drop(state);
        self.ring_if(change.is_news());
    }

    /// ReferenceGrants.
    pub fn grants(&self, seen: &WatchEvent<DynamicObject>) {
        let mut state = self.lock();
        let change = take(&mut state.grants, seen, |object| {
            Grant::parse(object).map(Arc::new).map_err(|e| e.to_string())
        });
        drop(state);
        self.ring_if(change.is_news());
    }

    /// EndpointSlices.
    pub fn slices(&self, seen: &WatchEvent<slices::EndpointSlice>) {
        let mut state = self.lock();
        let removed = match seen {
            WatchEvent::Delete(object) => state
                .slices
                .find(&Key::of(object))
                .map(|slice| slice.service.clone()),
            _ => None,
        };
        let before: Vec<(Key, Key)> = match seen {
            // What is gone after a new listing is found in what was there before it.
            WatchEvent::End | WatchEvent::Absent => state.services_of_slices(),
            _ => Vec::new(),
        };
        let change = take(&mut state.slices, seen, |object| Ok(Slice::reduce(object)));
        let mut services = Vec::new();
        for key in &change.keys {
            let known = before
                .iter()
                .find(|(slice, _)| slice == key)
                .map(|(_, service)| service.clone());
            let service = state
                .slices
                .find(key)
                .map(|slice| Key::new(&key.namespace, &slice.service))
                .or(removed.as_ref().map(|service| Key::new(&key.namespace, service)))
                .or(known);
            let Some(service) = service else { continue };
            if state.slices.find(key).is_some() {
                state
                    .slices_of
                    .entry(service.clone())
                    .or_default()
                    .insert(key.clone());
            } else if let Some(keys) = state.slices_of.get_mut(&service) {
                keys.remove(key);
                if keys.is_empty() {
                    state.slices_of.remove(&service);
                }
            }
            services.push(service);
        }
        let followers = services
            .iter()
            .flat_map(|service| state.followers.of_service(service))
            .collect();
        state.tell(followers);
        drop(state);
        self.ring_if(change.completed);
    }

    /// Workloads of one kind.
    pub fn workloads(&self, kind: &Kind, seen: &WatchEvent<DynamicObject>) {
        let mut state = self.lock();
        let workloads = state.kinds.entry(kind.clone()).or_default();
        let was_usable = workloads.unusable.is_none();
        match seen {
            WatchEvent::Absent => {
                let reason = format!("{kind} is not installed in this cluster");
                workloads.unusable = Some(Failure::new(failure::Kind::KindNotScalable, &reason));
            }
            // What has been listed stands. What never was must not keep all else waiting.
            WatchEvent::Refused(why) if !workloads.store.is_complete() => {
                let reason = format!("{kind} may not be read: {why}");
                let failure = Failure::new(failure::Kind::Refused, &reason);
                workloads.unusable = Some(failure.classed(FailureClass::Forbidden));
            }
            // Of a listing that only begins nothing is known yet.
            WatchEvent::Refused(_) | WatchEvent::Begin => {}
            WatchEvent::Apply(_) | WatchEvent::Delete(_) | WatchEvent::End => workloads.unusable = None,
        }
        let turned = was_usable != workloads.unusable.is_none();
        let at = workloads
            .scalable
            .as_ref()
            .map_or(ReplicasAt::Scale, |one| one.replicas_at);
        let change = take(&mut workloads.store, seen, |object| {
            Ok(Workload::reduce(object, at))
        });
        let followers = if change.completed || turned {
            state.followers.of_kind(kind)
        } else {
            change
                .keys
                .iter()
                .flat_map(|key| state.followers.of_workload(kind, key))
                .collect()
        };
        state.tell(followers);
        drop(state);
        self.ring_if(change.completed || turned);
    }

    /// It is known how the workloads of a kind are scaled; they are to be read next.
    pub fn usable(&self, kind: &Kind, scalable: Scalable) {
        let workloads = Workloads {
            scalable: Some(Arc::new(scalable)),
            ..Workloads::default()
        };
        self.lock().kinds.insert(kind.clone(), workloads);
    }

    /// The workloads of a kind cannot be used. Said again, it is no news.
    pub fn unusable(&self, kind: &Kind, failure: Failure) {
        let mut state = self.lock();
        let known = state.kinds.get(kind).and_then(|known| known.unusable.as_ref());
        if known == Some(&failure) {
            return;
        }
        let workloads = Workloads {
            unusable: Some(failure),
            ..Workloads::default()
        };
        state.kinds.insert(kind.clone(), workloads);
        state.tell(state.followers.of_kind(kind));
        drop(state);
        self.ring_if(true);
    }

    /// The workloads of a kind are not watched any more.
    pub fn forget_kind(&self, kind: &Kind) {
        self.lock().kinds.remove(kind);
    }

    fn ring_if(&self, news: bool) {
        if news {
            self.ring();
        }
    }
}

impl State {
    fn services_of_slices(&self) -> Vec<(Key, Key)> {
        let pairs = self.slices_of.iter();
        pairs
            .flat_map(|(service, slices)| slices.iter().map(|slice| (slice.clone(), service.clone())))
            .collect()
    }
}

impl Service {
    fn reduce(object: &core::Service) -> Result<Self, String> {
        let facts = ServiceFacts::try_from(object).map_err(|e| e.to_string())?;
        let ports = object.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        Ok(Self {
            facts: Arc::new(facts),
            ports: ports
                .map(|port| (port.port, port.name.clone().unwrap_or_default()))
                .collect(),
        })
    }
}

/// Takes one event into a store. What cannot be read is said in the log, and what was known of it stays.
fn take<O: ResourceExt, V: PartialEq>(
    store: &mut FactStore<Key, V>,
    seen: &WatchEvent<O>,
    read: impl FnOnce(&O) -> Result<V, String>,
) -> Change<Key> {
    let keys = match seen {
        WatchEvent::Apply(object) => {
            let key = Key::of(object);
            match read(object) {
                Ok(facts) => store.apply(key.clone(), facts).then_some(key),
                Err(reason) => {
                    warn!(event = "refused", object = %key, "{key}: {reason}: keeping what was known");
                    store.keep(key);
                    None
                }
            }
        }
        WatchEvent::Delete(object) => {
            let key = Key::of(object);
            store.delete(&key).then_some(key)
        }
        other => return frame(store, other),
    };
    Change {
        keys: keys.into_iter().collect(),
        completed: false,
    }
}

/// Begin and end of a listing.
fn frame<K: Ord + Clone, V: PartialEq, O>(store: &mut FactStore<K, V>, seen: &WatchEvent<O>) -> Change<K> {
    let before = store.is_complete();
    let keys = match seen {
        WatchEvent::Begin => {
            store.begin();
            Vec::new()
        }
        WatchEvent::End => store.end(),
        WatchEvent::Absent => store.absent(),
        WatchEvent::Apply(_) | WatchEvent::Delete(_) | WatchEvent::Refused(_) => Vec::new(),
    };
    Change {
        keys,
        completed: !before && store.is_complete(),
    }
}
