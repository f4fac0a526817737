//! One `ScaleTarget` object: its last good document, and what is wrong with the newest.

use std::sync::Arc;

use kube::ResourceExt;
use protocol::TargetId;

use crate::crd;
use crate::discovery::facts::Target;
use crate::names::Kind;
use fleet::config::{ScaleTarget, Workload};

/// One `ScaleTarget` as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its id.
    pub id: TargetId,
    /// The API server's id of the object, for Events.
    pub uid: String,
    /// Counts the changes of its spec.
    pub generation: i64,
    /// The newest document that can be used.
    pub spec: Option<ScaleTarget>,
    /// What match keys are derived from, of that document.
    pub target: Option<Arc<Target>>,
    /// Why the newest document cannot be used, with the name of the field.
    pub invalid: Option<String>,
}

impl Object {
    /// Reads what the API server has; what cannot be read leaves the `known` document as it is.
    pub(super) fn read(object: &crd::ScaleTarget, known: Option<&Self>) -> Self {
        let (spec, invalid) = match object.read() {
            Ok(spec) => (Some(spec), None),
            Err(invalid) => (
                known.and_then(|known| known.spec.clone()),
                Some(invalid.to_string()),
            ),
        };
        let created = object.creation_timestamp().map_or(0, |time| time.0.as_second());
        Self {
            target: spec.as_ref().map(|spec| Arc::new(Target::new(spec, created))),
            id: object.id(),
            uid: object.uid().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or(0),
            spec,
            invalid,
        }
    }

    /// Kind of its workload.
    pub(super) fn kind(&self) -> Option<Kind> {
        match &self.spec.as_ref()?.workload {
            Workload::Object {
                api_version, kind, ..
            } => Some(Kind::new(api_version, kind)),
            Workload::Unnamed | Workload::Process(_) => None,
        }
    }
}
