//! Proxies that had to make room: no more than how many there are, and until when they block sleeps. Silence never permits
//! a sleep, not even of a proxy whose name is no longer known.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;

/// Into so many parts is the time divided after which one of them is forgotten: each is a place in the list, and one is
/// forgotten by that much too late.
const PARTS: u32 = 64;

/// Proxies that are not known by name. At most [`PARTS`] and two entries, however many there are.
#[derive(Clone, Debug)]
pub(super) struct Others {
    forget_after: Duration,
    /// How many are forgotten when.
    until: BTreeMap<Time, u64>,
}

impl Others {
    /// None yet. Each is forgotten so long after it was last seen.
    pub(super) fn new(forget_after: Duration) -> Self {
        Self {
            forget_after,
            until: BTreeMap::new(),
        }
    }

    /// `count` more, last heard of at `last_word`.
    pub(super) fn add(&mut self, count: u64, last_word: Time) {
        if count == 0 {
            return;
        }
        let part = (self.forget_after / PARTS).max(Duration::from_millis(1));
        let end = (last_word + self.forget_after).as_duration();
        let parts = end.as_nanos().div_ceil(part.as_nanos());
        let end = part
            .saturating_mul(u32::try_from(parts).unwrap_or(u32::MAX))
            .max(end);
        let known = self.until.entry(Time::new(end)).or_default();
        *known = known.saturating_add(count);
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.until
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// True if there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    /// When the next of them is forgotten.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.until.first_key_value().map(|(at, _)| *at)
    }

    /// How many are forgotten by `now`.
    pub(super) fn expire(&mut self, now: Time) -> u64 {
        let mut lapsed: u64 = 0;
        while let Some(entry) = self.until.first_entry().filter(|entry| *entry.key() <= now) {
            lapsed = lapsed.saturating_add(entry.remove());
        }
        lapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_forgotten_no_sooner_than_any_of_them_would_be_and_not_much_later() {
        let mut others = Others::new(Duration::from_secs(600));
        for ms in 0..2_000 {
            others.add(1, at(ms * 100));
        }
        assert_eq!(others.count(), 2_000, "must count all");
        assert_eq!(
            others.expire(at(599_999)),
            0,
            "must not be forgotten before their time"
        );
        assert_eq!(
            others.expire(at(800_000 + 600_000 / 64)),
            2_000,
            "must be forgotten then"
        );
        assert!(others.is_empty() && others.deadline().is_none(), "must be gone");
    }

    #[test]
    fn take_no_more_room_the_more_there_are() {
        let mut others = Others::new(Duration::from_secs(600));
        for ms in 0..100_000 {
            others.expire(at(ms * 100));
            others.add(1, at(ms * 100));
            assert!(others.until.len() <= 66, "must be bounded");
        }
    }

    fn at(ms: u64) -> Time {
        Time::new(Duration::from_millis(ms))
    }
}
