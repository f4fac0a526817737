//! What must hold for any cluster, against naive words for where a request leads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use protocol::{HostName, HostPattern};

use super::facts::{Backend, ObjectId, Route, RouteKind, Rule, Target};
use super::tests::{Cluster, mk_route, mk_target};
use super::{Discovery, LINGER, Output};
use fleet::time::Time;

const SERVICES: [&str; 4] = ["shop/a", "shop/b", "play/a", "play/c"];
const HOSTS: [&str; 6] = [
    "x.test",
    "y.x.test",
    "z.y.x.test",
    "*.test",
    "*.x.test",
    "*.y.x.test",
];
/// What clients ask for.
const ASKED: [&str; 6] = [
    "x.test",
    "y.x.test",
    "z.y.x.test",
    "w.test",
    "w.x.test",
    "w.y.x.test",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each key that no target lost lately has one owner.
    #[test]
    fn a_key_has_one_owner(cluster in cluster()) {
        for (key, owners) in owners(&cluster.found()) {
            prop_assert_eq!(owners.len(), 1, "must have one owner: {} of {:?}", key, owners);
        }
    }

    /// A watch lists in any order, and maps have none.
    #[test]
    fn the_order_of_the_input_does_not_count(cluster in cluster(), next in cluster(), turn in 0..7_usize) {
        let mut play = Discovery::new("cluster.local");
        let mut turned = Discovery::new("cluster.local");
        for cluster in [cluster, next] {
            let mut other = cluster.clone();
            rotate(&mut other.targets, turn);
            rotate(&mut other.services, turn);
            rotate(&mut other.routes, turn);
            rotate(&mut other.grants, turn);
            let now = Time::default();
            prop_assert_eq!(play.update(&cluster.input(), now), turned.update(&other.input(), now));
        }
    }

    /// Whatever happened before: when nothing changes for 30 s, it is as if nothing had ever been different.
    #[test]
    fn nothing_lingers_for_ever(edits in prop::collection::vec((cluster(), 0..40_u64), 1..5)) {
        let (mut discovery, mut now) = (Discovery::new("cluster.local"), Time::default());
        let mut last = Output::default();
        for (cluster, wait) in &edits {
            now = now + Duration::from_secs(*wait);
            last = discovery.update(&cluster.input(), now);
        }
        let mut calls = 0;
        while let Some(at) = discovery.poll_timeout() {
            prop_assert!(at > now && at <= now + LINGER, "must be due within the time");
            last = discovery.handle_timeout(at);
            calls += 1;
            prop_assert!(calls <= edits.len(), "must not be called without need");
        }
        prop_assert_eq!(last.targets, edits.last().unwrap().0.found().targets);
    }

    /// For as long as an Envoy may have an older configuration, its clusters belong to whom they led to in it, and to
    /// no other target: inserted rules, moved rules, removed routes.
    #[test]
    fn every_configuration_in_force_finds_its_targets(
        edits in prop::collection::vec((rules(), 0..25_u64), 1..6),
    ) {
        let (mut discovery, mut now) = (Discovery::new("cluster.local"), Time::default());
        let mut versions: Vec<(Cluster, Time)> = Vec::new();
        for (rules, wait) in edits {
            now = now + Duration::from_secs(wait);
            let mut cluster = Cluster::default();
            for (n, service) in SERVICES.iter().enumerate() {
                let (namespace, name) = service.split_once('/').unwrap();
                cluster.targets.push(mk_target(&format!("{namespace}/t{n}"), 0, name));
            }
            let cluster = cluster.route(with_rules(RouteKind::Http, rules)).grant("shop", "play", None);
            let found = discovery.update(&cluster.input(), now);
            versions.push((cluster, now));
            let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (n, (version, _)) in versions.iter().enumerate() {
                let replaced = versions.get(n + 1).map(|(_, at)| *at);
                if replaced.is_none_or(|at| at + LINGER > now) {
                    for (key, owner) in clusters(version) {
                        expected.entry(key).or_default().insert(owner);
                    }
                }
            }
            let mut has = owners(&found);
            has.retain(|key, _| key.starts_with("httproute/"));
            prop_assert_eq!(has, expected);
        }
    }

    /// A request that is found by its host leads to that target's Service, whatever its path; and a host that is
    /// listed and leads to a target's Service alone is found.
    #[test]
    fn a_host_takes_no_other_targets_requests(cluster in cluster()) {
        let mut cluster = cluster;
        cluster.targets.iter_mut().for_each(|target| target.own = fleet::config::MatchKeys::default());
        let found = owners(&cluster.found());
        for asked in ASKED {
            let places = leads_to(&cluster, asked);
            let is_listed = |asked| cluster.routes.iter().any(|route| route.hosts.iter().any(|host| host.as_str() == asked));
            let owner = look_up(&found, asked);
            let target = owner.map(|owner| cluster.targets.iter().find(|target| target.id.as_str() == owner).unwrap());
            match (target, places) {
                (Some(target), Some(places)) => for place in places {
                    prop_assert!(is_meant(target, place), "{} must not take {}: {:?}", target.id, asked, place);
                },
                (Some(target), None) => prop_assert!(false, "{} must not take {}, which no route has", target.id, asked),
                (None, Some(places)) if !places.is_empty() && is_listed(asked) => {
                    let fits = |target: &Target| places.iter().all(|place| is_meant(target, place));
                    prop_assert!(!cluster.targets.iter().any(fits), "{} must have an owner", asked);
                },
                (None, _) => {}
            }
        }
    }
}

/// Where Envoy's virtual host for `asked` leads: of the most exact hostname, all rules of all routes. None: no such.
fn leads_to<'a>(cluster: &'a Cluster, asked: &str) -> Option<Vec<&'a Backend>> {
    let hosts = || cluster.routes.iter().flat_map(|route| &route.hosts);
    let asked = HostName::of(asked.as_bytes());
    let is_key = |pattern| hosts().find(|host| HostPattern::of(host.as_str()) == pattern);
    let best = asked.patterns().find_map(is_key)?;
    let routes = cluster.routes.iter().filter(|route| route.hosts.contains(best));
    let backends = routes.flat_map(|route| {
        let all = route.rules.iter().flat_map(|rule| &rule.backends);
        all.filter(|backend| counts(cluster, route, backend))
    });
    Some(backends.collect())
}

/// As the filter looks a host up.
fn look_up<'a>(found: &'a BTreeMap<String, BTreeSet<String>>, asked: &str) -> Option<&'a str> {
    let asked = HostName::of(asked.as_bytes());
    let mut keys = asked.patterns().filter_map(|pattern| {
        let mut owned = found.iter().filter(|(key, _)| HostPattern::of(key) == pattern);
        owned.next()?.1.first()
    });
    keys.next().map(String::as_str)
}

fn counts(cluster: &Cluster, route: &Route, backend: &Backend) -> bool {
    let from = &route.id.id.namespace;
    let to = &backend.id.namespace;
    let is_granted = cluster.grants.iter().any(|grant| {
        let opens = grant
            .to
            .iter()
            .any(|to| to.name.as_ref().is_none_or(|name| *name == backend.id.name));
        grant.namespace == *to && grant.from.contains(&(route.id.kind, from.clone())) && opens
    });
    backend.weight > 0 && (from == to || is_granted)
}

fn is_meant(target: &Target, backend: &Backend) -> bool {
    let (service, port) = target.service.as_ref().unwrap();
    backend.id == *service && (port.is_none() || backend.port == *port)
}

/// Envoy Gateway's clusters and whom they lead to.
fn clusters(cluster: &Cluster) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (route, target) in cluster
        .routes
        .iter()
        .flat_map(|r| cluster.targets.iter().map(move |t| (r, t)))
    {
        for (n, rule) in route.rules.iter().enumerate() {
            let name = format!("httproute/{}/rule/{n}", route.id.id);
            let counted = || {
                rule.backends
                    .iter()
                    .enumerate()
                    .filter(|(_, one)| counts(cluster, route, one))
            };
            let ours = counted().filter(|(_, one)| is_meant(target, one));
            let ours: Vec<_> = ours.map(|(n, _)| n).collect();
            if !ours.is_empty() && ours.len() == counted().count() {
                all.push((name.clone(), target.id.to_string()));
            }
            all.extend(
                ours.iter()
                    .map(|n| (format!("{name}/backend/{n}"), target.id.to_string())),
            );
        }
    }
    all
}

fn owners(output: &Output) -> BTreeMap<String, BTreeSet<String>> {
    let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, found) in &output.targets {
        let hosts = found.keys.hosts.iter().map(ToString::to_string);
        for key in hosts.chain(found.keys.clusters.iter().map(ToString::to_string)) {
            owners.entry(key).or_default().insert(id.to_string());
        }
    }
    owners
}

fn rotate<T>(list: &mut [T], turn: usize) {
    if !list.is_empty() {
        list.rotate_left(turn % list.len());
        list.reverse();
    }
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let target = (0..2_i64, 0..SERVICES.len(), 0..3_u16, prop::bool::weighted(0.2));
    let targets = prop::collection::vec(target, 0..5);
    let hosts = || prop::sample::subsequence(HOSTS.to_vec(), 0..3);
    let routes = prop::collection::vec((any::<bool>(), any::<bool>(), hosts(), rules()), 0..5);
    let missing = prop::sample::subsequence(SERVICES.to_vec(), 0..2);
    let grants = prop::collection::vec((any::<bool>(), any::<bool>()), 0..3);
    (targets, routes, missing, grants).prop_map(|(targets, routes, missing, grants)| {
        let mut cluster = Cluster::default();
        for (n, (created, service, port, own)) in targets.into_iter().enumerate() {
            let (namespace, name) = SERVICES[service].split_once('/').unwrap();
            let port = ["", ":80", ":81"][usize::from(port)];
            let mut target = mk_target(&format!("{namespace}/t{n}"), created, &format!("{name}{port}"));
            if own {
                target.own = fleet::config::MatchKeys::new(
                    vec!["x.test".parse().unwrap()],
                    vec!["httproute/shop/r/rule/0".parse().unwrap()],
                );
            }
            cluster.targets.push(target);
        }
        for service in SERVICES.iter().filter(|service| !missing.contains(service)) {
            cluster = cluster.service(service, &[80, 81]);
        }
        for (n, (grpc, play, hosts, rules)) in routes.into_iter().enumerate() {
            let kind = if grpc { RouteKind::Grpc } else { RouteKind::Http };
            let namespace = if play { "play" } else { "shop" };
            let mut route = mk_route(kind, &format!("{namespace}/r{n}"), &hosts, &[]);
            route.rules = rules;
            cluster = cluster.route(route);
        }
        for (back, one) in grants {
            let (from, to) = if back { ("play", "shop") } else { ("shop", "play") };
            cluster = cluster.grant(from, to, one.then_some("a"));
        }
        cluster
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let backend =
        (0..SERVICES.len(), 80..82_u16, prop::bool::weighted(0.8)).prop_map(|(service, port, weighs)| {
            let (namespace, name) = SERVICES[service].split_once('/').unwrap();
            Backend {
                group: String::new(),
                kind: "Service".to_owned(),
                id: ObjectId::new(namespace, name),
                port: port.try_into().ok(),
                weight: u32::from(weighs),
                rewrite: None,
            }
        });
    let rule = prop::collection::vec(backend, 0..3).prop_map(|backends| Rule { backends });
    prop::collection::vec(rule, 0..4)
}

fn with_rules(kind: RouteKind, rules: Vec<Rule>) -> Route {
    let mut route = mk_route(kind, "shop/r", &["x.test"], &[]);
    route.rules = rules;
    route
}
