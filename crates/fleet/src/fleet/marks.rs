//! Keeps the index, and what is told of statuses, up to date as targets change.

use protocol::TargetId;

use super::index::Marks;
use super::status::digest;
use super::{Effect, Fleet};

impl Fleet {
    /// Brings the index up to what the target waits for now, and tells if its status shows something else. Code that changes
    /// its life, its deadline, since when it is held or what its status shows calls this.
    pub(super) fn mark(&mut self, id: &TargetId) {
        let Some(entry) = self.targets.get(id) else { return };
        let not_reached = self.misses(id);
        let after = Marks {
            unreached: not_reached.len() as u64,
            shows: Some(digest(entry, &not_reached)),
            ..entry.marks_now()
        };
        self.follow_marks(id, entry.marks, after);
        if let Some(entry) = self.targets.get_mut(id) {
            entry.marks = after;
        }
    }

    /// Takes a target that is gone out of the index.
    pub(super) fn unmark(&mut self, id: &TargetId, marks: Marks) {
        self.follow_marks(id, marks, Marks::default());
    }

    fn follow_marks(&mut self, id: &TargetId, before: Marks, after: Marks) {
        if before == after {
            return;
        }
        self.index.follow(id, before, after);
        if before.shows != after.shows {
            self.effects.push(Effect::Changed(id.clone()));
        }
    }
}
