//! Targets that go on under another name: the configuration no longer has the one, and has another with the same workload.
//!
//! It stays the same target: its life, its commands, what is known of its use. The proxies are told in one revision.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use protocol::{Target, TargetId};

use super::advance::passes;
use super::{Configured, Effect, Entry, Fleet, FleetEvent};
use crate::command::Command;
use crate::config::{MatchKeys, ScaleTarget, Workload};
use crate::time::Time;

/// What makes a workload the same, whatever its target is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity<'a> {
    /// What runs, and where it listens: there is room for one.
    Process {
        program: &'a str,
        args: &'a [String],
        env: &'a BTreeMap<String, String>,
        dir: Option<&'a str>,
        address: SocketAddr,
    },
    /// An object of the API.
    Object {
        namespace: Option<&'a str>,
        api_version: &'a str,
        kind: &'a str,
        name: &'a str,
    },
    /// Nothing is said of it: what is asked for by the same names is the same.
    Unnamed(&'a MatchKeys),
}

pub(super) fn identity(spec: &ScaleTarget) -> Identity<'_> {
    match &spec.workload {
        Workload::Process(process) => Identity::Process {
            program: &process.program,
            args: &process.args,
            env: &process.env,
            dir: process.dir.as_deref(),
            address: process.ready.address(),
        },
        Workload::Object {
            api_version,
            kind,
            name,
        } => Identity::Object {
            namespace: namespace(&spec.id),
            api_version,
            kind,
            name,
        },
        Workload::Unnamed => Identity::Unnamed(&spec.keys),
    }
}

fn namespace(id: &TargetId) -> Option<&str> {
    id.as_str().split_once('/').map(|(namespace, _)| namespace)
}

/// New names of missing targets.
#[derive(Debug, Default)]
pub(super) struct Renames {
    /// By the new name.
    from: BTreeMap<TargetId, TargetId>,
}

impl Renames {
    /// Each new target takes over one of the missing at most, one with the same keys first. So does one that is known and has had no
    /// keys, because the missing one had them: the API can say a new name only beside the old one, or after it.
    pub(super) fn find(
        targets: &BTreeMap<TargetId, Entry>,
        missing: &[TargetId],
        configured: &[Configured],
    ) -> Self {
        let mut free: BTreeMap<Identity<'_>, Vec<&Entry>> = BTreeMap::new();
        for entry in missing.iter().filter_map(|id| targets.get(id)) {
            free.entry(identity(&entry.spec)).or_default().push(entry);
        }
        let mut from = BTreeMap::new();
        if free.is_empty() {
            return Self { from };
        }
        let known = |spec: &ScaleTarget| targets.get(&spec.id);
        let specs = || configured.iter().map(|one| &one.spec);
        let new: Vec<_> = specs().filter(|spec| known(spec).is_none()).collect();
        let waits = |spec: &&ScaleTarget| known(spec).is_some_and(|entry| entry.keys.is_empty());
        let waiting = specs().filter(|spec| !spec.keys.is_empty()).filter(waits);
        let with_same_keys: Vec<_> = new.iter().copied().chain(waiting).collect();
        for (same_keys, specs) in [(true, &with_same_keys), (false, &new)] {
            for spec in specs {
                let Some(entries) = free
                    .get_mut(&identity(spec))
                    .filter(|_| !from.contains_key(&spec.id))
                else {
                    continue;
                };
                let fits = |entry: &&Entry| !same_keys || entry.spec.keys == spec.keys;
                if let Some(at) = entries.iter().position(fits) {
                    from.insert(spec.id.clone(), entries.remove(at).spec.id.clone());
                }
            }
        }
        Self { from }
    }

    /// What `id` was called before.
    pub(super) fn of(&self, id: &TargetId) -> Option<&TargetId> {
        self.from.get(id)
    }

    /// All former names.
    pub(super) fn former(&self) -> BTreeSet<TargetId> {
        self.from.values().cloned().collect()
    }
}

impl Fleet {
    /// Gives what is known as `from` the name, the document and the conditions of `one`. Returns what is to be published of it under
    /// the next revision, together with the end of `from`.
    pub(super) fn rename(&mut self, from: &TargetId, one: Configured, now: Time) -> Option<Arc<Target>> {
        let Configured {
            spec,
            seen: _,
            conditions,
        } = one;
        let mut entry = self.targets.remove(from)?;
        self.unmark(from, std::mem::take(&mut entry.marks));
        let id = spec.id.clone();
        // What has stood beside it under the new name had no keys: there is nothing to go on with.
        if let Some(beside) = self.targets.remove(&id) {
            self.unmark(&id, beside.marks);
            self.proxies.drop_target(&id);
            self.effects
                .push(Effect::Backend(Command::Release { id: id.clone() }));
        }
        if entry.keys != spec.keys {
            entry.keys_changed = Some(now);
            entry.matched = false;
        }
        entry.keys.clone_from(&spec.keys);
        entry.spec = Arc::new(spec);
        entry.conditions = conditions;
        let published = Arc::new(entry.wire(false));
        if !passes(published.state) {
            // To the proxies it is another target: what they have confirmed of the one is not said of the other.
            entry.held_since = self.n + 1;
        }
        entry.published = Arc::clone(&published);
        self.proxies.rename_target(from, &id);
        self.effects.push(Effect::Backend(Command::Rename {
            from: from.clone(),
            spec: Arc::clone(&entry.spec),
        }));
        self.emit(FleetEvent::Renamed {
            from: from.clone(),
            to: id.clone(),
        });
        self.targets.insert(id.clone(), entry);
        self.mark(&id);
        Some(published)
    }
}
