//! Decides which target keeps a key that several claim, and which wildcards would take what is not theirs. Says in conditions
//! what was left out and why.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use protocol::{HostName, HostPattern, TargetId};

use super::derive::{Ambiguous, Derived, Key, MOST_KEYS, Rewritten, Source};
use super::facts::{RouteId, Target};
use super::leads::{Leads, Place};
use fleet::Condition;
use fleet::config::{Authority, HostKey};

/// What one target has.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Its keys.
    pub(super) owned: BTreeMap<Key, Source>,
    /// What it claims and another has.
    pub(super) lost: BTreeMap<Key, TargetId>,
    /// There were more than [`MOST_KEYS`].
    pub(super) over: bool,
    /// What its routes rewrite the host to, if it lacks a name for its confirm.
    pub(super) authority: Option<Authority>,
    pub(super) conditions: Vec<Condition>,
}

/// A target and what it claims.
pub(super) type Claimant<'a> = (&'a Target, Derived<'a>);

/// Takes wildcards away that cover a host which leads elsewhere and is no key: the filter would find the wildcard.
pub(super) fn narrow<'a>(claimants: &mut [Claimant<'a>], leads: &Leads<'a>) {
    let mut kept = HashSet::new();
    let mut wild = HashSet::new();
    for key in claimants.iter().flat_map(|(_, derived)| derived.keys.keys()) {
        if let Key::Host(host) = key {
            kept.insert(host.clone());
            wild.extend(suffix(host).map(<[u8]>::to_owned));
        }
    }
    if wild.is_empty() {
        return;
    }
    let mut taken: HashMap<&[u8], &'a HostKey> = HashMap::new();
    for host in leads.hosts.keys().filter(|host| !kept.contains(**host)) {
        for pattern in HostName::of(host.as_str().as_bytes()).patterns() {
            if let HostPattern::Below(suffix) = pattern
                && let Some(suffix) = wild.get(suffix)
            {
                let first = taken.entry(suffix).or_insert(host);
                *first = (*first).min(host);
            }
        }
    }
    for (target, derived) in claimants {
        let Derived { keys, ambiguous, .. } = derived;
        keys.retain(|key, source| {
            let Key::Host(host) = key else {
                return true;
            };
            let because = suffix(host).and_then(|suffix| taken.get(suffix));
            let Some(because) = because.filter(|_| !source.own) else {
                return true;
            };
            let places = leads.hosts.get(*because).into_iter().flatten();
            let service = target.service.as_ref();
            let is_ours = |place: &Place<'_>| service.is_some_and(|(service, _)| place.is_of(service));
            // The first that is not the target's own: the rest explains nothing.
            if let Some((place, route)) = places.min_by_key(|(place, _)| (is_ours(place), *place)) {
                ambiguous.insert(Ambiguous {
                    host: host.clone(),
                    because: Some(because),
                    route,
                    place: *place,
                });
            }
            false
        });
    }
}

/// What all hosts end with that a wildcard covers.
fn suffix(host: &HostKey) -> Option<&[u8]> {
    match HostPattern::of(host.as_str()) {
        HostPattern::Below(suffix) => Some(suffix),
        HostPattern::Exact(_) => None,
    }
}

/// Gives every key to its oldest claimant.
pub(super) fn settle(mut claimants: Vec<Claimant<'_>>, leads: &Leads<'_>) -> BTreeMap<TargetId, Settled> {
    claimants.sort_unstable_by_key(|(target, _)| target.seniority());
    let mut owners: HashMap<Key, &TargetId> = HashMap::new();
    let mut settled = BTreeMap::new();
    for (target, derived) in claimants {
        let mut one = Settled::default();
        let mut conditions = Vec::new();
        conditions.extend(missing(target, leads));
        conditions.extend(ambiguous(target, &derived));
        if target.lacks_authority {
            match derived.rewritten {
                Rewritten::No => {}
                Rewritten::To(authority, _) => one.authority = Some(authority.clone()),
                Rewritten::Differently(two) => conditions.push(differently(two)),
            }
        }
        for (key, source) in derived.keys {
            match owners.get(&key) {
                Some(owner) => {
                    one.lost.insert(key, (*owner).clone());
                }
                None => {
                    owners.insert(key.clone(), &target.id);
                    one.owned.insert(key, source);
                }
            }
        }
        conditions.extend(conflict(&one.lost));
        conditions.extend(derived.over.then(too_many));
        one.over = derived.over;
        one.conditions = conditions;
        settled.insert(target.id.clone(), one);
    }
    settled
}

fn missing(target: &Target, leads: &Leads<'_>) -> Option<Condition> {
    let (service, port) = target.service.as_ref()?;
    let message = match (leads.services.get(service), port) {
        (None, _) => format!("there is no Service {service}"),
        (Some(facts), Some(port)) if !facts.ports.contains(port) => {
            format!("Service {service} has no TCP port {port}")
        }
        _ => return None,
    };
    Some(condition("ServiceNotFound", message))
}

fn ambiguous(target: &Target, derived: &Derived<'_>) -> Option<Condition> {
    let first = derived.ambiguous.first()?;
    let place = describe(&first.place, target);
    let (host, route) = (&first.host, first.route);
    let also = match first.because {
        None => format!("{route} leads it to {place}"),
        Some(because) => format!("it covers \"{because}\", which {route} leads to {place}"),
    };
    let more = more(derived.ambiguous.len(), "host");
    let message = format!(
        "host \"{host}\" is left out{more}: {also}; requests that are found by their cluster are not touched by this, and a host in spec.match.hosts is taken as it stands"
    );
    Some(condition("AmbiguousHost", message))
}

fn differently([(one, first), (other, second)]: [(&Authority, &RouteId); 2]) -> Condition {
    let message = format!(
        "{first} rewrites the host to \"{one}\", {second} to \"{other}\": the confirm asks with the client's, unless spec.confirm.authority says which"
    );
    condition("AmbiguousAuthority", message)
}

fn describe(place: &Place<'_>, target: &Target) -> String {
    let port = place.port.map(|port| format!(" port {port}")).unwrap_or_default();
    let mine = target
        .service
        .as_ref()
        .is_some_and(|(service, _)| place.is_of(service));
    let hint = if mine {
        " (leave spec.service.port out to take every port)"
    } else {
        ""
    };
    format!("{} {}{port}{hint}", place.kind, place.id)
}

fn conflict(lost: &BTreeMap<Key, TargetId>) -> Option<Condition> {
    let (key, owner) = lost.first_key_value()?;
    let more = more(lost.len(), "key");
    let message = format!("{key} is left out{more}: ScaleTarget {owner} is older and has it");
    Some(condition("KeyConflict", message))
}

fn too_many() -> Condition {
    let message = format!(
        "it has more than {MOST_KEYS} match keys: the rest is left out, and what they stand for passes unseen"
    );
    condition("TooManyKeys", message)
}

fn more(count: usize, what: &str) -> String {
    match count {
        0 | 1 => String::new(),
        2 => format!(", and one more {what}"),
        _ => format!(", and {} more {what}s", count - 1),
    }
}

fn condition(kind: &'static str, message: String) -> Condition {
    Condition {
        kind,
        message: Cow::Owned(message),
    }
}
