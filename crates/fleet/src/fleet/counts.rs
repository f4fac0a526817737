//! How many there are of what, for `/metrics`: kept up to date as things change, so that no reader looks at everything, and
//! read without asking the actor.

use std::collections::BTreeMap;

use super::Fleet;

/// How many there are of what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Targets by phase; a phase that none is in may be absent.
    pub targets: BTreeMap<&'static str, u64>,
    /// Proxies that speak.
    pub live: u64,
    /// Proxies that are known by name and say nothing.
    pub silent: u64,
    /// Proxies that had to make room and are not forgotten.
    pub others: u64,
    /// Proxies that speak, by what the version of their module is beside ours: see [`super::proxies::Module`].
    pub modules: BTreeMap<&'static str, u64>,
    /// Polls that are open.
    pub polling: u64,
    /// Requests held, over all proxies that speak.
    pub held: u64,
    /// Requests in flight, over all proxies that speak.
    pub in_flight: u64,
    /// Clusters of Envoys that do not reach a ready target.
    pub unreached: u64,
}

impl Fleet {
    /// How many there are of what now.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            targets: self.index.phases().clone(),
            unreached: self.index.unreached(),
            ..Counts::default()
        };
        self.proxies.count(&mut counts);
        counts
    }
}

#[cfg(test)]
impl Fleet {
    /// What is counted must be what one would find by looking at everything.
    pub(super) fn check_counts(&self) {
        let status = self.status(crate::time::Time::default());
        let mut found = Counts {
            others: status.others,
            ..Counts::default()
        };
        for target in &status.targets {
            *found.targets.entry(target.state).or_default() += 1;
            found.held += target.held;
            found.in_flight += target.in_flight;
            found.unreached += target.unreached_clusters;
        }
        for (_, state) in self.proxies.iter() {
            found.polling += u64::from(state.poll.is_some());
            found.silent += u64::from(state.silent);
            found.live += u64::from(!state.silent);
            if !state.silent {
                *found.modules.entry(state.compared()).or_default() += 1;
            }
        }
        assert_eq!(self.counts(), found, "must count what there is");
    }
}
