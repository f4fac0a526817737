//! Reduces an object with a scale subresource to what a life is judged by.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ManagedFieldsEntry};
use kube::ResourceExt;
use kube::core::{DynamicObject, Selector};
use serde_json::Value;

use super::{MANAGER, Version};
use crate::failure::{self, Failure};

/// Where a kind keeps the number of its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicasAt {
    /// In `spec.replicas`, one if absent.
    Spec,
    /// Only the scale subresource knows.
    Scale,
}

impl ReplicasAt {
    /// For a kind of the API group and version `api_version`.
    pub fn of(api_version: &str, kind: &str) -> Self {
        match (api_version, kind) {
            ("apps/v1", "Deployment" | "StatefulSet" | "ReplicaSet") | ("v1", "ReplicationController") => {
                Self::Spec
            }
            _ => Self::Scale,
        }
    }
}

/// A workload, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Another one under the same name has another.
    pub uid: String,
    /// At which it was seen.
    pub version: Version,
    /// Raised with each change of the spec: where [`ReplicasAt::Scale`], the scale is to be read again when it changes.
    pub generation: i64,
    /// Replicas wanted; `None`: only the scale subresource knows.
    pub replicas: Option<u32>,
    /// Label selector of its Pods; `None`: only the scale subresource knows.
    pub selector: Option<String>,
    /// Why it cannot start, as far as its own conditions tell.
    pub failure: Option<Failure>,
    /// Field manager, other than ours, that set the replicas last, if known.
    pub set_by: Option<String>,
}

impl Workload {
    /// What matters of `object`, whose kind keeps its replicas `at`.
    pub fn reduce(object: &DynamicObject, at: ReplicasAt) -> Self {
        let text = |text: Option<String>| text.unwrap_or_default();
        let known = at == ReplicasAt::Spec;
        Self {
            uid: text(object.uid()),
            version: Version::new(text(object.resource_version())),
            generation: object.metadata.generation.unwrap_or(0),
            replicas: known.then(|| replicas(&object.data)),
            selector: known.then(|| selector(&object.data)).flatten(),
            failure: failure::of_conditions(object),
            set_by: set_by(object.managed_fields()),
        }
    }
}

fn replicas(data: &Value) -> u32 {
    match data.pointer("/spec/replicas") {
        None | Some(Value::Null) => 1,
        // Validation of the API server keeps it in range.
        Some(value) => value.as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
    }
}

fn selector(data: &Value) -> Option<String> {
    let selector = data.pointer("/spec/selector")?;
    let selector: LabelSelector = serde_json::from_value(selector.clone()).ok()?;
    let selector = Selector::try_from(selector).ok()?;
    // Nothing to select by would select everything.
    (!selector.selects_all()).then(|| selector.to_string())
}

/// The newest entry that owns the replicas, unless it is ours.
fn set_by(managed: &[ManagedFieldsEntry]) -> Option<String> {
    let newest = managed
        .iter()
        .filter(|entry| owns_replicas(entry))
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    newest.manager.clone().filter(|manager| manager != MANAGER)
}

fn owns_replicas(entry: &ManagedFieldsEntry) -> bool {
    // Written through the scale subresource: whatever it owns is the number, wherever the kind keeps it.
    let scale = entry.subresource.as_deref() == Some("scale");
    let spec = entry
        .fields_v1
        .as_ref()
        .is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some());
    scale || spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replicas_are_one_where_none_are_written() {
        let check = |spec: Value, wanted: u32| {
            let seen = mk_workload(&spec, ReplicasAt::Spec);
            assert_eq!(seen.replicas, Some(wanted), "must read {spec}");
        };
        check(json!({}), 1);
        check(json!({"replicas": null}), 1);
        check(json!({"replicas": 0}), 0);
        check(json!({"replicas": 5}), 5);
        let other = mk_workload(&json!({"replicas": 5}), ReplicasAt::Scale);
        assert_eq!(
            other.replicas, None,
            "must leave it to the scale subresource where the kind is not known"
        );
    }

    #[test]
    fn knows_where_kinds_keep_their_replicas() {
        for kind in ["Deployment", "StatefulSet", "ReplicaSet"] {
            assert_eq!(
                ReplicasAt::of("apps/v1", kind),
                ReplicasAt::Spec,
                "must know {kind}"
            );
        }
        let other = ReplicasAt::of("example.com/v1", "Deployment");
        assert_eq!(
            other,
            ReplicasAt::Scale,
            "must not take another group's Deployment for one"
        );
    }

    #[test]
    fn selects_its_pods() {
        let seen = mk_workload(
            &json!({"selector": {"matchLabels": {"app": "web"}}}),
            ReplicasAt::Spec,
        );
        assert_eq!(seen.selector.as_deref(), Some("app=web"), "must read its labels");
        let none = mk_workload(&json!({"selector": {}}), ReplicasAt::Spec);
        assert_eq!(none.selector, None, "must not select everything");
    }

    #[test]
    fn the_newest_owner_of_the_replicas_has_set_them() {
        let check = |entries: Value, wanted: Option<&str>| {
            let mut object = mk_object(&json!({}));
            object.metadata.managed_fields = serde_json::from_value(entries).unwrap();
            let seen = Workload::reduce(&object, ReplicasAt::Spec);
            assert_eq!(seen.set_by.as_deref(), wanted, "must name who set the replicas");
        };
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let apply = json!({"manager": "kubectl", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": replicas});
        let hpa = json!({"manager": "hpa", "operation": "Update", "time": "2026-01-01T00:00:05Z",
            "subresource": "scale", "fieldsV1": {"f:spec": {"f:size": {}}}});
        let ours = json!({"manager": "holdfast", "operation": "Update", "time": "2026-01-01T00:00:09Z",
            "subresource": "scale", "fieldsV1": replicas});
        let image = json!({"manager": "ci", "operation": "Update", "time": "2026-01-01T00:01:00Z",
            "fieldsV1": {"f:spec": {"f:template": {}}}});
        check(json!([]), None);
        check(json!([image]), None);
        check(json!([apply, image]), Some("kubectl"));
        check(json!([hpa, apply, image]), Some("hpa"));
        check(json!([ours, hpa, apply]), None);
    }

    fn mk_workload(spec: &Value, at: ReplicasAt) -> Workload {
        Workload::reduce(&mk_object(spec), at)
    }

    fn mk_object(spec: &Value) -> DynamicObject {
        let object = json!({"metadata": {"name": "web", "uid": "u", "resourceVersion": "7"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }
}
