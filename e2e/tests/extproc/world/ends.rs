//! How exchanges ended, as their processor was told.

use std::sync::{Arc, Mutex};

use extproc::End;
use harness::eventually;

use super::SOON;

/// The ends that a processor was told of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<End>>>);

impl Ends {
    pub(crate) fn add(&self, end: End) {
        self.0.lock().unwrap().push(end);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Waits until as many exchanges have ended; each ended exactly once, in these ways.
    pub(crate) async fn are(&self, expected: &[(End, usize)]) {
        let count: usize = expected.iter().map(|(_, count)| count).sum();
        eventually("all exchanges have ended", SOON, || async {
            self.count() >= count
        })
        .await;
        let ends = self.0.lock().unwrap().clone();
        for (end, count) in expected {
            let found = ends.iter().filter(|found| *found == end).count();
            assert_eq!(found, *count, "exchanges that ended as {end:?}: {ends:?}");
        }
        assert_eq!(ends.len(), count, "each ends once: {ends:?}");
    }
}
