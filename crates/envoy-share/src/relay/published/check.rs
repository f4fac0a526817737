//! Compares what is kept up to date of the published targets with what there is, for tests and models.

use hold::Slot;

use super::{PUBLISHED, Place, Published};
use crate::relay::target_counts::TargetCounts;

impl Published {
    /// What is kept up to date must be what one would find by looking at every slot.
    pub(in crate::relay) fn check(&self) {
        let drains = |place: &&Place| place.draining.is_some();
        assert_eq!(
            self.draining,
            self.slots.iter().filter(drains).count(),
            "must count what drains"
        );
        let mut counts = TargetCounts::default();
        self.slots
            .iter()
            .for_each(|place| counts.enter(place.record.target.as_ref()));
        assert_eq!(
            (self.counts.ready(), self.counts.unknown()),
            (counts.ready(), counts.unknown()),
            "must count what there is"
        );
        let all = (0..).map(Slot).zip(&self.slots);
        let soiled: Vec<_> = all
            .filter(|(_, place)| place.dirty)
            .map(|(slot, _)| slot)
            .collect();
        let mut dirty = self.dirty.clone();
        dirty.sort_unstable();
        assert_eq!(dirty, soiled, "must write each once");
        for (id, slot) in self.by_id.iter() {
            let target = self.target(*slot);
            assert_eq!(target.map(|target| &target.id), Some(id), "must be in its place");
        }
        assert_eq!(
            self.by_id.len() + self.free.len(),
            self.slots.len(),
            "each place must be in use or free"
        );
        assert!(self.revisions.len() <= PUBLISHED, "must be bounded");
    }
}
