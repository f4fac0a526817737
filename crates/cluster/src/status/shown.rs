//! The ScaleTargets as their watch shows them, status included. Kept apart from the index, which must not stir when we
//! write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::TargetId;
use tokio::sync::broadcast;

use crate::crd::{ScaleTarget, ScaleTargetStatus};
use crate::fact_store::FactStore;
use crate::observe::Version;
use crate::watches::WatchEvent;

/// Changes kept for a reader that is behind. One that misses some looks at everything.
const CHANGES: usize = 1024;

/// All ScaleTargets. Clones share them.
#[derive(Clone, Debug)]
pub struct Shown {
    targets: Arc<Mutex<FactStore<TargetId, Arc<ShownTarget>>>>,
    changes: broadcast::Sender<TargetId>,
}

/// One ScaleTarget as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownTarget {
    /// Its id.
    pub id: TargetId,
    /// Tells it from one of the same name that was before it.
    pub uid: String,
    /// Version of the object.
    pub version: Version,
    /// Counts the changes of its spec.
    pub generation: i64,
    /// Why its spec cannot be used.
    pub invalid: Option<String>,
    /// Its status.
    pub status: Option<ScaleTargetStatus>,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            targets: Arc::default(),
            changes: broadcast::Sender::new(CHANGES),
        }
    }
}

impl Shown {
    /// Takes in what the watch of the ScaleTargets tells.
    pub fn take(&self, seen: &WatchEvent<ScaleTarget>) {
        let mut targets = self.lock();
        let changed = match seen {
            WatchEvent::Begin => {
                targets.begin();
                Vec::new()
            }
            WatchEvent::Apply(object) => {
                let target = ShownTarget::of(object);
                let id = target.id.clone();
                let news = targets.apply(id.clone(), Arc::new(target));
                news.then_some(id).into_iter().collect()
            }
            WatchEvent::Delete(object) => {
                let id = object.id();
                targets.delete(&id).then_some(id).into_iter().collect()
            }
            WatchEvent::End => targets.end(),
            WatchEvent::Absent => targets.absent(),
            WatchEvent::Refused(_) => Vec::new(),
        };
        drop(targets);
        for id in changed {
            // There is no receiver while another replica leads.
            let _ = self.changes.send(id);
        }
    }

    /// The ids of all of them.
    pub fn ids(&self) -> Vec<TargetId> {
        self.lock().iter().map(|(id, _)| id.clone()).collect()
    }

    /// One of them.
    pub fn find(&self, id: &TargetId) -> Option<Arc<ShownTarget>> {
        self.lock().find(id).cloned()
    }

    /// Those that change from now on. A receiver that lags has missed some, so it must look at all.
    pub fn changes(&self) -> broadcast::Receiver<TargetId> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, FactStore<TargetId, Arc<ShownTarget>>> {
        // Nothing panics while it holds the lock; if it did, what was seen is true all the same.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShownTarget {
    /// As `object` says it.
    pub fn of(object: &ScaleTarget) -> Self {
        let meta = &object.metadata;
        Self {
            id: object.id(),
            uid: meta.uid.clone().unwrap_or_default(),
            version: Version::new(meta.resource_version.clone().unwrap_or_default()),
            generation: meta.generation.unwrap_or_default(),
            invalid: object.read().err().map(|invalid| invalid.to_string()),
            status: object.status.clone(),
        }
    }
}
