use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::TargetId;

use super::{Condition, Effect, Entry, Fleet};
use crate::backend::Command;
use crate::config::{MatchKeys, ScaleTarget, Workload};
use crate::life::{Event, Observed};
use crate::time::Time;
use crate::view::Publication;

/// One target as the configuration has it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Configured {
    /// Its document; the keys hold the derived ones as well.
    pub spec: ScaleTarget,
    /// What is seen of its workload, where that is known before it is adopted: a target that is new begins in the
    /// phase that fits.
    pub seen: Option<Observed>,
    /// What a person should know about its document.
    pub conditions: Vec<Condition>,
}

impl From<ScaleTarget> for Configured {
    fn from(spec: ScaleTarget) -> Self {
        Self {
            spec,
            seen: None,
            conditions: Vec::new(),
        }
    }
}

impl Fleet {
    /// Takes the whole configuration. New targets begin asleep; what is no longer in it retires. The first call
    /// publishes even an empty configuration: from then on the proxies are answered.
    pub fn configure(&mut self, configured: Vec<Configured>, now: Time) {
        let first = self.n == 0;
        let n = self.next_revision();
        let ids: BTreeSet<TargetId> = configured.iter().map(|one| one.spec.id.clone()).collect();
        let claimed = claims(&configured);
        let mut events = Vec::new();
        let mut publication = Publication {
            n,
            ..Publication::default()
        };
        for Configured {
            spec,
            seen,
            conditions,
        } in configured
        {
            let spec = Arc::new(spec);
            let id = spec.id.clone();
            match self.targets.get_mut(&id) {
                None => {
                    let mut entry = Entry::new(Arc::clone(&spec), (!first).then_some(now), now, n);
                    entry.life.seen = seen.unwrap_or_default();
                    entry.conditions = conditions;
                    publication.changed.push(Arc::clone(&entry.published));
                    self.targets.insert(id.clone(), entry);
                    events.push((
                        id,
                        if autostart(&spec) {
                            Event::Wake
                        } else {
                            Event::Tick
                        },
                    ));
                }
                Some(entry) => {
                    if entry.keys != spec.keys {
                        entry.keys.clone_from(&spec.keys);
                        entry.keys_changed = Some(now);
                        entry.matched = false;
                    }
                    entry.spec = Arc::clone(&spec);
                    entry.conditions = conditions;
                    events.push((
                        id,
                        if entry.life.retiring {
                            Event::Restore
                        } else {
                            Event::Tick
                        },
                    ));
                }
            }
            self.effects.push(Effect::Backend(Command::Adopt { spec }));
        }
        if first || !publication.changed.is_empty() {
            self.publish(publication);
        }
        self.retire_all_but(&ids, &claimed, &mut events);
        for (id, event) in events {
            self.advance(&id, event, now);
        }
    }

    fn retire_all_but(
        &mut self,
        ids: &BTreeSet<TargetId>,
        claimed: &MatchKeys,
        events: &mut Vec<(TargetId, Event)>,
    ) {
        let missing: Vec<_> = self
            .targets
            .keys()
            .filter(|id| !ids.contains(*id))
            .cloned()
            .collect();
        for id in missing {
            let Some(entry) = self.targets.get_mut(&id) else {
                continue;
            };
            // A request must not have two owners: what a present target claims is its own.
            entry.keys.hosts.retain(|key| !claimed.hosts.contains(key));
            entry.keys.clusters.retain(|key| !claimed.clusters.contains(key));
            if entry.keys.is_empty() {
                self.drop_target(&id);
            } else {
                events.push((id, Event::Retire));
            }
        }
    }
}

fn claims(configured: &[Configured]) -> MatchKeys {
    let specs = || configured.iter().map(|one| &one.spec);
    let hosts = specs().flat_map(|spec| spec.keys.hosts.iter().cloned());
    let clusters = specs().flat_map(|spec| spec.keys.clusters.iter().cloned());
    MatchKeys::new(hosts.collect(), clusters.collect())
}

fn autostart(spec: &ScaleTarget) -> bool {
    matches!(&spec.workload, Workload::Process(process) if process.autostart)
}
