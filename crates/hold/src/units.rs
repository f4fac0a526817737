//! Parses durations and sizes as people write them. Never guesses a unit.

use std::time::Duration;

/// Parses `250ms`, `30s`, `5m`, `1h` (a whole number and one unit).
///
/// # Errors
/// A sentence that says what is accepted.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => {
            return Err(format!(
                "`{text}` is not a duration: write a whole number and ms, s, m or h, such as 500ms or 5m"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(millis_per_unit))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is not a duration: `{number}` is not a whole number in range"))
}

/// Whole milliseconds, [`u64::MAX`] at most.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Parses `65536`, `64Ki`, `64Mi`, `1Gi` into bytes.
///
/// # Errors
/// A sentence that says what is accepted.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let bytes_per_unit: u64 = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => {
            return Err(format!(
                "`{text}` is not a size: write a whole number of bytes, or with Ki, Mi or Gi, such as 64Ki"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(bytes_per_unit))
        .ok_or_else(|| format!("`{text}` is not a size: `{number}` is not a whole number in range"))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn durations_take_one_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "5", "5 s", "s", "1h30m", "-1s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "must refuse {bad:?}");
        }
    }

    #[test]
    fn sizes_take_binary_units() {
        assert_eq!(bytes("64Ki"), Ok(65_536));
        assert_eq!(bytes("7"), Ok(7));
        assert_eq!(bytes("3Mi"), Ok(3 * 1_024 * 1_024));
        assert_eq!(bytes("1Gi"), Ok(1_024 * 1_024 * 1_024));
        for bad in ["", "64K", "1.5Mi", "-1", "99999999999Gi"] {
            assert!(bytes(bad).is_err(), "must refuse {bad:?}");
        }
    }
}
