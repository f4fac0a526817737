//! What is published: every target as the proxies see it, and since which revision. The log behind `POST /v1/sync`.
//!
//! Knows nothing of proxies or lives. Its history is what was removed; it is bounded, and a proxy that is further
//! behind than it reaches gets everything anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use protocol::{Revision, Target, TargetId};

use crate::hosts::Hosts;

/// Removals remembered. A proxy that polls sees each within a round trip; one that is behind by more than this many
/// removals is better served with everything.
pub const MAX_REMOVALS: usize = 1024;

/// One change of what is published.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publication {
    /// Its place in the history.
    pub n: u64,
    /// New and changed targets.
    pub changed: Vec<Arc<Target>>,
    /// Targets that are no longer there.
    pub removed: Vec<TargetId>,
}

/// What is published now.
#[derive(Clone, Debug)]
pub struct View {
    instance: String,
    n: u64,
    complete: bool,
    targets: BTreeMap<TargetId, (u64, Arc<Target>)>,
    /// The same targets by when they last changed: a proxy that is a little behind asks for the end of it.
    changes: BTreeSet<(u64, TargetId)>,
    hosts: Hosts,
    removals: VecDeque<(u64, TargetId)>,
    floor: u64,
    truncations: u64,
}

/// What a proxy does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Anything.
    Everything,
    /// What changed after this revision.
    After(u64),
}

/// Answer to "what changed since".
#[derive(Clone, Debug, PartialEq)]
pub struct Delta {
    /// The revision it leads to.
    pub revision: Revision,
    /// True: `changed` is everything there is.
    pub full: bool,
    /// New and changed targets.
    pub changed: Vec<Arc<Target>>,
    /// Targets that are no longer there.
    pub removed: Vec<TargetId>,
}

impl View {
    /// Nothing published yet by the control plane's life named `instance`.
    pub fn new(instance: impl Into<String>) -> Self {
        Self {
            instance: instance.into(),
            n: 0,
            complete: false,
            targets: BTreeMap::new(),
            changes: BTreeSet::new(),
            hosts: Hosts::default(),
            removals: VecDeque::new(),
            floor: 0,
            truncations: 0,
        }
    }

    /// True once everything that is watched has been read; no poll is answered before.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        Revision {
            instance: self.instance.clone(),
            n: self.n,
        }
    }

    /// How often the history was cut off at its bound.
    pub fn truncations(&self) -> u64 {
        self.truncations
    }

    /// Takes a change in. The first makes the view complete.
    pub fn apply(&mut self, publication: Publication) {
        let Publication { n, changed, removed } = publication;
        self.n = n;
        self.complete = true;
        for target in changed {
            let id = target.id.clone();
            let new = Arc::clone(&target);
            let old = self.targets.insert(id.clone(), (n, target));
            let old_hosts = old.as_ref().map_or(&[][..], |(_, old)| &old.hosts);
            self.hosts.change(&id, old_hosts, &new.hosts);
            if let Some((before, _)) = old {
                self.changes.remove(&(before, id.clone()));
            }
            self.changes.insert((n, id));
        }
        for id in removed {
            if let Some((before, old)) = self.targets.remove(&id) {
                self.hosts.change(&id, &old.hosts, &[]);
                self.changes.remove(&(before, id.clone()));
            }
            self.removals.push_back((n, id));
        }
        while self.removals.len() > MAX_REMOVALS {
            if let Some((n, _)) = self.removals.pop_front() {
                self.floor = n;
                self.truncations += 1;
            }
        }
    }

    /// What stands for [`Self::since`]`(since)` while the revision is the same: proxies of which this is the same are told the
    /// same. `None` if there is nothing to tell.
    pub fn question(&self, since: Option<&Revision>) -> Option<Question> {
        match since {
            Some(at) if at.instance == self.instance && at.n == self.n => None,
            Some(at) if at.instance == self.instance && at.n >= self.floor && at.n < self.n => {
                Some(Question::After(at.n))
            }
            _ => Some(Question::Everything),
        }
    }

    /// What a proxy that has `since` does not know: everything if `since` is absent, of another instance, from before
    /// the history, or from the future; `None` if there is nothing.
    pub fn since(&self, since: Option<&Revision>) -> Option<Delta> {
        self.question(since).map(|question| self.answer(question))
    }

    /// What is to be told.
    pub fn answer(&self, question: Question) -> Delta {
        let revision = self.revision();
        match question {
            Question::After(n) => {
                let newer = (n + 1, TargetId::new(String::new()));
                let newer: BTreeSet<_> = self.changes.range(newer..).map(|(_, id)| id).collect();
                let changed = newer.into_iter().filter_map(|id| self.targets.get(id));
                let known = self.removals.partition_point(|(at, _)| *at <= n);
                let removed = self.removals.range(known..).map(|(_, id)| id);
                Delta {
                    revision,
                    full: false,
                    changed: changed.map(|(_, target)| Arc::clone(target)).collect(),
                    removed: removed
                        .filter(|id| !self.targets.contains_key(id))
                        .cloned()
                        .collect(),
                }
            }
            Question::Everything => Delta {
                revision,
                full: true,
                changed: self
                    .targets
                    .values()
                    .map(|(_, target)| Arc::clone(target))
                    .collect(),
                removed: Vec::new(),
            },
        }
    }

    /// Hosts of the targets whose requests are held now, in order.
    pub fn held_hosts(&self) -> Vec<String> {
        use protocol::State::{Asleep, Draining, Failed, Ready, Suspended, Unknown, Waking};
        let held = |target: &&Arc<Target>| match target.state {
            Asleep | Waking | Draining | Unknown => true,
            Ready | Failed | Suspended => false,
        };
        let targets = self.targets.values().map(|(_, target)| target).filter(held);
        let mut hosts: Vec<_> = targets.flat_map(|target| target.hosts.iter().cloned()).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// The target that a request for `host` belongs to: an exact key first, then the longest wildcard.
    pub fn find_host(&self, host: &str) -> Option<TargetId> {
        self.hosts.find(host).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_everything_to_who_has_nothing() {
        let view = mk_view(&[(1, &["a", "b"], &[])]);
        check_since(&view, None, Some((true, &["a", "b"], &[])));
        check_since(&view, Some(("other", 1)), Some((true, &["a", "b"], &[])));
        check_since(&view, Some(("me", 9)), Some((true, &["a", "b"], &[])));
    }

    #[test]
    fn answers_with_what_changed() {
        let view = mk_view(&[(1, &["a", "b"], &[]), (2, &["b"], &[]), (3, &["c"], &["a"])]);
        check_since(&view, Some(("me", 1)), Some((false, &["b", "c"], &["a"])));
        check_since(&view, Some(("me", 2)), Some((false, &["c"], &["a"])));
        check_since(&view, Some(("me", 3)), None);
    }

    #[test]
    fn does_not_remove_what_has_come_back() {
        let view = mk_view(&[(1, &["a"], &[]), (2, &[], &["a"]), (3, &["a"], &[])]);
        check_since(&view, Some(("me", 1)), Some((false, &["a"], &[])));
    }

    #[test]
    fn forgets_old_removals_and_then_answers_with_everything() {
        let mut view = mk_view(&[(1, &["a"], &[])]);
        for n in 2..(MAX_REMOVALS as u64 + 4) {
            view.apply(mk_publication(n, &[], &["x"]));
        }
        assert_eq!(view.removals.len(), MAX_REMOVALS, "must be bounded");
        assert_eq!(view.truncations(), 2, "must count what was cut off");
        check_since(&view, Some(("me", 2)), Some((true, &["a"], &[])));
        let newest = view.revision().n;
        check_since(&view, Some(("me", newest - 1)), Some((false, &[], &["x"])));
    }

    #[test]
    fn is_complete_from_the_first_publication_on() {
        let mut view = View::new("me");
        assert!(!view.is_complete(), "no poll may be answered yet");
        view.apply(mk_publication(1, &[], &[]));
        assert!(view.is_complete(), "there may be nothing to publish");
    }

    #[test]
    fn hosts_whose_requests_are_held_are_told_in_order_and_once() {
        use protocol::State::{Asleep, Draining, Failed, Ready, Suspended, Unknown, Waking};
        let states = [Ready, Unknown, Draining, Failed, Waking, Suspended, Asleep];
        let targets = (0..).zip(states).map(|(n, state)| Target {
            state,
            hosts: vec![format!("{n}.example.com"), "shared.example.com".to_owned()],
            ..mk_target(&format!("t{n}"))
        });
        let mut view = View::new("me");
        view.apply(Publication {
            n: 1,
            changed: targets.map(Arc::new).collect(),
            removed: Vec::new(),
        });
        let expected = ["1", "2", "4", "6", "shared"].map(|name| format!("{name}.example.com"));
        assert_eq!(view.held_hosts(), expected);
    }

    #[test]
    fn finds_the_most_exact_host() {
        let mut view = View::new("me");
        let mut publication = mk_publication(1, &["exact", "wild"], &[]);
        publication.changed = vec![
            Arc::new(Target {
                hosts: vec!["a.b.c".to_owned()],
                ..mk_target("exact")
            }),
            Arc::new(Target {
                hosts: vec!["*.c".to_owned()],
                ..mk_target("wild")
            }),
            Arc::new(Target {
                hosts: vec!["*.b.c".to_owned()],
                ..mk_target("wilder")
            }),
        ];
        view.apply(publication);
        for (host, id) in [
            ("a.b.c", Some("exact")),
            ("x.c", Some("wild")),
            ("x.b.c", Some("wilder")),
            ("c", None),
        ] {
            assert_eq!(
                view.find_host(host),
                id.map(TargetId::new),
                "{host} must belong to {id:?}"
            );
        }
    }

    fn mk_target(id: &str) -> Target {
        crate::testing::mk_wire_target(id)
    }

    fn mk_publication(n: u64, changed: &[&str], removed: &[&str]) -> Publication {
        Publication {
            n,
            changed: changed.iter().map(|id| Arc::new(mk_target(id))).collect(),
            removed: removed.iter().map(|id| TargetId::new(*id)).collect(),
        }
    }

    fn mk_view(steps: &[(u64, &[&str], &[&str])]) -> View {
        let mut view = View::new("me");
        for (n, changed, removed) in steps {
            view.apply(mk_publication(*n, changed, removed));
        }
        view
    }

    fn check_since(view: &View, since: Option<(&str, u64)>, expected: Option<(bool, &[&str], &[&str])>) {
        let since = since.map(|(instance, n)| Revision {
            instance: instance.to_owned(),
            n,
        });
        let delta = view.since(since.as_ref());
        let delta = delta.map(|d| {
            (
                d.full,
                d.changed.iter().map(|t| t.id.clone()).collect(),
                d.removed,
            )
        });
        let ids = |ids: &[&str]| ids.iter().map(|id| TargetId::new(*id)).collect::<Vec<_>>();
        let expected = expected.map(|(full, changed, removed)| (full, ids(changed), ids(removed)));
        assert_eq!(delta, expected, "must answer what is not known since {since:?}");
    }
}
