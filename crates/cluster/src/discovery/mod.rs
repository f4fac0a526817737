//! Match keys and conditions of every target, derived from routes, Services and targets. Pure: takes `now`, reads no
//! clock, calls nothing.
//!
//! Every [`Discovery::update`] looks at everything once: its cost grows with the number of references, hosts and keys,
//! not with targets times routes ([`Output::steps`] counts it). The rules and their reasons are in
//! docs/kubernetes.md, "Discovery".

mod claims;
mod derive;
pub mod facts;
mod leads;
mod parse;

#[cfg(test)]
mod props;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::TargetId;

use claims::Settled;
use derive::{Derived, Key, MOST_KEYS};
use facts::{Grant, Route, ServiceFacts, Target};
use leads::Leads;
pub use parse::Unreadable;

use fleet::Condition;
use fleet::config::{Authority, MatchKeys};
use fleet::time::Time;

/// For how long a key of a route stays with a target that no longer has it: until every Envoy has surely heard of the
/// route's edit.
pub const LINGER: Duration = Duration::from_secs(30);

/// The whole cluster, as far as it decides about match keys. In any order.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// Every ScaleTarget.
    pub targets: Vec<&'a Target>,
    /// Every Service, not only those of targets.
    pub services: Vec<&'a ServiceFacts>,
    /// Every HTTPRoute and GRPCRoute.
    pub routes: Vec<&'a Route>,
    /// Every ReferenceGrant.
    pub grants: Vec<&'a Grant>,
}

/// What is found for one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its keys: those it owns, and those that linger.
    pub keys: MatchKeys,
    /// What its routes rewrite the host to, if its confirm asks and the user has not said under which name.
    pub authority: Option<Authority>,
    /// At most one of each kind, in fixed order: ServiceNotFound, AmbiguousHost, AmbiguousAuthority, KeyConflict,
    /// TooManyKeys.
    pub conditions: Vec<Condition>,
}

/// What is found for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// By target, every one of the input.
    pub targets: BTreeMap<TargetId, Found>,
    /// Keys that linger now.
    pub lingering: usize,
    /// Targets that have more keys than they may.
    pub over: usize,
    /// References, hosts and keys that the last update looked at.
    pub steps: u64,
}

/// Remembers what was found, so that keys of routes can linger.
#[derive(Debug)]
pub struct Discovery {
    domain: String,
    targets: BTreeMap<TargetId, Entry>,
    steps: u64,
}

#[derive(Debug)]
struct Entry {
    settled: Settled,
    /// Keys of routes that are the target's no more, and until when they stay.
    lingering: BTreeMap<Key, Time>,
}

impl Discovery {
    /// Nothing known yet. `domain` is the cluster's, such as `cluster.local`.
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            targets: BTreeMap::new(),
            steps: 0,
        }
    }

    /// The cluster is like this now. At the first call nothing lingers, and nothing of a target that is gone.
    pub fn update(&mut self, input: &Input<'_>, now: Time) -> Output {
        let leads = Leads::new(input);
        let claimants = input.targets.iter().map(|target| {
            let derived = Derived::new(target, &leads, &self.domain);
            (*target, derived)
        });
        let mut claimants: Vec<_> = claimants.collect();
        claims::narrow(&mut claimants, &leads);
        self.steps = leads.steps + claimants.iter().map(|(_, derived)| derived.steps).sum::<u64>();
        let settled = claims::settle(claimants, &leads);
        let mut before = std::mem::take(&mut self.targets);
        self.targets = settled
            .into_iter()
            .map(|(id, settled)| {
                let lingering = before
                    .remove(&id)
                    .map_or_else(BTreeMap::new, |entry| entry.linger(&settled, now));
                (id, Entry { settled, lingering })
            })
            .collect();
        self.output()
    }

    /// When [`Self::handle_timeout`] must be called if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        let ends = self.targets.values().flat_map(|entry| entry.lingering.values());
        ends.min().copied()
    }

    /// Time has passed: what has lingered long enough goes.
    pub fn handle_timeout(&mut self, now: Time) -> Output {
        for entry in self.targets.values_mut() {
            entry.lingering.retain(|_, until| *until > now);
        }
        self.output()
    }

    fn output(&self) -> Output {
        let targets = self.targets.iter();
        Output {
            targets: targets.map(|(id, entry)| (id.clone(), entry.found())).collect(),
            lingering: self.targets.values().map(|entry| entry.lingering.len()).sum(),
            over: self.targets.values().filter(|entry| entry.settled.over).count(),
            steps: self.steps,
        }
    }
}

impl Entry {
    /// What of this lingers beside `next`. Only what routes gave: where a route leads, an Envoy may still believe
    /// otherwise. A Service's own names and clusters mean the same in the old configuration and the new, and the
    /// user's word counts at once. A key that is still claimed but now another's by seniority does not linger either.
    fn linger(self, next: &Settled, now: Time) -> BTreeMap<Key, Time> {
        let is_claimed = |key: &Key| next.owned.contains_key(key) || next.lost.contains_key(key);
        let mut lingering = self.lingering;
        lingering.retain(|key, until| *until > now && !is_claimed(key));
        let left = self
            .settled
            .owned
            .into_iter()
            .filter(|(key, source)| source.route && !is_claimed(key));
        for (key, _) in left {
            // As many as it may own: a hundred edits within the time do not add up without end.
            if lingering.len() < MOST_KEYS {
                lingering.insert(key, now + LINGER);
            }
        }
        lingering
    }

    fn found(&self) -> Found {
        let (mut hosts, mut clusters) = (Vec::new(), Vec::new());
        for key in self.settled.owned.keys().chain(self.lingering.keys()) {
            match key {
                Key::Host(host) => hosts.push(host.clone()),
                Key::Cluster(cluster) => clusters.push(cluster.clone()),
            }
        }
        let leaving = self.lingering.keys().filter_map(|key| match key {
            Key::Cluster(cluster) => Some(cluster.clone()),
            Key::Host(_) => None,
        });
        Found {
            keys: MatchKeys {
                leaving: leaving.collect(),
                ..MatchKeys::new(hosts, clusters)
            },
            authority: self.settled.authority.clone(),
            conditions: self.settled.conditions.clone(),
        }
    }
}
