//! Targets by what they wait for, so that the fleet need not look at all of them to find the few that an input concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use protocol::TargetId;

use super::proxies::shift;
use crate::time::Time;

/// What one target waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// When it must be stepped again.
    pub(super) deadline: Option<Time>,
    /// Revision since which it is held, if its life minds whether the proxies have confirmed that.
    pub(super) confirm: Option<u64>,
    /// Its phase; `None`: it is not there.
    pub(super) phase: Option<&'static str>,
    /// Clusters of Envoys that do not reach it although it is ready.
    pub(super) unreached: u64,
    /// Number of what its status shows (`super::status::digest`); `None`: it is not there.
    pub(super) shows: Option<u64>,
}

/// The marks of all targets.
#[derive(Debug, Default)]
pub(super) struct Index {
    deadlines: BTreeSet<(Time, TargetId)>,
    confirms: BTreeSet<(u64, TargetId)>,
    phases: BTreeMap<&'static str, u64>,
    unreached: u64,
}

impl Index {
    pub(super) fn follow(&mut self, id: &TargetId, before: Marks, after: Marks) {
        replace(&mut self.deadlines, id, before.deadline, after.deadline);
        replace(&mut self.confirms, id, before.confirm, after.confirm);
        if before.phase != after.phase {
            shift(&mut self.phases, before.phase, after.phase);
        }
        self.unreached = self.unreached - before.unreached + after.unreached;
    }

    /// How many are in each phase; none in those that are absent.
    pub(super) fn phases(&self) -> &BTreeMap<&'static str, u64> {
        &self.phases
    }

    /// Clusters of Envoys that do not reach a ready target.
    pub(super) fn unreached(&self) -> u64 {
        self.unreached
    }

    /// The first deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Those whose deadline has come.
    pub(super) fn due(&self, now: Time) -> BTreeSet<TargetId> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, id)| id.clone()).collect()
    }

    /// Those that wait for the confirm of one of these revisions.
    pub(super) fn confirms(&self, revisions: RangeInclusive<u64>) -> impl Iterator<Item = &TargetId> {
        let (first, last) = revisions.into_inner();
        let from = (first, TargetId::new(String::new()));
        let found = self.confirms.range(from..).take_while(move |(n, _)| *n <= last);
        found.map(|(_, id)| id)
    }
}

fn replace<T: Ord + Copy>(
    set: &mut BTreeSet<(T, TargetId)>,
    id: &TargetId,
    before: Option<T>,
    after: Option<T>,
) {
    if before == after {
        return;
    }
    if let Some(before) = before {
        set.remove(&(before, id.clone()));
    }
    if let Some(after) = after {
        set.insert((after, id.clone()));
    }
}

#[cfg(test)]
impl super::Fleet {
    /// What is kept up to date must be what one would find by looking at everything.
    pub(super) fn check_sums(&self) {
        use super::proxies::ProxyWatermark;

        self.check_counts();
        self.check_twins();
        self.proxies.check_missed();
        let all = || self.targets.iter();
        let deadlines = all().filter_map(|(id, entry)| Some((entry.deadline?, id.clone())));
        assert_eq!(
            self.index.deadlines,
            deadlines.collect(),
            "must have every deadline"
        );
        let minding = all().filter(|(_, entry)| entry.life.phase.minds_confirms());
        let confirms = minding.map(|(id, entry)| (entry.held_since, id.clone()));
        assert_eq!(
            self.index.confirms,
            confirms.collect(),
            "must have all that wait for confirms"
        );

        let proxies = || self.proxies.iter().map(|(_, state)| state);
        let watermark = match proxies().map(|state| state.applied).min() {
            _ if proxies().any(|state| state.silent) || self.proxies.others() > 0 => ProxyWatermark::Silent,
            None => ProxyWatermark::NoProxy,
            Some(least) => ProxyWatermark::Applied(least),
        };
        assert_eq!(
            self.proxies.watermark(),
            watermark,
            "must know what all have applied"
        );
        let mut totals: BTreeMap<TargetId, (u64, u64)> = BTreeMap::new();
        for (id, one) in proxies().flat_map(|state| &state.usage) {
            let (held, in_flight) = totals.entry(id.clone()).or_default();
            *held += u64::from(one.held);
            *in_flight += u64::from(one.in_flight);
        }
        for id in self.targets.keys() {
            let total = totals.remove(id).unwrap_or_default();
            assert_eq!(self.proxies.usage(id), total, "must add up what is used of {id}");
        }
        assert!(
            totals.is_empty(),
            "must know nothing of targets that are not there"
        );
    }
}
