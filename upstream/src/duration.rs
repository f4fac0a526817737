//! A length of time as people write it: `250ms`, `2s`, `5m`, `1h`. Never longer than an hour.

use std::{str::FromStr, time::Duration};

use protocol::{UnitError, millis, parse_duration};
use serde::Deserialize;
use thiserror::Error;

/// A length of time from 0 to an hour: nothing that a test waits for is longer, and a typing error shows at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HumanDuration(Duration);

/// Why a text or number is not a [`HumanDuration`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HumanDurationError {
    /// Not a whole number with a unit.
    #[error(transparent)]
    Unreadable(#[from] UnitError),
    /// Longer than an hour.
    #[error("a duration of {0} ms is longer than an hour")]
    TooLong(u64),
}

impl HumanDuration {
    const MAX_MS: u64 = 3_600_000;

    /// Takes milliseconds.
    ///
    /// # Errors
    /// [`HumanDurationError::TooLong`] above an hour.
    pub fn try_from_ms(ms: u64) -> Result<Self, HumanDurationError> {
        if ms > Self::MAX_MS {
            Err(HumanDurationError::TooLong(ms))
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
    type Err = HumanDurationError;

    fn from_str(text: &str) -> Result<Self, HumanDurationError> {
        Self::try_from_ms(millis(parse_duration(text)?))
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = HumanDurationError;

    fn try_from(text: String) -> Result<Self, HumanDurationError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_an_hour_at_most() {
        for (text, ms) in [("0s", 0), ("250ms", 250), ("1h", 3_600_000)] {
            let expected = HumanDuration(Duration::from_millis(ms));
            assert_eq!(text.parse::<HumanDuration>(), Ok(expected), "{text}");
        }
        let refused = "3601s".parse::<HumanDuration>();
        assert_eq!(refused, Err(HumanDurationError::TooLong(3_601_000)));
    }

    #[test]
    fn a_text_that_is_no_duration_is_refused_with_what_to_write() {
        for text in ["", "5", "5d", "18446744073709551615h"] {
            let refused = text.parse::<HumanDuration>();
            let Err(HumanDurationError::Unreadable(error)) = refused else {
                panic!("{text:?} must be refused: {refused:?}");
            };
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
