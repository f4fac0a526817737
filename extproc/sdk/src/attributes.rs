//! Attributes and metadata: protobuf's `Struct` and `Value` as `serde_json` has them, and back.

use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

/// `value` as JSON. Numbers without a fraction become integers; what is not a number in JSON (NaN) becomes null.
pub(crate) fn to_json(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => number_to_json(*number),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::BoolValue(truth)) => Value::Bool(*truth),
        Some(Kind::StructValue(fields)) => Value::Object(struct_to_json(fields)),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(to_json).collect()),
    }
}

pub(crate) fn struct_to_json(fields: &prost_types::Struct) -> Map<String, Value> {
    fields
        .fields
        .iter()
        .map(|(name, value)| (name.clone(), to_json(value)))
        .collect()
}

fn number_to_json(number: f64) -> Value {
    /// Up to here every integer is a different `f64`.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "has no fraction and is within the exact integers"
        )]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// `value` as protobuf. Protobuf's only number is `f64`: integers beyond 2^53 lose their last digits.
pub(crate) fn from_json(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.into_iter().map(from_json).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(struct_from_json(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn struct_from_json(fields: Map<String, Value>) -> prost_types::Struct {
    prost_types::Struct {
        fields: fields
            .into_iter()
            .map(|(name, value)| (name, from_json(value)))
            .collect(),
    }
}

/// Dynamic metadata as Envoy reads it: a struct for each namespace.
pub(crate) fn dynamic_metadata(entries: Vec<(String, String, Value)>) -> Option<prost_types::Struct> {
    if entries.is_empty() {
        return None;
    }
    let mut namespaces = Map::new();
    for (namespace, key, value) in entries {
        if let Value::Object(fields) = namespaces
            .entry(namespace)
            .or_insert_with(|| Value::Object(Map::new()))
        {
            fields.insert(key, value);
        }
    }
    Some(struct_from_json(namespaces))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_way_there_and_back() {
        for value in [
            json!(null),
            json!(true),
            json!("text"),
            json!(7),
            json!(-1.5),
            json!({"a": [1, "two", {"three": null}], "b": false}),
        ] {
            assert_eq!(to_json(&from_json(value.clone())), value);
        }
    }

    #[test]
    fn numbers_beyond_json_do_not_panic() {
        for number in [f64::NAN, f64::INFINITY, 1e300, -0.0] {
            let wire = prost_types::Value {
                kind: Some(Kind::NumberValue(number)),
            };
            assert_eq!(to_json(&wire).is_null(), !number.is_finite(), "{number}");
        }
    }

    #[test]
    fn metadata_is_grouped_by_namespace() {
        let wire = dynamic_metadata(vec![
            ("a".into(), "x".into(), json!(1)),
            ("b".into(), "x".into(), json!(2)),
            ("a".into(), "y".into(), json!(3)),
        ]);
        assert_eq!(
            Value::Object(struct_to_json(&wire.unwrap())),
            json!({"a": {"x": 1, "y": 3}, "b": {"x": 2}})
        );
        assert_eq!(dynamic_metadata(vec![]), None);
    }
}
