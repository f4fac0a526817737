//! Values of the plugin configuration that people write in units of their own.

use std::fmt;
use std::time::Duration;

use protocol::UnitError;
use serde::de::{Deserializer, Error, Visitor};

/// Text with a unit, such as `500ms`.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    protocol::deserialize_text(
        from,
        "a duration as text, such as \"500ms\"",
        protocol::parse_duration,
    )
}

/// A number of bytes, or text with a unit, such as `64Ki`.
pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_any(Whole {
        what: "a number of bytes, or a size as text, such as \"64Ki\"",
        text: Some(protocol::parse_size),
    })
}

/// A whole number.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let what = "a whole number";
    let count = from.deserialize_any(Whole { what, text: None })?;
    u32::try_from(count).map_err(|_| D::Error::custom(format!("{count} is too large")))
}

type ReadText = fn(&str) -> Result<u64, UnitError>;

/// A whole number, also one that is written as `4096.0`: where numbers have gone through a `Struct` of Envoy's they are floating-point.
struct Whole {
    what: &'static str,
    /// How text is read, if it may be text.
    text: Option<ReadText>,
}

impl Visitor<'_> for Whole {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
        /// Up to here every whole number is exact.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 && (0.0..=EXACT).contains(&number) {
            return Ok(number as u64);
        }
        Err(E::invalid_value(serde::de::Unexpected::Float(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        match self.text {
            Some(read) => read(text).map_err(E::custom),
            None => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
        }
    }
}
