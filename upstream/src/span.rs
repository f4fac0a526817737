//! A length of time as people write it: `250ms`, `2s`, `5m`, `1h`. Never longer than an hour.

use std::{str::FromStr, time::Duration};

use serde::Deserialize;
use thiserror::Error;

/// A length of time from 0 to an hour: nothing that a test waits for is longer, and a typing error shows at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HumanDuration(Duration);

/// Why a text or number is not a [`HumanDuration`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpanError {
    /// Not a whole number with a unit.
    #[error("`{0}` is not a duration: write a whole number and ms, s, m or h, such as 250ms")]
    Unreadable(String),
    /// Longer than an hour.
    #[error("a duration of {0} ms is longer than an hour")]
    TooLong(u64),
}

impl HumanDuration {
    const MAX_MS: u64 = 3_600_000;

    /// Takes milliseconds.
    ///
    /// # Errors
    /// [`SpanError::TooLong`] above an hour.
    pub fn try_from_ms(ms: u64) -> Result<Self, SpanError> {
        if ms > Self::MAX_MS {
            Err(SpanError::TooLong(ms))
        } else {
            Ok(Self(Duration::from_millis(ms)))
        }
    }

    /// The same as the standard type.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for HumanDuration {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let unreadable = || SpanError::Unreadable(text.to_owned());
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(unreadable)?;
        let (number, unit) = text.split_at(end);
        let number: u64 = number.parse().map_err(|_| unreadable())?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(unreadable()),
        };
        Self::try_from_ms(number.saturating_mul(unit_ms))
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_unit() {
        check("250ms", Ok(250));
        check("2s", Ok(2_000));
        check("5m", Ok(300_000));
        check("1h", Ok(3_600_000));
        check("0s", Ok(0));
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_number() {
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "5d"] {
            check(text, Err(SpanError::Unreadable(text.to_owned())));
        }
    }

    #[test]
    fn refuses_more_than_an_hour() {
        check("3601s", Err(SpanError::TooLong(3_601_000)));
        check("18446744073709551615h", Err(SpanError::TooLong(u64::MAX)));
    }

    fn check(text: &str, expected_ms: Result<u64, SpanError>) {
        let expected = expected_ms.map(|ms| HumanDuration(Duration::from_millis(ms)));
        assert_eq!(
            text.parse::<HumanDuration>(),
            expected,
            "`{text}` must be read so"
        );
    }
}
