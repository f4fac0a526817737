//! Durations and sizes of a [`ScaleTarget`](super::spec), with the bounds that its schema states. How they are written is
//! `protocol`'s to say.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use protocol::{deserialize_text, parse_duration, parse_size};
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A time span in text form. At most 365 days, so that sums cannot overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(extend("pattern" = "^[0-9]+(ms|s|m|h)$", "maxLength" = HumanDuration::MAX_LEN))]
pub struct HumanDuration(#[schemars(with = "String")] Duration);

impl HumanDuration {
    /// Longest span there is.
    pub const MAX: Duration = Duration::from_secs(365 * 24 * 3600);

    /// Longest text, in bytes: 365 days in milliseconds.
    pub const MAX_LEN: usize = 13;

    /// A span of `seconds`, at most [`HumanDuration::MAX`].
    pub fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds).min(Self::MAX))
    }

    /// The span as the standard library has it.
    pub fn get(self) -> Duration {
        self.0
    }

    /// In whole milliseconds.
    pub fn as_millis(self) -> u64 {
        protocol::millis(self.0)
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = parse_duration(text).map_err(|error| error.to_string())?;
        if text.len() > Self::MAX_LEN {
            return Err(format!("{text:?} is longer than {} bytes", Self::MAX_LEN));
        }
        if span > Self::MAX {
            return Err(format!("{text:?} is longer than a year"));
        }
        Ok(Self(span))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_millis();
        match ms {
            0 => f.write_str("0s"),
            _ if ms.is_multiple_of(3_600_000) => write!(f, "{}h", ms / 3_600_000),
            _ if ms.is_multiple_of(60_000) => write!(f, "{}m", ms / 60_000),
            _ if ms.is_multiple_of(1_000) => write!(f, "{}s", ms / 1_000),
            _ => write!(f, "{ms}ms"),
        }
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "a duration: 500ms, 60s, 5m or 1h", str::parse)
    }
}

/// A [`HumanDuration`] longer than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^[0-9]*[1-9][0-9]*(ms|s|m|h)$", "maxLength" = HumanDuration::MAX_LEN))]
pub struct PositiveDuration(HumanDuration);

impl PositiveDuration {
    /// A span of `seconds`, at least one and at most [`HumanDuration::MAX`].
    pub fn from_secs(seconds: u64) -> Self {
        Self(HumanDuration::from_secs(seconds.max(1)))
    }

    /// The span as the standard library has it.
    pub fn get(self) -> Duration {
        self.0.get()
    }

    /// In whole milliseconds.
    pub fn as_millis(self) -> u64 {
        self.0.as_millis()
    }
}

impl FromStr for PositiveDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: HumanDuration = text.parse()?;
        if span.get().is_zero() {
            return Err(format!("{text:?} must be longer than zero"));
        }
        Ok(Self(span))
    }
}

impl<'de> Deserialize<'de> for PositiveDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "a duration: 500ms, 60s, 5m or 1h", str::parse)
    }
}

/// A number of bytes, plain or in text form. At most 2^63 - 1, the largest integer of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(extend(
    "x-kubernetes-int-or-string" = true,
    "pattern" = "^[0-9]+(Ki|Mi|Gi)?$",
    "maxLength" = Size::MAX_LEN,
    "minimum" = 0,
))]
pub struct Size(#[schemars(with = "Untyped")] u64);

/// Integer or text: `x-kubernetes-int-or-string` says so.
type Untyped = serde_json::Value;

impl Size {
    /// Most bytes there are.
    pub const MAX: u64 = i64::MAX.cast_unsigned();
    /// Longest text, in bytes.
    pub const MAX_LEN: usize = 21;

    /// `bytes` bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = parse_size(text).map_err(|error| error.to_string())?;
        if text.len() > Self::MAX_LEN {
            return Err(format!("{text:?} is longer than {} bytes", Self::MAX_LEN));
        }
        if bytes > Self::MAX {
            return Err(format!("{text:?} is more than {} bytes", Self::MAX));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, shift) in [("Gi", 30), ("Mi", 20), ("Ki", 10)] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size: 64Ki, 64Mi, 1Gi or a number of bytes")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                if bytes > Size::MAX {
                    return Err(E::custom(format!("{bytes} is more than {} bytes", Size::MAX)));
                }
                Ok(Size(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_365_days_at_most() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("5m", 300_000),
            ("8760h", 31_536_000_000),
        ] {
            let read = text.parse::<HumanDuration>().map(HumanDuration::as_millis);
            assert_eq!(read, Ok(ms), "{text}");
        }
        for (text, said) in [
            ("5", "\"5\" is not a duration"),
            ("8761h", "longer than a year"),
            ("00000000000005s", "longer than 13 bytes"),
            ("99999999999999999999s", "too large"),
        ] {
            let refusal = text.parse::<HumanDuration>().unwrap_err();
            assert!(refusal.contains(said), "{refusal}");
        }
    }

    #[test]
    fn a_positive_duration_is_not_zero() {
        assert_eq!(
            "1ms".parse::<PositiveDuration>().map(PositiveDuration::as_millis),
            Ok(1)
        );
        assert!("0ms".parse::<PositiveDuration>().is_err(), "must not be zero");
    }

    #[test]
    fn writes_durations_as_it_reads_them() {
        for text in ["0s", "500ms", "59s", "5m", "2h"] {
            assert_eq!(
                text.parse::<HumanDuration>().unwrap().to_string(),
                text,
                "must come back as written"
            );
        }
    }

    #[test]
    fn a_size_is_what_kubernetes_can_say_at_most() {
        for (text, bytes) in [("17", 17), ("64Ki", 65_536), ("9223372036854775807", Size::MAX)] {
            assert_eq!(text.parse::<Size>().map(Size::bytes), Ok(bytes), "{text}");
        }
        for (text, said) in [
            ("64MB", "\"64MB\" is not a size"),
            ("9223372036854775808", "more than 9223372036854775807 bytes"),
            ("0000000000000000000017", "longer than 21 bytes"),
            ("99999999999Gi", "too large"),
        ] {
            let refusal = text.parse::<Size>().unwrap_err();
            assert!(refusal.contains(said), "{refusal}");
        }
    }

    #[test]
    fn writes_sizes_as_it_reads_them() {
        for text in ["0", "17", "64Ki", "3Mi", "1Gi"] {
            assert_eq!(
                text.parse::<Size>().unwrap().to_string(),
                text,
                "must come back as written"
            );
        }
    }
}
