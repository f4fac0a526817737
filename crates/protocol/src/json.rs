//! Reads and writes JSON: an error names the field and the reason in one line.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// Why a text is not the JSON that was expected: one line that names the field and says what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Dotted, such as `targets[0].hold`; `None` where the whole text is meant.
    field: Option<String>,
    reason: String,
}

impl std::error::Error for JsonError {}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.field {
            f.write_char('`')?;
            write_on_one_line(f, field)?;
            f.write_str("`: ")?;
        }
        write_on_one_line(f, &self.reason)
    }
}

/// Names of fields and wrong values come from outside, and the error goes to a log.
fn write_on_one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.chars()
        .try_for_each(|character| f.write_char(if character.is_control() { '?' } else { character }))
}

/// Reads one JSON value and nothing after it. Values of known fields may be nested 128 deep, and what is nested in a field that is not
/// known is skipped without recursion: the stack of a VM is small.
///
/// # Errors
/// The text is no JSON or not of this type.
pub fn read_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        JsonError {
            field: Some(field).filter(|field| field != "."),
            reason: error.into_inner().to_string(),
        }
    })?;
    reader.end().map_err(|error| JsonError {
        field: None,
        reason: error.to_string(),
    })?;
    Ok(value)
}

/// Writes a message of this crate, or anything else that cannot fail to be JSON: keys are text, and no value does I/O.
pub fn write_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::SyncResponse;

    const RESPONSE: &str = include_str!("../tests/golden/sync-response-one.json");

    fn refused(json: &str) -> String {
        let error = read_json::<SyncResponse>(json.as_bytes()).expect_err("must be refused");
        error.to_string()
    }

    #[test]
    fn an_error_names_the_field_on_one_line() {
        assert!(refused("{}").starts_with("missing field `revision`"));
        let bad = RESPONSE.replace("\"path\"", "\"way\"");
        assert!(refused(&bad).starts_with("`targets[0].confirm`: missing field `path`"));
        let bad = RESPONSE.replace("\"full\": true", "\"full\": \"a\\nb\"");
        let line = refused(&bad);
        assert!(line.starts_with("`full`: invalid type"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn what_is_written_is_read() {
        let response: SyncResponse = read_json(RESPONSE.as_bytes()).expect("must be read");
        let written = write_json(&response);
        assert_eq!(read_json(&written), Ok(response));
        assert!(!written.contains(&b'\n'), "must be one line");
    }

    #[test]
    fn what_follows_the_value_is_refused() {
        assert!(refused(&format!("{RESPONSE} x")).contains("trailing characters"));
        assert!(read_json::<SyncResponse>(format!("{RESPONSE}\n").as_bytes()).is_ok());
    }

    #[test]
    fn deep_nesting_does_not_use_the_stack_up() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let unknown = RESPONSE.replacen('{', &format!("{{\"new\": {},", nested(100_000)), 1);
        assert!(
            read_json::<SyncResponse>(unknown.as_bytes()).is_ok(),
            "must be skipped"
        );
        let known = RESPONSE.replace("\"full\": true", &format!("\"full\": {}", nested(100_000)));
        assert!(refused(&known).starts_with("`full`"));
        // What kind of confirm it is may come after its other fields, so these are kept until then.
        let kept = RESPONSE.replace("\"kind\"", &format!("\"new\": {}, \"kind\"", nested(100_000)));
        assert!(refused(&kept).contains("recursion limit"));
    }
}
