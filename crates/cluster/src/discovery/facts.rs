//! What discovery knows of a cluster: routes, Services, grants and targets, reduced to what decides about match keys.
//! Parsed once, when a watch brings the object; holds nothing that cannot be carried out.

use std::fmt;
use std::num::NonZeroU16;

use protocol::TargetId;

use fleet::config::{Authority, HostKey, MatchKeys, ScaleTarget};
// A key is a match key here.
pub use crate::names::Key as ObjectId;

/// The kinds of route that are read. Others carry no HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// `HTTPRoute`.
    Http,
    /// `GRPCRoute`.
    Grpc,
}

impl RouteKind {
    /// As it stands in `kind`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }

    /// As Envoy Gateway writes it in the names of clusters.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Self::Http => "httproute",
            Self::Grpc => "grpcroute",
        }
    }
}

/// Name of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId {
    /// Its kind.
    pub kind: RouteKind,
    /// Its name.
    pub id: ObjectId,
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.id)
    }
}

/// An HTTPRoute or a GRPCRoute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name.
    pub id: RouteId,
    /// Its hostnames. None: it takes those of its listeners, and gives no host.
    pub hosts: Vec<HostKey>,
    /// Services that it is attached to (a mesh's route): it says where requests for their names lead.
    pub mesh: Vec<ObjectId>,
    /// Its rules; their order is part of the names of Envoy Gateway's clusters.
    pub rules: Vec<Rule>,
}

/// One rule of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Where it leads; none: nowhere (a redirect). Their order is part of the names of Envoy Gateway's clusters.
    pub backends: Vec<Backend>,
}

/// One backendRef.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// API group; empty for a Service.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; the namespace is the route's if the reference had none.
    pub id: ObjectId,
    /// Port; only references to other kinds may have none.
    pub port: Option<NonZeroU16>,
    /// Its share of the requests; 0: none.
    pub weight: u32,
    /// What the host of requests is rewritten to on the way there.
    pub rewrite: Option<Authority>,
}

impl Backend {
    /// True if it is a Service of the core API.
    pub(super) fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its name.
    pub id: ObjectId,
    /// Its TCP ports, in order, without repeats.
    pub ports: Vec<NonZeroU16>,
}

/// A ReferenceGrant: which objects may refer to what in its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its namespace: what it opens.
    pub namespace: String,
    /// Routes of which kind and namespace may.
    pub from: Vec<(RouteKind, String)>,
    /// What they may refer to.
    pub to: Vec<Granted>,
}

/// What a grant opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// API group; empty for Services.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; none: all of them.
    pub name: Option<String>,
}

/// What of a ScaleTarget decides about its match keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub id: TargetId,
    /// Its `creationTimestamp`, in seconds since 1970: of two claimants the older keeps a key.
    pub created: i64,
    /// Whose hosts and clusters it takes, and which port of it if not all.
    pub service: Option<(ObjectId, Option<NonZeroU16>)>,
    /// The user's own keys.
    pub own: MatchKeys,
    /// The confirm asks, and the user has not said under which name.
    pub lacks_authority: bool,
}

impl Target {
    /// Of a document as the user wrote it: its keys must not hold derived ones yet.
    pub fn new(spec: &ScaleTarget, created: i64) -> Self {
        let id = spec.id.as_str();
        let namespace = id.split_once('/').map_or("default", |(namespace, _)| namespace);
        let service = spec.service.as_ref().map(|service| {
            let name = ObjectId::new(namespace, service.name.as_str());
            (name, service.port)
        });
        Self {
            id: spec.id.clone(),
            created,
            service,
            own: spec.keys.clone(),
            lacks_authority: spec.lacks_authority(),
        }
    }

    /// Orders claimants: the least keeps a key.
    pub(super) fn seniority(&self) -> (i64, &TargetId) {
        (self.created, &self.id)
    }
}
