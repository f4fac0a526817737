//! Points in time as RFC 3339 has them, in UTC and with nanoseconds: `2026-11-28T11:52:00.123456789Z`.

use std::time::SystemTime;

use jiff::Timestamp;

/// The time with exactly nine digits of a second. Beyond the years -9999 to 9999, the last one that can be written.
pub fn rfc3339(time: SystemTime) -> String {
    let latest = if time < SystemTime::UNIX_EPOCH {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    let time = Timestamp::try_from(time).unwrap_or(latest);
    format!("{time:.9}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn has_nine_digits_of_a_second_always() {
        let at = |secs, nanos| rfc3339(SystemTime::UNIX_EPOCH + Duration::new(secs, nanos));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(1_658_012_119, 290_822_000), "2022-07-16T22:55:19.290822000Z");
        assert_eq!(at(951_782_399, 1), "2000-02-28T23:59:59.000000001Z");
    }

    #[test]
    fn a_time_that_cannot_be_written_is_the_last_one_that_can() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 50);
        assert_eq!(rfc3339(far), "9999-12-30T22:00:00.999999999Z");
    }

    proptest! {
        #[test]
        fn can_be_read_again(secs in 0..4_000_000_000_u64, nanos in 0..1_000_000_000_u32) {
            let time = SystemTime::UNIX_EPOCH + Duration::new(secs, nanos);
            let read: Timestamp = rfc3339(time).parse().unwrap();
            prop_assert_eq!(SystemTime::from(read), time);
        }
    }
}
