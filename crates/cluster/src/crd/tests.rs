//! The definition against the parser, and the files that are made from it.

mod manifest;
mod reference;

use std::path::Path;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ScaleTarget, definition, schema};
use fleet::config::{Needs, TargetsFile, Workload};
use manifest::manifest;
use reference::reference;

/// See the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    taken: Vec<Value>,
    refused: Vec<Row>,
    refused_in_a_cluster: Vec<Row>,
    refused_by_the_parser: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    field: String,
    spec: Value,
}

#[test]
fn the_definition_in_the_repository_is_current() {
    check_current("base/crd.yaml", &manifest());
}

#[test]
fn the_reference_in_the_repository_is_current() {
    check_current("REFERENCE.md", &reference());
}

/// A file of `kubernetes/` that is made from types. With `HOLDFAST_WRITE` it is written instead.
fn check_current(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../kubernetes")
        .join(name);
    if std::env::var_os("HOLDFAST_WRITE").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap() == text,
        "kubernetes/{name} must be made anew: HOLDFAST_WRITE=1 cargo test -p cluster --lib crd::tests"
    );
}

#[test]
fn schema_and_parser_take_the_same() {
    for overlay in table().taken {
        let spec = over(&overlay);
        assert_eq!(
            refusals(&spec),
            Vec::<String>::new(),
            "the schema must take {overlay}"
        );
        mk_object(&spec)
            .read()
            .unwrap_or_else(|e| panic!("a cluster must take {overlay}: {e}"));
        in_file(&spec).unwrap_or_else(|e| panic!("a file must take {overlay}: {e}"));
    }
}

#[test]
fn schema_and_parser_refuse_the_same_and_name_the_field() {
    for Row { field, spec } in table().refused {
        let spec = over(&spec);
        check_schema_refuses(&field, &spec);
        let refused = mk_object(&spec).read().unwrap_err();
        assert!(
            refused.field.starts_with(&field),
            "the parser must name {field}: {refused}"
        );
        let refused = in_file(&spec).unwrap_err();
        assert!(
            refused.contains(&field),
            "the parser of files must name {field}: {refused}"
        );
    }
}

#[test]
fn a_cluster_demands_an_object_and_a_service() {
    for Row { field, spec } in table().refused_in_a_cluster {
        let spec = over(&spec);
        check_schema_refuses(&field, &spec);
        let refused = mk_object(&spec).read().unwrap_err();
        assert_eq!(refused.field, field, "must be refused in a cluster");
        in_file(&spec).unwrap_or_else(|e| panic!("a file must take {spec}: {e}"));
    }
}

#[test]
fn what_no_schema_can_say_is_refused_by_the_parser() {
    for Row { field, spec } in table().refused_by_the_parser {
        let spec = over(&spec);
        assert_eq!(
            refusals(&spec),
            Vec::<String>::new(),
            "the schema must not know better: {spec}"
        );
        let refused = mk_object(&spec).read().unwrap_err();
        assert!(refused.field.starts_with(&field), "must name {field}: {refused}");
        assert!(!refused.to_string().contains('\n'), "must be one line: {refused}");
    }
}

#[test]
fn the_schemas_defaults_are_the_types() {
    let plain = over(&json!({}));
    let mut filled = plain.clone();
    fill(&mut filled, &schema::spec());
    for field in [
        "match", "replicas", "idle", "hold", "release", "confirm", "ignore", "suspend",
    ] {
        assert!(filled.get(field).is_some(), "must fill in {field}");
    }
    assert_eq!(
        mk_object(&filled).read(),
        mk_object(&plain).read(),
        "must mean the same as what is filled in"
    );
    // Each level alone: an empty object is filled from the defaults of its fields.
    let mut empty = over(
        &json!({"match": {}, "replicas": {}, "idle": {}, "hold": {}, "release": {}, "confirm": {}, "ignore": {}}),
    );
    fill(&mut empty, &schema::spec());
    assert_eq!(empty, filled, "must be the same at each level");
}

#[test]
fn fields_of_a_newer_definition_are_left_out() {
    let spec = over(&json!({"hold": {"patience": "long"}, "mood": "good"}));
    assert_eq!(
        mk_object(&spec).read(),
        mk_object(&over(&json!({}))).read(),
        "must be read as if they were not there"
    );
}

#[test]
fn is_named_by_namespace_and_name() {
    let target = mk_object(&over(&json!({}))).read().unwrap();
    assert_eq!(target.id.as_str(), "shop/web", "must be the object's");
    assert_eq!(
        target.workload,
        Workload::Object {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "web".to_owned()
        },
        "must be the object"
    );
}

#[test]
fn every_field_is_described() {
    let mut missing = Vec::new();
    check_described("", &serde_json::to_value(schema::root()).unwrap(), &mut missing);
    assert_eq!(missing, Vec::<String>::new(), "must be described");
}

#[test]
fn a_status_that_this_version_does_not_know_is_no_error() {
    let mut object = serde_json::to_value(mk_object(&over(&json!({})))).unwrap();
    object["status"] = json!({"state": "Dreaming", "conditions": [], "dream": 1});
    let object: ScaleTarget = serde_json::from_value(object).unwrap();
    assert_eq!(
        object.status.unwrap().state.as_deref(),
        Some("Dreaming"),
        "must be read"
    );
}

#[test]
fn the_status_is_a_subresource() {
    let definition = definition();
    let version = definition.spec.versions.first().unwrap();
    let subresources = version.subresources.as_ref().unwrap();
    assert!(subresources.status.is_some(), "must not be written with the spec");
    assert!(subresources.scale.is_none(), "must not be scaled itself");
}

fn table() -> Table {
    serde_norway::from_str(include_str!("table.yaml")).unwrap()
}

/// A spec that is good, with `overlay` over it; null removes.
fn over(overlay: &Value) -> Value {
    let mut spec = json!({
        "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "service": {"name": "web"},
    });
    json_patch::merge(&mut spec, overlay);
    spec
}

fn check_schema_refuses(field: &str, spec: &Value) {
    let refusals = refusals(spec);
    assert!(
        refusals.iter().any(|refused| refused.starts_with(field)),
        "the schema must refuse {field} of {spec}, but refuses {refusals:?}"
    );
}

fn mk_object(spec: &Value) -> ScaleTarget {
    serde_json::from_value(json!({
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "ScaleTarget",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": spec,
    }))
    .unwrap()
}

/// The same document in a file, with a key, which a file cannot do without.
fn in_file(spec: &Value) -> Result<(), String> {
    let mut spec = spec.clone();
    if spec.pointer("/match/hosts").is_none() && spec.pointer("/match/clusters").is_none() {
        spec["match"] = json!({"hosts": ["web"]});
    }
    let document = json!({
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "ScaleTarget",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": spec,
    });
    let file = TargetsFile {
        path: "targets.yaml".into(),
        needs: Needs::Nothing,
    };
    file.parse(&document.to_string())
        .map(drop)
        .map_err(|e| e.to_string())
}

/// What an API server would refuse, each with its field in front. Knows only what our schema uses.
fn refusals(spec: &Value) -> Vec<String> {
    let mut refusals = Vec::new();
    validate("spec", spec, &schema::spec(), &mut refusals);
    refusals
}

fn validate(path: &str, value: &Value, schema: &Value, out: &mut Vec<String>) {
    let mut refuse = |why: &str| out.push(format!("{path}: {why}"));
    let kind = match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    let either = schema["x-kubernetes-int-or-string"] == true && matches!(kind, "integer" | "string");
    if schema["type"] != kind && !either {
        return refuse("is of another type");
    }
    if schema
        .get("enum")
        .is_some_and(|values| !values.as_array().unwrap().contains(value))
    {
        refuse("is none of them");
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let number = value.as_f64();
    let below = number
        .zip(bound("minimum"))
        .is_some_and(|(number, least)| number < least);
    let above = number
        .zip(bound("maximum"))
        .is_some_and(|(number, most)| number > most);
    if below || above {
        refuse("is out of bounds");
    }
    if let Some(text) = value.as_str() {
        if bound("maxLength").is_some_and(|most| text.chars().count() as f64 > most) {
            refuse("is too long");
        }
        let pattern = schema.get("pattern").and_then(Value::as_str);
        if pattern.is_some_and(|pattern| !Regex::new(pattern).unwrap().is_match(text)) {
            refuse("does not match");
        }
    }
    if let Some(fields) = value.as_object() {
        let count = fields.len() as f64;
        if bound("minProperties").is_some_and(|least| count < least)
            || bound("maxProperties").is_some_and(|most| count > most)
        {
            refuse("has too few or too many fields");
        }
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !fields.contains_key(name) {
                out.push(format!("{path}.{name}: is required"));
            }
        }
        for (name, field) in fields {
            if let Some(schema) = schema["properties"].get(name) {
                validate(&format!("{path}.{name}"), field, schema, out);
            }
        }
    }
    for item in value.as_array().into_iter().flatten() {
        validate(path, item, &schema["items"], out);
    }
}

/// Fills in defaults as an API server does.
fn fill(value: &mut Value, schema: &Value) {
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let (None, Some(default)) = (value.get(name), schema.get("default")) {
            value[name] = default.clone();
        }
        if let Some(field @ Value::Object(_)) = value.get_mut(name) {
            fill(field, schema);
        }
    }
}

fn check_described(path: &str, schema: &Value, missing: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].as_str().is_none_or(str::is_empty) {
            missing.push(path.clone());
        }
        check_described(&path, field, missing);
        check_described(&path, &field["items"], missing);
    }
}
