//! Durations and sizes as people write them: `500ms`, `60s`, `5m`, `1h`; `65536`, `64Ki`, `64Mi`, `1Gi`. Never guesses a unit.

use std::fmt;
use std::time::Duration;

/// Reads a whole number and one unit: `500ms`, `60s`, `5m`, `1h`. Any length of digits, up to [`u64::MAX`] ms.
///
/// # Errors
/// The text is something else, or the span is longer than that.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(text.to_owned());
    let (number, unit) = split(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    multiply(text, number, factor, wrong).map(Duration::from_millis)
}

/// Reads a number of bytes, alone or with a binary unit: `65536`, `64Ki`, `64Mi`, `1Gi`. At most [`u64::MAX`] bytes.
///
/// # Errors
/// The text is something else, or there are more bytes than that.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Size(text.to_owned());
    let (number, unit) = split(text);
    let factor = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    multiply(text, number, factor, wrong)
}

/// Whole milliseconds, [`u64::MAX`] at most.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Why a text is not a duration or a size. One line, whatever the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// It does not have the form of a duration.
    Duration(String),
    /// It does not have the form of a size.
    Size(String),
    /// It has the form, and no `u64` is large enough for it.
    TooLarge(String),
}

impl std::error::Error for UnitError {}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, is) = match self {
            Self::Duration(text) => (
                text,
                "not a duration: write a whole number and ms, s, m or h, such as 500ms or 5m",
            ),
            Self::Size(text) => (
                text,
                "not a size: write a whole number of bytes, or of Ki, Mi or Gi, such as 64Ki",
            ),
            Self::TooLarge(text) => (text, "too large"),
        };
        write!(f, "{text:?} is {is}")
    }
}

/// The digits at the beginning, and what follows them.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.split_at(end.unwrap_or(text.len()))
}

fn multiply(
    text: &str,
    digits: &str,
    factor: u64,
    wrong: impl FnOnce() -> UnitError,
) -> Result<u64, UnitError> {
    if digits.is_empty() {
        return Err(wrong());
    }
    // Digits alone: all that can be wrong with them is that there are too many.
    let number = digits.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_one_unit() {
        for (text, ms) in [
            ("0s", 0),
            ("250ms", 250),
            ("60s", 60_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("007s", 7_000),
            ("18446744073709551615ms", u64::MAX),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "", "5", "s", "5 s", " 5s", "5s ", "-1s", "+1s", "1.5s", "5d", "5S", "1h30m", "٥s",
        ] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration(text.to_owned())));
        }
        for text in ["18446744073709551616ms", "18446744073709551615h"] {
            assert_eq!(parse_duration(text), Err(UnitError::TooLarge(text.to_owned())));
        }
    }

    #[test]
    fn a_size_is_a_whole_number_of_bytes_or_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("64Ki", 65_536),
            ("3Mi", 3 << 20),
            ("1Gi", 1 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "Ki", "64K", "64KB", "64ki", "64 Ki", "1.5Gi", "-1", "1Ti"] {
            assert_eq!(parse_size(text), Err(UnitError::Size(text.to_owned())));
        }
        for text in ["18446744073709551616", "18014398509481984Ki"] {
            assert_eq!(parse_size(text), Err(UnitError::TooLarge(text.to_owned())));
        }
    }

    #[test]
    fn a_refusal_is_one_line_that_says_what_to_write() {
        for (refusal, expected) in [
            (
                parse_duration("5\nm").map(drop),
                r#""5\nm" is not a duration: write a whole number and ms, s, m or h, such as 500ms or 5m"#,
            ),
            (
                parse_size("64MB").map(drop),
                r#""64MB" is not a size: write a whole number of bytes, or of Ki, Mi or Gi, such as 64Ki"#,
            ),
            (
                parse_size("99999999999Gi").map(drop),
                r#""99999999999Gi" is too large"#,
            ),
        ] {
            let said = refusal.map_err(|error| error.to_string());
            assert_eq!(said, Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_span_in_milliseconds_is_never_too_long() {
        assert_eq!(millis(Duration::from_micros(1_999)), 1);
        assert_eq!(millis(Duration::MAX), u64::MAX);
    }
}
