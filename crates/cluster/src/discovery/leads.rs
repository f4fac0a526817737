//! Where requests lead: by host, by mesh parent, and back from a Service to the rules that lead to it. One pass over
//! routes, Services and grants; knows no targets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU16;

use super::Input;
use super::facts::{Backend, ObjectId, Route, RouteId, RouteKind, ServiceFacts};
use fleet::config::{Authority, HostKey};

/// What a backendRef leads to. Ordered so that the ports of one Service lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
    pub(super) id: &'a ObjectId,
    pub(super) port: Option<NonZeroU16>,
}

impl<'a> Place<'a> {
    fn of(backend: &'a Backend) -> Self {
        Self {
            group: &backend.group,
            kind: &backend.kind,
            id: &backend.id,
            port: backend.port,
        }
    }

    pub(super) fn is_of(&self, service: &ObjectId) -> bool {
        self.group.is_empty() && self.kind == "Service" && self.id == service
    }
}

/// Everything that one name leads to, and for each place the first route that says so.
pub(super) type Places<'a> = BTreeMap<Place<'a>, &'a RouteId>;

/// A backendRef that leads to a Service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use<'a> {
    pub(super) route: &'a Route,
    /// Index in the route.
    pub(super) rule: usize,
    /// Index in the rule.
    pub(super) backend: usize,
    pub(super) port: Option<NonZeroU16>,
    /// What the host is rewritten to on the way.
    pub(super) rewrite: Option<&'a Authority>,
    /// Index in [`Leads::rules`].
    at: usize,
}

/// Where everything leads.
#[derive(Debug, Default)]
pub(super) struct Leads<'a> {
    pub(super) hosts: HashMap<&'a HostKey, Places<'a>>,
    /// By the Service that a mesh's routes are attached to.
    pub(super) mesh: HashMap<&'a ObjectId, Places<'a>>,
    pub(super) services: HashMap<&'a ObjectId, &'a ServiceFacts>,
    uses: HashMap<&'a ObjectId, Vec<Use<'a>>>,
    /// The places of every rule that leads anywhere.
    rules: Vec<Vec<Place<'a>>>,
    /// For each name of a Service its first namespace, and whether there is another.
    bare: HashMap<&'a str, (&'a str, bool)>,
    /// References and hosts looked at.
    pub(super) steps: u64,
}

impl<'a> Leads<'a> {
    /// Reads all of it. Routes are taken in the order of their names, whatever the order of the input.
    pub(super) fn new(input: &Input<'a>) -> Self {
        let mut leads = Self::default();
        for service in &input.services {
            leads.services.insert(&service.id, service);
            leads.add_name(&service.id);
        }
        // A target's Service may be missing for the moment; its name is taken all the same.
        for (service, _) in input.targets.iter().filter_map(|target| target.service.as_ref()) {
            leads.add_name(service);
        }
        let grants = Grants::new(input);
        let mut routes = input.routes.clone();
        routes.sort_unstable_by_key(|route| &route.id);
        for route in routes {
            leads.add_route(route, &grants);
        }
        leads
    }

    /// The references that lead to a Service, by route, rule and place in the rule.
    pub(super) fn uses(&self, service: &ObjectId) -> &[Use<'a>] {
        self.uses.get(service).map_or(&[], Vec::as_slice)
    }

    /// What the rule of `of` leads to in all.
    pub(super) fn rule(&self, of: &Use<'a>) -> &[Place<'a>] {
        self.rules.get(of.at).map_or(&[], Vec::as_slice)
    }

    /// True if no other namespace has a Service of this name.
    pub(super) fn is_sole(&self, name: &str) -> bool {
        self.bare.get(name).is_none_or(|(_, others)| !others)
    }

    fn add_name(&mut self, id: &'a ObjectId) {
        let (first, others) = self.bare.entry(&id.name).or_insert((&id.namespace, false));
        *others |= *first != id.namespace;
    }

    fn add_route(&mut self, route: &'a Route, grants: &Grants<'a>) {
        let mut all = Vec::new();
        for (rule, text) in route.rules.iter().enumerate() {
            let mut places = Vec::new();
            for (backend, text) in text.backends.iter().enumerate() {
                self.steps += 1;
                if text.weight == 0 || !grants.allow(route, text) {
                    continue;
                }
                places.push(Place::of(text));
                if text.is_service() {
                    self.uses.entry(&text.id).or_default().push(Use {
                        route,
                        rule,
                        backend,
                        port: text.port,
                        rewrite: text.rewrite.as_ref(),
                        at: self.rules.len(),
                    });
                }
            }
            all.extend_from_slice(&places);
            self.rules.push(places);
        }
        // A host that leads nowhere (redirects) has no cluster, so nothing is ever looked up by it.
        all.sort_unstable();
        all.dedup();
        for place in all {
            for host in &route.hosts {
                self.steps += 1;
                let places = self.hosts.entry(host).or_default();
                places.entry(place).or_insert(&route.id);
            }
            for parent in &route.mesh {
                self.steps += 1;
                let places = self.mesh.entry(parent).or_default();
                places.entry(place).or_insert(&route.id);
            }
        }
    }
}

/// From which routes' namespace to what in which namespace.
type Way<'a> = (RouteKind, &'a str, &'a str, &'a str, &'a str);

/// What may be referred to across namespaces.
#[derive(Debug, Default)]
struct Grants<'a> {
    all: HashSet<Way<'a>>,
    one: HashSet<(Way<'a>, &'a str)>,
}

impl<'a> Grants<'a> {
    fn new(input: &Input<'a>) -> Self {
        let mut grants = Self::default();
        for grant in &input.grants {
            for (kind, from) in &grant.from {
                for to in &grant.to {
                    let way = (
                        *kind,
                        from.as_str(),
                        grant.namespace.as_str(),
                        to.group.as_str(),
                        to.kind.as_str(),
                    );
                    match &to.name {
                        Some(name) => {
                            grants.one.insert((way, name));
                        }
                        None => {
                            grants.all.insert(way);
                        }
                    }
                }
            }
        }
        grants
    }

    fn allow(&self, route: &Route, backend: &Backend) -> bool {
        let (from, to) = (&route.id.id.namespace, &backend.id.namespace);
        let way = (
            route.id.kind,
            from.as_str(),
            to.as_str(),
            backend.group.as_str(),
            backend.kind.as_str(),
        );
        from == to || self.all.contains(&way) || self.one.contains(&(way, backend.id.name.as_str()))
    }
}
