//! Durations and sizes as people write them: `500ms`, `60s`, `5m`, `1h`; `64Ki`, `64Mi`, `1Gi`, or plain bytes.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

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
        crate::time::millis(self.0)
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is no duration: write 500ms, 60s, 5m or 1h");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        if text.len() > Self::MAX_LEN {
            return Err(refuse());
        }
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let factor: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(refuse()),
        };
        let span = number
            .checked_mul(factor)
            .map(Duration::from_millis)
            .ok_or_else(refuse)?;
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
        parse_text(deserializer, "a duration: 500ms, 60s, 5m or 1h")
    }
}

/// A [`HumanDuration`] longer than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(extend("pattern" = "^[0-9]*[1-9][0-9]*(ms|s|m|h)$", "maxLength" = HumanDuration::MAX_LEN))]
pub struct PositiveSpan(HumanDuration);

impl PositiveSpan {
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

impl FromStr for PositiveSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: HumanDuration = text.parse()?;
        if span.get().is_zero() {
            return Err(format!("{text:?} must be longer than zero"));
        }
        Ok(Self(span))
    }
}

impl<'de> Deserialize<'de> for PositiveSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_text(deserializer, "a duration: 500ms, 60s, 5m or 1h")
    }
}

/// Reads a text and parses it inside the visitor, so that an error names the field itself and not the one around it.
pub(super) fn parse_text<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    struct Text<T>(&'static str, PhantomData<T>);
    impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Text(expected, PhantomData))
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
        let refuse = || format!("{text:?} is no size: write 64Ki, 64Mi, 1Gi or a number of bytes");
        if text.len() > Self::MAX_LEN {
            return Err(refuse());
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let shift = match unit {
            "" => 0,
            "Ki" => 10,
            "Mi" => 20,
            "Gi" => 30,
            _ => return Err(refuse()),
        };
        let bytes = number.checked_mul(1 << shift).ok_or_else(refuse)?;
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
    fn reads_durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("60s", 60_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            assert_eq!(
                text.parse::<HumanDuration>().map(HumanDuration::as_millis),
                Ok(ms),
                "{text} must be {ms} ms"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-1s",
            "1.5s",
            "5d",
            "99999999999999999999s",
            "9000h",
        ] {
            assert!(
                text.parse::<HumanDuration>().is_err(),
                "{text:?} must not be a duration"
            );
        }
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
    fn reads_sizes() {
        for (text, bytes) in [("64Ki", 65_536), ("1Mi", 1 << 20), ("1Gi", 1 << 30), ("17", 17)] {
            assert_eq!(
                text.parse::<Size>().map(Size::bytes),
                Ok(bytes),
                "{text} must be {bytes} bytes"
            );
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

    #[test]
    fn refuses_what_is_no_size() {
        for text in [
            "",
            "64K",
            "64MB",
            "-1",
            "1.5Gi",
            "99999999999Gi",
            "9223372036854775808",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text:?} must not be a size");
        }
    }
}
