//! Takes in a whole configuration: what is new, what has changed, and what is no longer there.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::TargetId;

use super::renames::{Renames, identity};
use super::{Configured, Effect, Entry, Fleet};
use crate::command::Command;
use crate::config::{MatchKeys, ScaleTarget, Workload};
use crate::lifecycle::{Event, Lifecycle};
use crate::time::Time;
use crate::view::Publication;

impl Fleet {
    /// Takes the whole configuration. A new target begins in the phase that fits what is seen of it, else asleep; what
    /// is no longer in it retires, or goes on under another name; what has not changed costs a comparison. The first
    /// call publishes even an empty configuration: from then on the proxies are answered. Ignored once the control plane
    /// shuts down.
    pub fn configure(&mut self, configured: Vec<Configured>, now: Time) {
        if self.closing {
            return;
        }
        let first = self.n == 0;
        let mut missing = self.missing(&configured);
        let renames = Renames::find(&self.targets, &missing, &configured);
        let former = renames.former();
        missing.retain(|id| !former.contains(id));
        let claimed = claims(&configured, &missing);
        let successors = self.with_successors(&missing, &configured);
        let mut events = Vec::new();
        let mut keys_moved = !missing.is_empty();
        let mut found = Vec::new();
        let mut removed = Vec::new();
        for one in configured {
            let id = one.spec.id.clone();
            if let Some(from) = renames.of(&id) {
                keys_moved = true;
                found.extend(self.rename(from, one, now));
                removed.push(from.clone());
                events.push((id, Event::Restore));
                continue;
            }
            if let Some(entry) = self.targets.get(&id) {
                keys_moved |= entry.keys != one.spec.keys;
                events.extend(self.change(&id, one, now).map(|event| (id, event)));
                continue;
            }
            keys_moved = true;
            let event = if autostart(&one.spec) {
                Event::Wake
            } else {
                Event::Tick
            };
            found.push(self.found(&id, one, first, now));
            events.push((id, event));
        }
        if first || !found.is_empty() {
            let n = self.next_revision();
            self.publish(Publication {
                n,
                changed: found,
                removed,
            });
        }
        self.retire(missing, &claimed, &successors, &mut events);
        if keys_moved {
            self.find_twins(&mut events);
        }
        for (id, event) in events {
            self.advance(&id, event, now);
        }
    }

    /// Takes a new target in, in the phase that fits what is seen. Returns what is to be published of it: before that
    /// no proxy may be told of it.
    fn found(&mut self, id: &TargetId, one: Configured, first: bool, now: Time) -> Arc<protocol::Target> {
        let Configured {
            spec,
            seen,
            conditions,
        } = one;
        let spec = Arc::new(spec);
        // The revision that `configure` publishes it under: none comes between.
        let n = self.n + 1;
        let mut entry = Entry::new(Arc::clone(&spec), (!first).then_some(now), now, n);
        entry.conditions = conditions;
        if let Some(seen) = seen {
            let facts = entry.facts(id, &self.proxies, &self.settings, now);
            entry.begin(Lifecycle::found(seen, &facts));
        }
        let published = Arc::clone(&entry.published);
        self.targets.insert(id.clone(), entry);
        self.mark(id);
        self.effects.push(Effect::Backend(Command::Adopt { spec }));
        published
    }

    /// What is to be done about a target that is known; nothing if its document is the same. Conditions are shown to
    /// people only: the proxies are not told.
    fn change(&mut self, id: &TargetId, one: Configured, now: Time) -> Option<Event> {
        let Configured {
            spec,
            seen: _,
            conditions,
        } = one;
        let entry = self.targets.get_mut(id)?;
        let is_shown = entry.conditions == conditions;
        entry.conditions = conditions;
        let retiring = entry.life.retiring;
        if *entry.spec == spec && !retiring {
            if !is_shown {
                self.mark(id);
            }
            return None;
        }
        let spec = Arc::new(spec);
        if entry.keys != spec.keys {
            entry.keys.clone_from(&spec.keys);
            entry.keys_changed = Some(now);
            entry.matched = false;
        }
        entry.spec = Arc::clone(&spec);
        self.effects.push(Effect::Backend(Command::Adopt { spec }));
        Some(if retiring { Event::Restore } else { Event::Tick })
    }

    /// Targets that are known and no longer configured.
    fn missing(&self, configured: &[Configured]) -> Vec<TargetId> {
        let ids: BTreeSet<&TargetId> = configured.iter().map(|one| &one.spec.id).collect();
        let known = self.targets.keys();
        known.filter(|id| !ids.contains(id)).cloned().collect()
    }

    /// Those of the missing whose workload a present target has.
    fn with_successors(&self, missing: &[TargetId], configured: &[Configured]) -> BTreeSet<TargetId> {
        if missing.is_empty() {
            return BTreeSet::new();
        }
        let present: BTreeSet<_> = configured.iter().map(|one| identity(&one.spec)).collect();
        let has_successor = |id: &&TargetId| {
            let entry = self.targets.get(*id);
            entry.is_some_and(|entry| present.contains(&identity(&entry.spec)))
        };
        missing.iter().filter(has_successor).cloned().collect()
    }

    fn retire(
        &mut self,
        missing: Vec<TargetId>,
        claimed: &MatchKeys,
        successors: &BTreeSet<TargetId>,
        events: &mut Vec<(TargetId, Event)>,
    ) {
        for id in missing {
            let Some(entry) = self.targets.get_mut(&id) else {
                continue;
            };
            // A request must not have two owners: what a present target claims is its own.
            let free_host = |key: &_| claimed.hosts.binary_search(key).is_err();
            let free_cluster = |key: &_| claimed.clusters.binary_search(key).is_err();
            entry.keys.hosts.retain(free_host);
            entry.keys.clusters.retain(free_cluster);
            // What happens to its workload is another's to say.
            let (held, _) = self.proxies.usage(&id);
            if successors.contains(&id) && (entry.keys.is_empty() || held == 0) {
                self.drop_target(&id);
            } else {
                events.push((id, Event::Retire));
            }
        }
    }
}

/// Every key of the configured targets; none if nothing is missing, for then they are not needed.
fn claims(configured: &[Configured], missing: &[TargetId]) -> MatchKeys {
    if missing.is_empty() {
        return MatchKeys::default();
    }
    let specs = || configured.iter().map(|one| &one.spec);
    let hosts = specs().flat_map(|spec| spec.keys.hosts.iter().cloned());
    let clusters = specs().flat_map(|spec| spec.keys.clusters.iter().cloned());
    MatchKeys::new(hosts.collect(), clusters.collect())
}

fn autostart(spec: &ScaleTarget) -> bool {
    matches!(&spec.workload, Workload::Process(process) if process.autostart)
}
