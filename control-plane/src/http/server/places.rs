//! Bounds the connections: a number of known callers, and few strangers, of which the oldest makes way.
//!
//! A stranger is a connection on which no call has been let through yet. A crowd of them costs other strangers their
//! place, first those of its own address, and never a known caller. One that shows its token at once is known before
//! its turn has come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Most connections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// On which a call was let through.
    pub known: usize,
    /// On which none was yet.
    pub strangers: usize,
    /// Of `strangers`, from one address (IPv6: from one /64).
    pub strangers_of_one: usize,
}

/// All connections of one listener. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    inner: Arc<Mutex<Inner>>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    /// By number, which is the order of arrival.
    strangers: BTreeMap<u64, (IpAddr, CancellationToken)>,
    /// Of each address, the numbers of its strangers. No entry is empty.
    addresses: BTreeMap<IpAddr, BTreeSet<u64>>,
    known: usize,
    next: u64,
}

/// The place of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    number: u64,
    known: bool,
    made_way: CancellationToken,
}

impl Places {
    pub(super) fn new(bounds: Bounds, metrics: Metrics) -> Self {
        let inner = Inner {
            bounds,
            strangers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            known: 0,
            next: 0,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            metrics,
        }
    }

    /// A place for a stranger from `address`. Where there are too many, the oldest of this address or of the one that
    /// has most is told to go.
    pub(super) fn enter(&self, address: IpAddr) -> Place {
        let address = network(address);
        let mut inner = self.lock();
        if let Some(bound) = inner.make_room(address) {
            self.metrics.bound_hit(bound);
        }
        let number = inner.next;
        inner.next += 1;
        let made_way = CancellationToken::new();
        inner.strangers.insert(number, (address, made_way.clone()));
        inner.addresses.entry(address).or_default().insert(number);
        drop(inner);
        Place {
            places: self.clone(),
            number,
            known: false,
            made_way,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells one to go if there is no room for another of `address`: the name of the bound that was met.
    fn make_room(&mut self, address: IpAddr) -> Option<&'static str> {
        let of_address = self.addresses.get(&address).map_or(0, BTreeSet::len);
        let (from, bound) = if of_address >= self.bounds.strangers_of_one {
            (address, "connections_of_one")
        } else if self.strangers.len() >= self.bounds.strangers {
            let (most, _) = self.addresses.iter().max_by_key(|(_, numbers)| numbers.len())?;
            (*most, "connections")
        } else {
            return None;
        };
        let oldest = *self.addresses.get(&from)?.first()?;
        if let Some(made_way) = self.forget(oldest) {
            made_way.cancel();
        }
        Some(bound)
    }

    fn forget(&mut self, number: u64) -> Option<CancellationToken> {
        let (address, made_way) = self.strangers.remove(&number)?;
        if let Some(numbers) = self.addresses.get_mut(&address) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.addresses.remove(&address);
            }
        }
        Some(made_way)
    }
}

impl Place {
    /// A call was let through on it. It stays a stranger's if there are too many known.
    pub(super) fn known(&mut self) {
        if self.known {
            return;
        }
        let mut inner = self.places.lock();
        if inner.known >= inner.bounds.known {
            drop(inner);
            self.places.metrics.bound_hit("connections");
        } else if inner.forget(self.number).is_some() {
            inner.known += 1;
            self.known = true;
        }
    }

    /// True once [`Place::known`] has succeeded.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Cancelled when it must make way for another.
    pub(super) fn made_way(&self) -> CancellationToken {
        self.made_way.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.places.lock();
        if self.known {
            inner.known -= 1;
        } else {
            inner.forget(self.number);
        }
    }
}

/// What one caller can have many of: an IPv6 host has its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        known: 2,
        strangers: 4,
        strangers_of_one: 3,
    };

    fn places() -> Places {
        Places::new(BOUNDS, Metrics::new())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_oldest_stranger_of_an_address_makes_way_for_its_next() {
        let places = places();
        let first: Vec<_> = (0..3).map(|_| places.enter(address(1))).collect();
        let other = places.enter(address(2));
        let next = places.enter(address(1));
        let gone: Vec<_> = first.iter().map(|place| place.made_way.is_cancelled()).collect();
        assert_eq!(gone, [true, false, false], "only the oldest must go");
        assert!(
            !other.made_way.is_cancelled() && !next.made_way.is_cancelled(),
            "others must stay"
        );
    }

    #[test]
    fn the_address_with_most_strangers_makes_way_for_others() {
        let places = places();
        let single = places.enter(address(1));
        let crowd: Vec<_> = (0..3).map(|_| places.enter(address(2))).collect();
        let late = places.enter(address(3));
        assert!(!single.made_way.is_cancelled() && !late.made_way.is_cancelled());
        assert!(crowd[0].made_way.is_cancelled(), "the crowd must make way");
        assert_eq!(places.lock().strangers.len(), BOUNDS.strangers, "must be bounded");
    }

    #[test]
    fn a_known_caller_makes_way_for_no_other_and_is_bounded_too() {
        let places = places();
        let mut known: Vec<_> = (0..3).map(|_| places.enter(address(1))).collect();
        known.iter_mut().for_each(Place::known);
        let is_known: Vec<_> = known.iter().map(Place::is_known).collect();
        assert_eq!(is_known, [true, true, false], "must be bounded");
        let _crowd: Vec<_> = (0..20).map(|_| places.enter(address(1))).collect();
        let gone: Vec<_> = known.iter().map(|place| place.made_way.is_cancelled()).collect();
        assert_eq!(gone, [false, false, true], "only the stranger must go");
    }

    #[test]
    fn places_are_given_back() {
        let places = places();
        let mut all: Vec<_> = (0..4).map(|n| places.enter(address(n))).collect();
        all[0].known();
        drop(all);
        let inner = places.lock();
        assert!(
            inner.strangers.is_empty() && inner.addresses.is_empty() && inner.known == 0,
            "nothing must be left: {inner:?}"
        );
    }

    #[test]
    fn an_ipv6_network_is_one_caller_and_a_mapped_address_is_what_it_maps() {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network(parse("2001:db8::1")), network(parse("2001:db8::2:0:0:1")));
        assert_ne!(network(parse("2001:db8::1")), network(parse("2001:db8:0:1::1")));
        assert_eq!(network(parse("::ffff:10.0.0.1")), address(1));
    }
}
