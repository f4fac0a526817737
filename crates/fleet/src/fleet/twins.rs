//! Targets that share a match key for a while, because derived keys shift: what one of them is asked for, the others
//! are asked for as well, for it is not known where its requests end up. So all are woken and none is put to sleep.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::TargetId;

use super::{Entry, Fleet};
use crate::lifecycle::{Event, Facts};
use crate::time::Time;

/// Targets that share a key, by target. Empty as a rule: keys have one claimant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Twins {
    of: BTreeMap<TargetId, BTreeSet<TargetId>>,
}

impl Twins {
    /// Looks at every key once.
    fn find(targets: &BTreeMap<TargetId, Entry>) -> Self {
        let mut first: HashMap<(bool, &str), &TargetId> = HashMap::new();
        let mut shared: BTreeMap<(bool, &str), BTreeSet<&TargetId>> = BTreeMap::new();
        for (id, entry) in targets {
            let hosts = entry.keys.hosts.iter().map(|key| (true, key.as_str()));
            let clusters = entry.keys.clusters.iter().map(|key| (false, key.as_str()));
            for key in hosts.chain(clusters) {
                match first.entry(key) {
                    Place::Vacant(place) => drop(place.insert(id)),
                    Place::Occupied(place) => shared.entry(key).or_default().extend([*place.get(), id]),
                }
            }
        }
        let mut twins = Self::default();
        for claimants in shared.values() {
            for id in claimants {
                let others = claimants.iter().filter(|other| *other != id);
                let of = twins.of.entry((*id).clone()).or_default();
                of.extend(others.map(|other| (*other).clone()));
            }
        }
        twins
    }

    /// Targets that share a key with `id`.
    pub(super) fn of(&self, id: &TargetId) -> impl Iterator<Item = &TargetId> {
        self.of.get(id).into_iter().flatten()
    }

    /// Those whose twins are others than in `before`.
    fn changed<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a TargetId> {
        let ids: BTreeSet<_> = self.of.keys().chain(before.of.keys()).collect();
        ids.into_iter()
            .filter(|id| self.of.get(*id) != before.of.get(*id))
    }
}

impl Fleet {
    /// Keys have come, gone or changed: finds out which targets share them now, and ticks those for which that is new.
    pub(super) fn find_twins(&mut self, events: &mut Vec<(TargetId, Event)>) {
        let twins = Twins::find(&self.targets);
        let changed = twins.changed(&self.twins);
        events.extend(changed.map(|id| (id.clone(), Event::Tick)));
        self.twins = twins;
    }

    /// What the life of `id` is judged by.
    pub(super) fn facts(&self, id: &TargetId, now: Time) -> Option<Facts> {
        let entry = self.targets.get(id)?;
        let mut facts = entry.facts(id, &self.proxies, &self.settings, now);
        for twin in self.twins.of(id) {
            let (held, in_flight) = self.proxies.usage(twin);
            facts.held += held;
            facts.in_flight += in_flight;
            if let Some(other) = self.targets.get(twin) {
                facts.last_arrival = facts.last_arrival.max(other.last_arrival);
                facts.last_use = facts.last_use.max(other.last_use);
            }
        }
        Some(facts)
    }

    /// Who shares a key must be who one would find by looking at all keys.
    #[cfg(test)]
    pub(super) fn check_twins(&self) {
        let there = |id: &&TargetId| self.targets.contains_key(*id);
        let found = Twins::find(&self.targets);
        for id in self.targets.keys() {
            let (known, found) = (self.twins.of(id).filter(there), found.of(id));
            assert!(known.eq(found), "must know who shares a key with {id}");
        }
    }

    /// Node id of the proxy that told of the newest arrival.
    pub(super) fn caller(&self, id: &TargetId) -> Option<String> {
        let all = std::iter::once(id).chain(self.twins.of(id));
        let entries = all.filter_map(|id| self.targets.get(id));
        let newest = entries.max_by_key(|entry| entry.last_arrival)?;
        newest.caller.clone()
    }
}
