//! Sums over all proxies, kept up to date: which targets are in use, which are not reached, and how many proxies there are.

use std::collections::{BTreeMap, BTreeSet};

use protocol::TargetId;

use super::{Missed, Proxies, ProxyKey, Use};
use crate::fleet::Counts;

impl Proxies {
    /// What a proxy that was heard does not reach, in place of what it said before, which is returned.
    pub fn set_unreached(&mut self, key: &ProxyKey, unreached: Vec<Missed>) -> Option<Vec<Missed>> {
        let state = self.all.get_mut(key)?;
        for target in unreached.iter().map(Missed::target) {
            self.missed_by
                .entry(target.clone())
                .or_default()
                .insert(key.clone());
        }
        let before = std::mem::replace(&mut state.unreached, unreached);
        for target in before.iter().map(Missed::target) {
            if !state.unreached.iter().any(|one| one.target() == target) {
                not_missed(&mut self.missed_by, target, key);
            }
        }
        Some(before)
    }

    /// Clusters of this target that are not reached, each with its proxy.
    pub(in crate::fleet) fn missed(&self, id: &TargetId) -> impl Iterator<Item = (&ProxyKey, &Missed)> {
        let keys = self.missed_by.get(id).into_iter().flatten();
        let proxies = keys.filter_map(|key| self.all.get_key_value(key));
        proxies.flat_map(move |(key, state)| {
            let list = state.unreached.iter().filter(move |one| one.target() == id);
            list.map(move |one| (key, one))
        })
    }

    /// Forgets what was said about a target that is no longer there.
    pub fn drop_target(&mut self, id: &TargetId) {
        if let Some((held, in_flight)) = self.totals.remove(id) {
            self.total.0 -= held;
            self.total.1 -= in_flight;
        }
        self.missed_by.remove(id);
        for state in self.all.values_mut() {
            state.usage.remove(id);
            state.unreached.retain(|one| one.target() != id);
        }
    }

    /// What is said of `from` is of `to` from now on, of which nothing has been said.
    pub fn rename_target(&mut self, from: &TargetId, to: &TargetId) {
        if let Some(total) = self.totals.remove(from) {
            self.totals.insert(to.clone(), total);
        }
        for state in self.all.values_mut() {
            if let Some(one) = state.usage.remove(from) {
                state.usage.insert(to.clone(), one);
            }
            state.unreached.retain(|one| one.target() != from);
        }
        self.missed_by.remove(from);
    }

    /// What is known of each target must be what the proxies say of it, and nothing else.
    #[cfg(test)]
    pub(in crate::fleet) fn check_missed(&self) {
        let mut said: BTreeMap<TargetId, BTreeSet<ProxyKey>> = BTreeMap::new();
        for (key, state) in &self.all {
            for target in state.unreached.iter().map(Missed::target) {
                said.entry(target.clone()).or_default().insert(key.clone());
            }
        }
        assert_eq!(self.missed_by, said, "must know who does not reach what");
    }

    /// Adds how many there are of what.
    pub(in crate::fleet) fn count(&self, counts: &mut Counts) {
        counts.silent = self.silent as u64;
        counts.live = (self.all.len() - self.silent) as u64;
        counts.others = self.others();
        counts.modules.clone_from(&self.modules);
        counts.polling = self.polling;
        (counts.held, counts.in_flight) = self.total;
    }
}

pub(super) fn uncount(counts: &mut BTreeMap<u64, usize>, one: u64) {
    if let Some(count) = counts.get_mut(&one) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&one);
        }
    }
}

/// Counts one less of `before` and one more of `after`. What there is none of is absent.
pub(in crate::fleet) fn shift(
    counts: &mut BTreeMap<&'static str, u64>,
    before: Option<&'static str>,
    after: Option<&'static str>,
) {
    if let Some(after) = after {
        *counts.entry(after).or_default() += 1;
    }
    if let Some(before) = before
        && let Some(count) = counts.get_mut(before)
    {
        *count -= 1;
        if *count == 0 {
            counts.remove(before);
        }
    }
}

pub(super) fn not_missed(
    missed_by: &mut BTreeMap<TargetId, BTreeSet<ProxyKey>>,
    target: &TargetId,
    key: &ProxyKey,
) {
    if let Some(keys) = missed_by.get_mut(target) {
        keys.remove(key);
        if keys.is_empty() {
            missed_by.remove(target);
        }
    }
}

pub(super) fn take_off(
    totals: &mut BTreeMap<TargetId, (u64, u64)>,
    total: &mut (u64, u64),
    id: &TargetId,
    one: Use,
) {
    // Not there any more if the target was dropped meanwhile.
    if let Some((held, in_flight)) = totals.get_mut(id) {
        *held -= u64::from(one.held);
        *in_flight -= u64::from(one.in_flight);
        total.0 -= u64::from(one.held);
        total.1 -= u64::from(one.in_flight);
        if (*held, *in_flight) == (0, 0) {
            totals.remove(id);
        }
    }
}
