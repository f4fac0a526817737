//! Facts about what is found, on small clusters written in a line or two.

mod authority;
mod conditions;
mod overlap;
mod parsing;
mod routes;
mod scale;
mod services;

use super::facts::{
    Backend, Grant, Granted, ObjectId, Route, RouteId, RouteKind, Rule, ServiceFacts, Target,
};
use super::{Discovery, Input, Output};
use fleet::config::MatchKeys;
use fleet::time::Time;

/// A cluster under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Cluster {
    pub(super) targets: Vec<Target>,
    pub(super) services: Vec<ServiceFacts>,
    pub(super) routes: Vec<Route>,
    pub(super) grants: Vec<Grant>,
}

impl Cluster {
    /// A target `shop/web` of Service `web:80` or `web` (all ports), with the Service; each is younger than the last.
    pub(super) fn target(mut self, id: &str, service: &str) -> Self {
        let target = mk_target(id, self.targets.len() as i64, service);
        let (service, port) = target.service.clone().unwrap();
        if !self.services.iter().any(|known| known.id == service) {
            let ports = vec![port.unwrap_or(80.try_into().unwrap())];
            self.services.push(ServiceFacts { id: service, ports });
        }
        self.targets.push(target);
        self
    }

    /// A Service, whether there is one of this name or not.
    pub(super) fn service(mut self, id: &str, ports: &[u16]) -> Self {
        self.services.retain(|known| known.id != object("default", id));
        self.services.push(ServiceFacts {
            id: object("default", id),
            ports: ports.iter().map(|port| (*port).try_into().unwrap()).collect(),
        });
        self
    }

    /// An HTTPRoute, in place of one of the same name. Rules are lists of `web:80`, `other/web:80`, `web:80 x0`.
    pub(super) fn http(self, id: &str, hosts: &[&str], rules: &[&[&str]]) -> Self {
        self.route(mk_route(RouteKind::Http, id, hosts, rules))
    }

    /// The same as a GRPCRoute.
    pub(super) fn grpc(self, id: &str, hosts: &[&str], rules: &[&[&str]]) -> Self {
        self.route(mk_route(RouteKind::Grpc, id, hosts, rules))
    }

    pub(super) fn route(mut self, route: Route) -> Self {
        self.routes.retain(|known| known.id != route.id);
        self.routes.push(route);
        self
    }

    /// HTTPRoutes of `from` may refer to Services of `to`: to this one, or to all.
    pub(super) fn grant(mut self, from: &str, to: &str, name: Option<&str>) -> Self {
        self.grants.push(Grant {
            namespace: to.to_owned(),
            from: vec![(RouteKind::Http, from.to_owned())],
            to: vec![Granted {
                group: String::new(),
                kind: "Service".to_owned(),
                name: name.map(str::to_owned),
            }],
        });
        self
    }

    /// The user's own keys of the target that was added last.
    pub(super) fn own(mut self, hosts: &[&str], clusters: &[&str]) -> Self {
        let hosts = hosts.iter().map(|text| text.parse().unwrap());
        let clusters = clusters.iter().map(|text| text.parse().unwrap());
        self.targets.last_mut().unwrap().own = MatchKeys::new(hosts.collect(), clusters.collect());
        self
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input {
            targets: self.targets.iter().collect(),
            services: self.services.iter().collect(),
            routes: self.routes.iter().collect(),
            grants: self.grants.iter().collect(),
        }
    }

    /// What a discovery finds that sees this first.
    pub(super) fn found(&self) -> Output {
        Discovery::new("cluster.local").update(&self.input(), Time::default())
    }
}

pub(super) fn mk_target(id: &str, created: i64, service: &str) -> Target {
    let namespace = id.split_once('/').unwrap().0;
    let (name, port) = match service.split_once(':') {
        Some((name, port)) => (name, Some(port.parse().unwrap())),
        None => (service, None),
    };
    Target {
        id: protocol::TargetId::new(id),
        created,
        service: Some((ObjectId::new(namespace, name), port)),
        own: MatchKeys::default(),
        lacks_authority: true,
    }
}

pub(super) fn mk_route(kind: RouteKind, id: &str, hosts: &[&str], rules: &[&[&str]]) -> Route {
    let id = object("default", id);
    let backend = |text: &&str| mk_backend(&id.namespace, text);
    let rules = rules.iter().map(|rule| Rule {
        backends: rule.iter().map(backend).collect(),
    });
    Route {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        mesh: Vec::new(),
        rules: rules.collect(),
        id: RouteId { kind, id: id.clone() },
    }
}

fn mk_backend(namespace: &str, text: &str) -> Backend {
    let (text, weight) = text.split_once(" x").unwrap_or((text, "1"));
    let (name, port) = text.split_once(':').unwrap();
    Backend {
        group: String::new(),
        kind: "Service".to_owned(),
        id: object(namespace, name),
        port: Some(port.parse().unwrap()),
        weight: weight.parse().unwrap(),
        rewrite: None,
    }
}

/// `other/web` → `web` in `other`; `web` → `web` in `namespace`.
fn object(namespace: &str, text: &str) -> ObjectId {
    let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
    ObjectId::new(namespace, name)
}

/// The targets that have a key, in order.
pub(super) fn owners<'a>(output: &'a Output, key: &str) -> Vec<&'a str> {
    let has = |keys: &MatchKeys| {
        let host = keys.hosts.iter().any(|host| host.as_str() == key);
        host || keys.clusters.iter().any(|cluster| cluster.as_str() == key)
    };
    let having = output.targets.iter().filter(|(_, found)| has(&found.keys));
    having.map(|(id, _)| id.as_str()).collect()
}

/// Each key must have exactly these owners.
fn check(output: &Output, expected: &[(&str, &[&str])]) {
    for (key, expected) in expected {
        assert_eq!(owners(output, key), *expected, "must own {key}");
    }
}

/// The message of a target's condition.
fn message<'a>(output: &'a Output, id: &str, kind: &str) -> Option<&'a str> {
    let found = &output.targets[&protocol::TargetId::new(id)];
    let condition = found.conditions.iter().find(|condition| condition.kind == kind);
    condition.map(|condition| condition.message.as_ref())
}
