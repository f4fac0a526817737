//! The subscribers to workloads and Services: one follower for each target that is adopted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};

use protocol::TargetId;
use tokio::sync::watch;

use super::{Facts, Index, Key, Kind};
use fleet::config::{ScaleTarget, Workload};

/// What a target refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refers {
    /// Kind and key of the workload.
    pub(super) workload: Option<(Kind, Key)>,
    /// Key of the Service.
    pub(super) service: Option<Key>,
    /// The port of the Service, if the target names one.
    pub(super) port: Option<u16>,
}

impl Refers {
    pub(super) fn of(spec: &ScaleTarget) -> Self {
        let namespace = &Key::of_target(&spec.id).namespace;
        let workload = match &spec.workload {
            Workload::Object {
                api_version,
                kind,
                name,
            } => Some((Kind::new(api_version, kind), Key::new(namespace, name))),
            Workload::Unnamed | Workload::Process(_) => None,
        };
        let service = spec.service.as_ref();
        Self {
            workload,
            service: service.map(|service| Key::new(namespace, service.name.as_str())),
            port: service
                .and_then(|service| service.port)
                .map(std::num::NonZeroU16::get),
        }
    }
}

/// Hears what is known of what one target refers to, until it is dropped.
#[derive(Debug)]
pub struct Follower {
    pub(super) index: Index,
    pub(super) id: TargetId,
    pub(super) facts: watch::Receiver<Facts>,
}

impl Deref for Follower {
    type Target = watch::Receiver<Facts>;

    fn deref(&self) -> &Self::Target {
        &self.facts
    }
}

impl DerefMut for Follower {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.facts
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.index.unfollow(&self.id, &self.facts);
    }
}

/// All followers, found by what they refer to.
#[derive(Debug, Default)]
pub(super) struct Followers {
    all: BTreeMap<TargetId, (Refers, watch::Sender<Facts>)>,
    by_service: BTreeMap<Key, BTreeSet<TargetId>>,
    by_workload: BTreeMap<(Kind, Key), BTreeSet<TargetId>>,
}

impl Followers {
    /// The channel of `id`, if it follows what `refers` says already.
    pub(super) fn find(&self, id: &TargetId, refers: &Refers) -> Option<watch::Receiver<Facts>> {
        let (known, sender) = self.all.get(id)?;
        (known == refers).then(|| sender.subscribe())
    }

    /// Makes `id` a follower of what `refers` says; `facts` is what is known of that now.
    pub(super) fn add(&mut self, id: &TargetId, refers: Refers, facts: Facts) -> watch::Receiver<Facts> {
        self.remove(id);
        if let Some(service) = &refers.service {
            self.by_service
                .entry(service.clone())
                .or_default()
                .insert(id.clone());
        }
        if let Some(workload) = &refers.workload {
            self.by_workload
                .entry(workload.clone())
                .or_default()
                .insert(id.clone());
        }
        let (sender, receiver) = watch::channel(facts);
        self.all.insert(id.clone(), (refers, sender));
        receiver
    }

    /// Removes the subscription of `id` unless another receiver still uses the channel. Returns whether it was removed: the
    /// reconciler of a leadership that has ended may be dropped after that of the next has begun.
    pub(super) fn leave(&mut self, id: &TargetId, facts: &watch::Receiver<Facts>) -> bool {
        let others = |sender: &watch::Sender<Facts>| sender.receiver_count() > 1;
        let last = self
            .all
            .get(id)
            .is_some_and(|(_, sender)| !others(sender) && sender.subscribe().same_channel(facts));
        if last {
            self.remove(id);
        }
        last
    }

    fn remove(&mut self, id: &TargetId) {
        let Some((refers, _)) = self.all.remove(id) else {
            return;
        };
        if let Some(service) = refers.service {
            disown(&mut self.by_service, &service, id);
        }
        if let Some(workload) = refers.workload {
            disown(&mut self.by_workload, &workload, id);
        }
    }

    /// Kinds that have a subscriber.
    pub(super) fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.by_workload.keys().map(|(kind, _)| kind)
    }

    pub(super) fn of_service(&self, service: &Key) -> Vec<TargetId> {
        self.by_service
            .get(service)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub(super) fn of_workload(&self, kind: &Kind, key: &Key) -> Vec<TargetId> {
        let found = self.by_workload.get(&(kind.clone(), key.clone()));
        found.into_iter().flatten().cloned().collect()
    }

    pub(super) fn of_kind(&self, kind: &Kind) -> Vec<TargetId> {
        let of_kind = self.by_workload.iter().filter(|((one, _), _)| one == kind);
        of_kind.flat_map(|(_, ids)| ids).cloned().collect()
    }

    pub(super) fn refers(&self, id: &TargetId) -> Option<&Refers> {
        self.all.get(id).map(|(refers, _)| refers)
    }

    /// Tells `id` what is known now, if that is news.
    pub(super) fn tell(&self, id: &TargetId, facts: Facts) {
        if let Some((_, sender)) = self.all.get(id) {
            sender.send_if_modified(|known| {
                let news = *known != facts;
                *known = facts;
                news
            });
        }
    }
}

fn disown<K: Ord>(owners: &mut BTreeMap<K, BTreeSet<TargetId>>, key: &K, id: &TargetId) {
    if let Some(ids) = owners.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            owners.remove(key);
        }
    }
}
