//! Tells people of callers that are turned away, without letting those fill the log: a line a minute for each address,
//! and for so many addresses only.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// Between two lines on one address.
const APART: Duration = Duration::from_secs(60);
/// Most addresses that are told apart: a line a minute for each is 4 lines a second. All others share one.
const ADDRESSES: usize = 256;

/// Where a caller is, as far as its address tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct From(Option<IpAddr>);

impl From {
    pub(super) fn new(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| address.to_canonical()))
    }

    /// One of four words, for a metric's label.
    pub(super) fn class(self) -> &'static str {
        match self.0 {
            None => "unknown",
            Some(address) if address.is_loopback() => "loopback",
            Some(IpAddr::V4(v4)) if v4.is_private() || v4.is_link_local() => "private",
            Some(IpAddr::V6(v6)) if v6.is_unique_local() || v6.is_unicast_link_local() => "private",
            Some(_) => "public",
        }
    }

    fn shown(self) -> String {
        self.0
            .map_or_else(|| "unknown".to_owned(), |address| address.to_string())
    }
}

/// Callers that were turned away lately. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<Option<IpAddr>, Told>>>);

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    /// Since then.
    untold: u64,
}

impl Refusals {
    /// A call was turned away.
    pub(super) fn call(&self, from: From, call: &'static str, why: &'static str) {
        if let Some(times) = self.is_told(from, Instant::now()) {
            let from = from.shown();
            warn!(
                event = "turned_away",
                from, call, why, times, "{from} is turned away: {why}"
            );
        }
    }

    /// A TLS handshake failed.
    pub(super) fn tls(&self, from: IpAddr, why: &io::Error) {
        let from = From::new(Some(from));
        if let Some(times) = self.is_told(from, Instant::now()) {
            let from = from.shown();
            warn!(event = "turned_away", from, call = "tls", %why, times, "{from} is turned away: {why}");
        }
    }

    /// How often it was turned away since the last line on it, if there is to be one now.
    fn is_told(&self, From(address): From, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |told: &Told| now.saturating_duration_since(told.at) >= APART;
        let key = if all.contains_key(&address) || all.len() < ADDRESSES {
            address
        } else {
            all.retain(|_, told| !is_old(told));
            // The place of unknown ones is there always, on top of the others.
            if all.len() < ADDRESSES { address } else { None }
        };
        match all.get_mut(&key) {
            Some(told) if !is_old(told) => {
                told.untold += 1;
                None
            }
            Some(told) => {
                let times = told.untold + 1;
                *told = Told { at: now, untold: 0 };
                Some(times)
            }
            None => {
                all.insert(key, Told { at: now, untold: 0 });
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(n: u32) -> From {
        From::new(Some(IpAddr::V4(n.into())))
    }

    #[test]
    fn an_address_has_a_line_a_minute_with_what_was_not_told() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let told = |n, secs| refusals.is_told(from(n), start + Duration::from_secs(secs));
        assert_eq!((told(1, 0), told(1, 1), told(1, 59)), (Some(1), None, None));
        assert_eq!(told(2, 59), Some(1), "another address has its own");
        assert_eq!((told(1, 60), told(1, 61)), (Some(3), None));
    }

    #[test]
    fn a_crowd_of_addresses_shares_one_line() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let lines = (0..10_000).filter(|n| refusals.is_told(from(*n), start).is_some());
        assert_eq!(lines.count(), ADDRESSES + 1, "must be bounded");
        assert_eq!(refusals.0.lock().unwrap().len(), ADDRESSES + 1);
        let later = start + APART;
        assert_eq!(
            refusals.is_told(from(70_000), later),
            Some(1),
            "old ones must make room"
        );
    }

    #[test]
    fn tells_near_from_far() {
        let class = |text: &str| From::new(Some(text.parse().unwrap())).class();
        for (address, expected) in [
            ("127.0.0.1", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("10.1.2.3", "private"),
            ("fd00::1", "private"),
            ("8.8.8.8", "public"),
            ("2001:db8::1", "public"),
        ] {
            assert_eq!(class(address), expected, "{address}");
        }
    }
}
