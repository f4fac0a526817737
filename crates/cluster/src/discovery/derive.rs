//! The keys of one target: the user's own, its Service's names, and what routes give. Knows nothing of other targets'
//! claims.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU16;

use super::facts::{ObjectId, RouteId, Target};
use super::leads::{Leads, Place, Places, Use};
use fleet::config::{Authority, ClusterKey, HostKey};

/// Most keys of one target; more are left out, with a condition. A target is one value in the filter's shared data and
/// one object in every answer that carries it: 1,000 keys of 60 bytes make 60 KB. The largest route that the Gateway
/// API takes (16 rules of 16 references, 16 hosts) gives 288.
pub(super) const MOST_KEYS: usize = 1000;

/// A host or a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Key {
    Host(HostKey),
    Cluster(ClusterKey),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "host \"{host}\""),
            Self::Cluster(cluster) => write!(f, "cluster \"{cluster}\""),
        }
    }
}

/// The source that says that a key is the target's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The user.
    pub(super) own: bool,
    /// A route. Envoys learn with a lag where routes lead.
    pub(super) route: bool,
}

const OWN: Source = Source {
    own: true,
    route: false,
};
const SERVICE: Source = Source {
    own: false,
    route: false,
};
const ROUTE: Source = Source {
    own: false,
    route: true,
};

/// A host that leads elsewhere as well, so it is no target's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ambiguous<'a> {
    /// What is left out.
    pub(super) host: HostKey,
    /// The host below a wildcard that makes it so, if it is not the host itself.
    pub(super) because: Option<&'a HostKey>,
    pub(super) route: &'a RouteId,
    pub(super) place: Place<'a>,
}

/// What the host is rewritten to on all ways to one Service. A way that leaves the client's host alone says nothing: the
/// Service answers to any name that some way gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rewritten<'a> {
    /// To nothing.
    #[default]
    No,
    /// To one name, first by this route.
    To(&'a Authority, &'a RouteId),
    /// To several, such as these two.
    Differently([(&'a Authority, &'a RouteId); 2]),
}

/// What one target claims.
#[derive(Debug, Default)]
pub(super) struct Derived<'a> {
    pub(super) keys: BTreeMap<Key, Source>,
    pub(super) ambiguous: BTreeSet<Ambiguous<'a>>,
    /// What its routes rewrite the host to.
    pub(super) rewritten: Rewritten<'a>,
    /// There were more than [`MOST_KEYS`].
    pub(super) over: bool,
    /// Hosts, references and keys looked at.
    pub(super) steps: u64,
}

impl<'a> Derived<'a> {
    /// The keys in order of weight: what the user wrote comes first, should there be too many.
    pub(super) fn new(target: &'a Target, leads: &Leads<'a>, domain: &str) -> Self {
        let mut derived = Self::default();
        for host in &target.own.hosts {
            derived.claim(Key::Host(host.clone()), OWN);
        }
        for cluster in &target.own.clusters {
            derived.claim(Key::Cluster(cluster.clone()), OWN);
        }
        if let Some((service, port)) = &target.service {
            derived.take_service(service, *port, leads, domain);
            derived.take_routes(service, *port, leads);
        }
        derived
    }

    /// Istio's clusters and the names inside the cluster. A host carries no port, so the names stand for all of them.
    fn take_service(
        &mut self,
        service: &ObjectId,
        port: Option<NonZeroU16>,
        leads: &Leads<'a>,
        domain: &str,
    ) {
        let ObjectId { namespace, name } = service;
        let known = leads.services.get(service).map_or(&[][..], |facts| &facts.ports);
        // Istio: BuildSubsetKey in pilot/pkg/model/service.go, `direction|port|subset|hostname`; any subset.
        for port in port.as_ref().map_or(known, std::slice::from_ref) {
            self.claim_cluster(
                &format!("outbound|{port}|*|{name}.{namespace}.svc.{domain}"),
                SERVICE,
            );
        }
        let short = leads.is_sole(name).then(|| name.clone());
        let names = [
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
            format!("{name}.{namespace}.svc.{domain}"),
        ];
        let mesh = leads.mesh.get(service);
        for host in short.into_iter().chain(names) {
            let Ok(host) = host.parse::<HostKey>() else {
                continue;
            };
            let routes = [mesh, leads.hosts.get(&host)];
            self.claim_host(host, routes.into_iter().flatten(), service, port, SERVICE);
        }
    }

    fn take_routes(&mut self, service: &ObjectId, port: Option<NonZeroU16>, leads: &Leads<'a>) {
        let is_ours = |place: &Place<'a>| is_meant(place, service, port);
        let mut hosts = BTreeSet::new();
        for one in leads.uses(service) {
            self.steps += 1;
            if port.is_some() && one.port != port {
                continue;
            }
            self.take_rewrite(one);
            // Envoy Gateway 1.9: irRouteDestinationName in internal/gatewayapi/helpers.go. One cluster for each rule,
            // whatever listeners and hostnames it is attached to ...
            let id = &one.route.id;
            let rule = format!("{}/{}/rule/{}", id.kind.prefix(), id.id, one.rule);
            // ... or one for each of its references (irDestinationSettingName): where a reference has filters, the
            // addresses are of mixed types, an endpoint is missing, or load is balanced by zone
            // (NeedsClusterPerSetting in internal/ir/xds.go). Nothing says which of the two, so it is both.
            self.claim_cluster(&format!("{rule}/backend/{}", one.backend), ROUTE);
            if leads.rule(one).iter().all(is_ours) {
                self.claim_cluster(&rule, ROUTE);
            }
            hosts.extend(&one.route.hosts);
        }
        for host in hosts {
            let routes = leads.hosts.get(host).into_iter();
            self.claim_host(host.clone(), routes, service, port, ROUTE);
        }
    }

    fn take_rewrite(&mut self, one: &Use<'a>) {
        let Some(authority) = one.rewrite else {
            return;
        };
        let route = &one.route.id;
        match self.rewritten {
            Rewritten::No => self.rewritten = Rewritten::To(authority, route),
            Rewritten::To(other, first) if !is_same_name(other, authority) => {
                self.rewritten = Rewritten::Differently([(other, first), (authority, route)]);
            }
            Rewritten::To(..) | Rewritten::Differently(_) => {}
        }
    }

    /// Claims a host unless it leads elsewhere too.
    fn claim_host<'b>(
        &mut self,
        host: HostKey,
        routes: impl Iterator<Item = &'b Places<'a>>,
        service: &ObjectId,
        port: Option<NonZeroU16>,
        source: Source,
    ) where
        'a: 'b,
    {
        // The ports of one Service lie side by side, so this looks at few of many.
        let steps = &mut self.steps;
        let elsewhere = routes
            .flat_map(|places| places.iter())
            .inspect(|_| *steps += 1)
            .find(|(place, _)| !is_meant(place, service, port));
        match elsewhere {
            Some((place, route)) => {
                self.ambiguous.insert(Ambiguous {
                    host,
                    because: None,
                    route,
                    place: *place,
                });
            }
            None => self.claim(Key::Host(host), source),
        }
    }

    fn claim_cluster(&mut self, name: &str, source: Source) {
        // Names made of Kubernetes names always fit; a cluster domain of 300 characters would not.
        if let Ok(cluster) = name.parse() {
            self.claim(Key::Cluster(cluster), source);
        }
    }

    fn claim(&mut self, key: Key, source: Source) {
        self.steps += 1;
        if let Some(known) = self.keys.get_mut(&key) {
            known.own |= source.own;
            known.route |= source.route;
        } else if self.keys.len() < MOST_KEYS {
            self.keys.insert(key, source);
        } else {
            self.over = true;
        }
    }
}

fn is_same_name(one: &Authority, other: &Authority) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

fn is_meant(place: &Place<'_>, service: &ObjectId, port: Option<NonZeroU16>) -> bool {
    place.is_of(service) && (port.is_none() || place.port == port)
}
