//! Reads values that are written as text in configuration.

use std::fmt::{self, Display};

use serde::de::{Deserializer, Error, Visitor};

/// Reads a text, and parses it while the deserializer is at its field: so an error names that field and not the one around it.
/// `expected` is what a value of another kind is told.
///
/// # Errors
/// The value is no text, or `parse` refuses it.
pub fn deserialize_text<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text { expected, parse })
}

struct Text<T, E> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, E>,
}

impl<T, E: Display> Visitor<'_> for Text<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<R: Error>(self, text: &str) -> Result<T, R> {
        (self.parse)(text).map_err(R::custom)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use std::time::Duration;

    use serde::Deserialize;

    use crate::{parse_duration, read_json};

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Outer {
        inner: Inner,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Inner {
        #[serde(deserialize_with = "read")]
        wait: Duration,
    }

    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::deserialize_text(from, "a duration", parse_duration)
    }

    #[test]
    fn an_error_names_the_field_itself() {
        let read = |wait: &str| {
            let json = format!(r#"{{"inner":{{"wait":{wait}}}}}"#);
            read_json::<Outer>(json.as_bytes())
                .map(|outer| outer.inner.wait)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(r#""5m""#), Ok(Duration::from_secs(300)));
        for (wait, said) in [
            (r#""5""#, r#""5" is not a duration"#),
            ("5", "expected a duration"),
        ] {
            let error = read(wait).expect_err("must be refused");
            assert!(error.contains("inner.wait") && error.contains(said), "{error}");
        }
    }
}
