//! `kubernetes/base/crd.yaml`, from the definition.

use crate::crd::definition;

const HEAD: &str = "\
# Made from the types in crates/fleet/src/config/spec.rs and crates/cluster/src/crd/:
#   HOLDFAST_WRITE=1 cargo test -p cluster --lib crd::tests
";

/// The text of the file.
pub(super) fn manifest() -> String {
    let mut value = serde_norway::to_value(definition()).unwrap();
    write_bounds_as_integers(&mut value);
    format!("{HEAD}{}", serde_norway::to_string(&value).unwrap())
}

/// A bound is a float to Kubernetes' types; people write `1`, not `1.0`.
fn write_bounds_as_integers(value: &mut serde_norway::Value) {
    use serde_norway::Value;
    match value {
        Value::Mapping(fields) => fields.values_mut().for_each(write_bounds_as_integers),
        Value::Sequence(items) => items.iter_mut().for_each(write_bounds_as_integers),
        // None of ours has a fraction.
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().map(|float| format!("{float:.0}"));
            if let Some(whole) = whole.and_then(|text| text.parse::<u64>().ok()) {
                *number = whole.into();
            }
        }
        _ => {}
    }
}
