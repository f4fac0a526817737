//! The ScaleTargets as their watch shows them, status included. Kept apart from the index, which must not stir when we
//! write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::TargetId;
use tokio::sync::watch;

use crate::crd::{ScaleTarget, ScaleTargetStatus};
use crate::fact_store::FactStore;
use crate::observe::Version;
use crate::watches::WatchEvent;

/// All ScaleTargets. Clones share them.
#[derive(Clone, Debug)]
pub struct Shown {
    targets: Arc<Mutex<FactStore<TargetId, Arc<ShownTarget>>>>,
    changed: Arc<watch::Sender<()>>,
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
            changed: Arc::new(watch::Sender::new(())),
        }
    }
}

impl Shown {
    /// Takes in what the watch of the ScaleTargets tells.
    pub fn take(&self, seen: &WatchEvent<ScaleTarget>) {
        let mut targets = self.lock();
        match seen {
            WatchEvent::Begin => targets.begin(),
            WatchEvent::Apply(object) => {
                let target = ShownTarget::of(object);
                targets.apply(target.id.clone(), Arc::new(target));
            }
            WatchEvent::Delete(object) => drop(targets.delete(&object.id())),
            WatchEvent::End => drop(targets.end()),
            WatchEvent::Absent => drop(targets.absent()),
            WatchEvent::Refused(_) => {}
        }
        drop(targets);
        self.changed.send_replace(());
    }

    /// All of them, in the order of ids.
    pub fn list(&self) -> Vec<Arc<ShownTarget>> {
        self.lock().iter().map(|(_, target)| Arc::clone(target)).collect()
    }

    /// Fires when something may have changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
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
