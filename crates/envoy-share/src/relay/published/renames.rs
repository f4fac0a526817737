//! Finds targets that go on under another name: what is new has the same keys as what goes.

use protocol::{Target, TargetId};

use super::Published;

/// Most targets of one revision that are looked at for a new name. A person renames one, a release some; beyond it they are gone
/// and new.
const RENAMES: usize = 64;

impl Published {
    /// Gives each new target the place of one that goes in the same revision and has the same keys: to the gates its requests
    /// stay what they are, held or in flight. So it does with one that has had no keys until now, beside the one that had them: it has no
    /// requests of its own that would lose their place.
    pub(super) fn follow_renames(&mut self, gone: &[TargetId], targets: &[Target]) {
        let Some(gone) = gone.get(..gone.len().min(RENAMES)) else {
            return;
        };
        for target in targets {
            let known = self.find(&target.id);
            if gone.is_empty() || known.is_some_and(|known| known.has_keys()) {
                continue;
            }
            let has_keys = |id: &&TargetId| self.find(id).is_some_and(|old| old.has_same_keys(target));
            if let Some(slot) = gone.iter().find(has_keys).and_then(|id| self.by_id.remove(id)) {
                self.remove(&target.id);
                self.by_id.insert(target.id.clone(), slot);
            }
        }
    }
}
