//! The `ScaleTarget` custom resource: its schema, made from the types that read the files, and its reading into the
//! same targets.
//!
//! It asks the API server for nothing. An object that cannot be read is a value ([`Invalid`]), never an error of the
//! watch that brought it.

mod schema;
mod status;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use kube::{CustomResource, Resource, ResourceExt};
use protocol::TargetId;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

pub use schema::definition;
pub use status::{CONDITIONS, Condition, ConditionStatus, LastWake, MAX_KEYS, ScaleTargetStatus};

use fleet::config::spec::{ApiVersion, Document, Kind, Metadata, Spec};
use fleet::config::words::Name;
use fleet::config::{self, Workload};

/// A spec as the API server has it: not read before [`ScaleTarget::read`], so that one bad object does not end the
/// watch of all.
#[expect(
    clippy::duplicated_attributes,
    reason = "each column names its own type and priority"
)]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "holdfast.dev",
    version = "v1alpha1",
    kind = "ScaleTarget",
    plural = "scaletargets",
    shortname = "stgt",
    category = "holdfast",
    namespaced,
    status = "ScaleTargetStatus",
    derive = "PartialEq",
    doc = "A workload that sleeps at zero replicas while no request needs it. Requests for it wait inside Envoy until it is up.",
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "Where it is in its life"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Replicas that the workload is set to"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyEndpoints",
        description = "Endpoints that are ready"
    ),
    printcolumn(
        name = "Last Wake",
        type_ = "date",
        json_path = ".status.lastWake.time",
        description = "Since it was last woken"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Took",
        type_ = "string",
        json_path = ".status.lastWake.duration",
        priority = 1,
        description = "From the last wake to the first ready endpoint"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.lastReason",
        priority = 1,
        description = "Why it last failed"
    )
)]
#[serde(transparent)]
pub struct Unread(pub Value);

impl JsonSchema for Unread {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Spec::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Spec::json_schema(generator)
    }
}

/// Why a resource cannot be used, though the API server took it: field and reason, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Path of the field, such as `spec.confirm`.
    pub field: String,
    /// Why, for people.
    pub reason: String,
}

impl ScaleTarget {
    /// `namespace/name`.
    pub fn id(&self) -> TargetId {
        let namespace = self.meta().namespace.as_deref().unwrap_or_default();
        TargetId::new(format!("{namespace}/{}", self.name_any()))
    }

    /// Reads what is wanted. Refused, beyond what the schema refuses: what the fields cannot mean together, and an
    /// object without workload or service. Fields that only a newer version knows are left out, as the API server
    /// would.
    pub fn read(&self) -> Result<config::ScaleTarget, Invalid> {
        let mut spec = self.spec.0.clone();
        if spec
            .pointer("/workload/process")
            .is_some_and(|process| !process.is_null())
        {
            return Err(invalid("spec.workload.process", schema::ONLY_IN_FILES));
        }
        schema::prune(&mut spec, &KNOWN);
        let spec: Spec = serde_path_to_error::deserialize(spec).map_err(|error| {
            let reason = error.inner().to_string();
            match error.path().to_string().as_str() {
                "." => invalid("spec", &reason),
                path => invalid(&format!("spec.{path}"), &reason),
            }
        })?;
        let document = Document {
            api_version: ApiVersion::V1Alpha1,
            kind: Kind::ScaleTarget,
            metadata: Metadata {
                name: word("metadata.name", self.meta().name.as_deref())?,
                namespace: word("metadata.namespace", self.meta().namespace.as_deref())?,
                labels: Default::default(),
                annotations: Default::default(),
            },
            spec,
        };
        let target = config::ScaleTarget::try_new(document)
            .map_err(|refused| invalid(refused.field, &refused.reason))?;
        if !matches!(target.workload, Workload::Object { .. }) {
            return Err(invalid(
                "spec.workload",
                "is missing: write apiVersion, kind and name",
            ));
        }
        if target.service.is_none() {
            return Err(invalid(
                "spec.service",
                "is missing: its endpoints say what is ready",
            ));
        }
        Ok(target)
    }
}

/// The schema of the spec as this version knows it.
static KNOWN: LazyLock<Value> = LazyLock::new(schema::spec);

fn word(field: &str, text: Option<&str>) -> Result<Name, Invalid> {
    text.unwrap_or_default()
        .parse()
        .map_err(|reason: String| invalid(field, &reason))
}

fn invalid(field: &str, reason: &str) -> Invalid {
    Invalid {
        field: field.to_owned(),
        reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
