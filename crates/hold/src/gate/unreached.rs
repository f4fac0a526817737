//! Which clusters of ready targets this gate does not reach, and what it says of them to the relay and to clients.

use crate::gate::entry::{Entry, Stance};
use crate::gate::{Gate, TargetIx};
use crate::{GateId, Row, RowUnreached, Time, units};

impl Gate {
    /// For the row: those that keep something held, of each target the one that has lasted longest.
    pub(super) fn unreached(&self, now: Time) -> Vec<RowUnreached> {
        let waiting = self.waiting.iter().filter_map(|(_, ix)| self.entry(TargetIx(ix)));
        waiting
            .filter(|entry| !entry.retired)
            .filter_map(|entry| entry.unreached(now, self.me.id))
            .take(Row::UNREACHED)
            .collect()
    }

    /// For a client whose time is up: what keeps the requests of its target.
    pub(super) fn why_held(&self, now: Time, ix: TargetIx) -> Option<String> {
        let unreached = self.entry(ix)?.unreached(now, self.me.id)?;
        let RowUnreached {
            cluster, saw, for_ms, ..
        } = unreached;
        Some(format!("cluster {cluster}: {saw}, for {} s", for_ms / 1_000))
    }
}

impl Entry {
    fn unreached(&self, now: Time, me: GateId) -> Option<RowUnreached> {
        let terms = self.terms(me)?;
        if self.stance != Stance::Serve || self.needs_no_confirm() {
            return None;
        }
        let seen = |route: &crate::gate::entry::Route| {
            let (saw, since) = route.check.seen(now, &terms).filter(|_| route.moves())?;
            Some((since, saw, String::from_utf8_lossy(&route.cluster).into_owned()))
        };
        let (since, saw, cluster) = self
            .routes
            .iter()
            .filter_map(seen)
            .min_by_key(|(since, ..)| *since)?;
        Some(RowUnreached {
            slot: self.slot,
            cluster,
            saw: saw.text(terms.timeout).into_owned(),
            for_ms: units::millis(now.saturating_sub(since)),
        })
    }
}
