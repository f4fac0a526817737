//! Reads Kubernetes objects into facts. Never guesses: what does not fit the API's schema is an error that names the
//! object and the field, and the caller keeps what it had.
//!
//! Defaults are those of the Gateway API: a reference without group and kind means a Service, without namespace the
//! route's own; weight 1.

use std::num::NonZeroU16;

use k8s_openapi::api::core::v1::Service;
use kube::core::{DynamicObject, ObjectMeta};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::facts::{Backend, Grant, Granted, ObjectId, Route, RouteId, RouteKind, Rule, ServiceFacts};
use fleet::config::{Authority, HostKey};

const GATEWAY: &str = "gateway.networking.k8s.io";

/// An object that does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} {object}: {field}: {reason}")]
pub struct Unreadable {
    /// Its kind.
    pub kind: &'static str,
    /// `namespace/name`, as far as it has them.
    pub object: String,
    /// Path of the field, such as `spec.rules[0].backendRefs[1].port`.
    pub field: String,
    /// Why, for people, in one line.
    pub reason: String,
}

impl Route {
    /// Reads an HTTPRoute or a GRPCRoute of version v1. An item of a list does not say its kind, so the caller does.
    pub fn parse(kind: RouteKind, object: &DynamicObject) -> Result<Self, Unreadable> {
        let id = identify(kind.as_str(), &object.metadata)?;
        let spec = read::<RouteSpec>(kind.as_str(), &id, object)?;
        let here = |namespace: Option<String>| namespace.unwrap_or_else(|| id.namespace.clone());
        let mesh = spec.parent_refs.into_iter().filter(ParentRef::is_service);
        let mesh = mesh
            .map(|parent| ObjectId::new(here(parent.namespace), parent.name))
            .collect();
        let backend = |text: BackendRef| Backend {
            group: text.group,
            kind: text.kind,
            id: ObjectId::new(here(text.namespace), text.name),
            port: text.port,
            weight: text.weight,
            rewrite: rewrite(text.filters),
        };
        let rule = |text: RuleSpec| {
            let of_rule = rewrite(text.filters);
            let mut backends: Vec<_> = text.backend_refs.into_iter().map(backend).collect();
            for backend in &mut backends {
                // A reference's own filters come after its rule's.
                backend.rewrite = backend.rewrite.take().or_else(|| of_rule.clone());
            }
            Rule { backends }
        };
        Ok(Self {
            mesh,
            hosts: spec.hostnames,
            rules: spec.rules.into_iter().map(rule).collect(),
            id: RouteId { kind, id },
        })
    }
}

impl Grant {
    /// Reads a ReferenceGrant. Lines for other kinds of route are left out.
    pub fn parse(object: &DynamicObject) -> Result<Self, Unreadable> {
        const KIND: &str = "ReferenceGrant";
        let id = identify(KIND, &object.metadata)?;
        let spec = read::<GrantSpec>(KIND, &id, object)?;
        let from = spec.from.into_iter().filter_map(|from| {
            let kind = [RouteKind::Http, RouteKind::Grpc]
                .into_iter()
                .find(|kind| kind.as_str() == from.kind)?;
            (from.group == GATEWAY).then_some((kind, from.namespace))
        });
        let to = spec.to.into_iter().map(|to| Granted {
            group: to.group,
            kind: to.kind,
            name: to.name,
        });
        Ok(Self {
            from: from.collect(),
            to: to.collect(),
            namespace: id.namespace,
        })
    }
}

impl TryFrom<&Service> for ServiceFacts {
    type Error = Unreadable;

    /// Refused: a Service without name or namespace, a port outside 1 to 65535.
    fn try_from(service: &Service) -> Result<Self, Unreadable> {
        const KIND: &str = "Service";
        let id = identify(KIND, &service.metadata)?;
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref());
        let tcp = ports
            .unwrap_or_default()
            .iter()
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
        let mut ports = tcp
            .map(|port| {
                let number = u16::try_from(port.port).ok().and_then(NonZeroU16::new);
                number.ok_or_else(|| Unreadable {
                    kind: KIND,
                    object: id.to_string(),
                    field: "spec.ports".to_owned(),
                    reason: format!("{} is no port", port.port),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        ports.sort_unstable();
        ports.dedup();
        Ok(Self { id, ports })
    }
}

fn identify(kind: &'static str, metadata: &ObjectMeta) -> Result<ObjectId, Unreadable> {
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    let missing = |field: &str| Unreadable {
        kind,
        object: format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default()),
        field: field.to_owned(),
        reason: "is missing".to_owned(),
    };
    Ok(ObjectId::new(
        namespace.ok_or_else(|| missing("metadata.namespace"))?,
        name.ok_or_else(|| missing("metadata.name"))?,
    ))
}

fn read<T: DeserializeOwned>(
    kind: &'static str,
    id: &ObjectId,
    object: &DynamicObject,
) -> Result<T, Unreadable> {
    let document: Document<T> =
        serde_path_to_error::deserialize(&object.data).map_err(|error| Unreadable {
            kind,
            object: id.to_string(),
            field: error.path().to_string(),
            reason: error.inner().to_string(),
        })?;
    Ok(document.spec)
}

#[derive(Deserialize)]
struct Document<T> {
    spec: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteSpec {
    #[serde(default)]
    parent_refs: Vec<ParentRef>,
    #[serde(default)]
    hostnames: Vec<HostKey>,
    #[serde(default)]
    rules: Vec<RuleSpec>,
}

#[derive(Deserialize)]
struct ParentRef {
    #[serde(default = "gateway")]
    group: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
}

impl ParentRef {
    fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind.as_deref() == Some("Service")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleSpec {
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    backend_refs: Vec<BackendRef>,
}

/// Of all filters only the one that rewrites the host matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    url_rewrite: Option<UrlRewrite>,
}

#[derive(Deserialize)]
struct UrlRewrite {
    #[serde(default)]
    hostname: Option<Authority>,
}

fn rewrite(filters: Vec<Filter>) -> Option<Authority> {
    filters
        .into_iter()
        .find_map(|filter| filter.url_rewrite?.hostname)
}

#[derive(Deserialize)]
struct BackendRef {
    #[serde(default)]
    group: String,
    #[serde(default = "service")]
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
    #[serde(default)]
    port: Option<NonZeroU16>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
struct GrantSpec {
    #[serde(default)]
    from: Vec<GrantFrom>,
    #[serde(default)]
    to: Vec<GrantTo>,
}

#[derive(Deserialize)]
struct GrantFrom {
    group: String,
    kind: String,
    namespace: String,
}

#[derive(Deserialize)]
struct GrantTo {
    #[serde(default)]
    group: String,
    kind: String,
    #[serde(default)]
    name: Option<String>,
}

fn gateway() -> String {
    GATEWAY.to_owned()
}

fn service() -> String {
    "Service".to_owned()
}

fn one() -> u32 {
    1
}
