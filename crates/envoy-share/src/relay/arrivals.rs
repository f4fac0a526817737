//! Keeps when each target was last asked for, and reports it once more to each new control plane.
//!
//! A new control plane starts without what its predecessor was told, and must not put a target to sleep that this Envoy's clients use.

use std::collections::BTreeMap;
use std::time::Duration;

use hold::Time;
use protocol::{TargetId, Usage};

/// The newest arrivals, and which instance of the control plane has been told of all of them.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The newest of each target since its match keys last changed. No more than there are targets.
    newest: BTreeMap<TargetId, Time>,
    /// The instance that took the last report.
    taken_by: Option<String>,
    /// The instance that has been told of all.
    told: Option<String>,
    /// The report on its way tells of all.
    telling: bool,
}

impl Arrivals {
    /// Takes in the arrivals of a report that could be sent now, and adds those that its reader may not have heard of.
    pub(super) fn complete(&mut self, now: Time, targets: &mut BTreeMap<TargetId, Usage>) {
        for (id, usage) in &*targets {
            if let Some(idle) = usage.idle_ms {
                let at = now.before(Duration::from_millis(idle));
                let newest = self.newest.entry(id.clone()).or_insert(at);
                *newest = at.max(*newest);
            }
        }
        if !self.is_owed() {
            return;
        }
        for (id, at) in &self.newest {
            let idle_ms = protocol::millis(now.since(*at));
            targets
                .entry(id.clone())
                .or_default()
                .idle_ms
                .get_or_insert(idle_ms);
        }
    }

    /// The report is on its way.
    pub(super) fn sent(&mut self) {
        self.telling = self.is_owed();
    }

    /// It was taken by this instance.
    pub(super) fn taken_by(&mut self, instance: &str) {
        if self.telling {
            self.told = Some(instance.to_owned());
        }
        self.taken_by = Some(instance.to_owned());
    }

    /// Its match keys have changed: by these it has not been asked for.
    pub(super) fn forget(&mut self, id: &TargetId) {
        self.newest.remove(id);
    }

    /// Leaves only what `stays` says.
    pub(super) fn retain(&mut self, stays: impl Fn(&TargetId) -> bool) {
        self.newest.retain(|id, _| stays(id));
    }

    fn is_owed(&self) -> bool {
        self.taken_by != self.told
    }
}
