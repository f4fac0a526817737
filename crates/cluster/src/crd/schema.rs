//! The custom resource definition: what the types say, in the form that Kubernetes demands, and what a cluster demands
//! beyond files.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use super::ScaleTarget;

pub(super) const ONLY_IN_FILES: &str =
    "belongs in the targets file of the local backend; in a cluster write apiVersion, kind and name";

/// The definition to install.
pub fn definition() -> CustomResourceDefinition {
    let mut definition = ScaleTarget::crd();
    for version in &mut definition.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(root) = schema {
            conform(root);
            if let Some(spec) = property(root, "spec") {
                demand(spec);
            }
        }
    }
    definition
}

/// The schema of the one version there is.
pub(super) fn root() -> JSONSchemaProps {
    let version = definition().spec.versions.into_iter().next();
    let schema = version.and_then(|version| version.schema?.open_api_v3_schema);
    schema.unwrap_or_default()
}

/// The schema of `spec` alone, as JSON.
pub(super) fn spec() -> Value {
    serde_json::to_value(property(&mut root(), "spec")).unwrap_or_default()
}

/// Removes the fields of `value` that `schema` does not know, as an API server with this schema would.
pub(super) fn prune(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(fields) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else {
                return;
            };
            fields.retain(|name, _| known.contains_key(name));
            for (name, field) in fields {
                if let Some(schema) = known.get(name) {
                    prune(field, schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| prune(item, schema));
            }
        }
        _ => {}
    }
}

/// What a cluster demands beyond files.
fn demand(spec: &mut JSONSchemaProps) {
    spec.required = Some(vec!["service".to_owned(), "workload".to_owned()]);
    let Some(workload) = property(spec, "workload") else {
        return;
    };
    workload.default = None;
    workload.required = Some(["apiVersion", "kind", "name"].map(str::to_owned).into());
    if let Some(process) = property(workload, "process") {
        // Declared, or it would be pruned in silence; with all it holds, or it would be pruned to an empty one, which
        // `maxProperties` lets pass.
        *process = JSONSchemaProps {
            description: Some(format!("Refused in a cluster: it {ONLY_IN_FILES}.")),
            type_: Some("object".to_owned()),
            max_properties: Some(0),
            min_properties: Some(1),
            x_kubernetes_preserve_unknown_fields: Some(true),
            ..JSONSchemaProps::default()
        };
    }
}

/// Brings the integers' formats into those of Kubernetes, which knows no unsigned ones, and makes an explicit null the
/// same as an absent field: the API server then drops it and fills in the default.
pub(super) fn conform(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    let bits = match schema.format.as_deref() {
        Some("uint8" | "uint16") => Some(("int32", None)),
        Some("uint32") => Some(("int64", Some(f64::from(u32::MAX)))),
        _ => None,
    };
    if let Some((format, maximum)) = bits {
        schema.format = Some(format.to_owned());
        schema.maximum = schema.maximum.or(maximum);
    }
    for (_, property) in schema.properties.iter_mut().flatten() {
        conform(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => conform(items),
        Some(JSONSchemaPropsOrArray::Schemas(all)) => all.iter_mut().for_each(conform),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        conform(values);
    }
}

fn property<'a>(schema: &'a mut JSONSchemaProps, name: &str) -> Option<&'a mut JSONSchemaProps> {
    schema.properties.as_mut()?.get_mut(name)
}
