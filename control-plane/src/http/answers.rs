//! Answers to polls, each made once: most proxies are where most others are, and a full snapshot may have megabytes.
//!
//! Keeps only those to the newest revision, and of those the snapshot and no more than [`MAX_DELTA_BYTES`] of changes,
//! whatever proxies ask for: a poll that finds no room is answered with a few changes that are written anew, or with the snapshot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Bytes;
use protocol::Revision;

use fleet::view::Question;

/// Most bytes of changes that are kept, all answers together. Those since the last few revisions have a kilobyte each.
pub(super) const MAX_DELTA_BYTES: usize = 8 << 20;

/// An answer that is written by the first poll that needs it. Other polls wait for that.
pub(super) type Answer = Arc<OnceLock<Bytes>>;

/// All that were made to the newest revision. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    revision: Option<Revision>,
    everything: Answer,
    deltas: BTreeMap<u64, Answer>,
    /// Of the deltas, those under way included.
    bytes: usize,
}

impl Made {
    /// True if what leads to `revision` may be kept.
    fn turn_to(&mut self, revision: &Revision) -> bool {
        if let Some(known) = self.revision.as_ref().filter(|known| *known != revision) {
            if known.instance == revision.instance && revision.n < known.n {
                return false;
            }
            *self = Self::default();
        }
        self.revision.get_or_insert_with(|| revision.clone());
        true
    }
}

impl Answers {
    /// The answer to `question` that leads to `revision`, if it is made.
    pub(super) fn find(&self, revision: &Revision, question: Question) -> Option<Bytes> {
        let made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.revision.as_ref() != Some(revision) {
            return None;
        }
        let place = match question {
            Question::Everything => &made.everything,
            Question::After(n) => made.deltas.get(&n)?,
        };
        place.get().cloned()
    }

    /// The place of what answers `question` and leads to `revision`; `size` is its length in bytes. `None`: it is not kept.
    pub(super) fn place(&self, revision: &Revision, question: Question, size: usize) -> Option<Answer> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.turn_to(revision) {
            return None;
        }
        let Question::After(n) = question else {
            return Some(Arc::clone(&made.everything));
        };
        if let Some(place) = made.deltas.get(&n) {
            return Some(Arc::clone(place));
        }
        let bytes = made
            .bytes
            .checked_add(size)
            .filter(|bytes| *bytes <= MAX_DELTA_BYTES)?;
        made.bytes = bytes;
        let place = Answer::default();
        made.deltas.insert(n, Arc::clone(&place));
        Some(place)
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let made = self.0.lock().unwrap();
        let all = made.deltas.values().chain([&made.everything]);
        all.filter_map(|place| place.get()).map(Bytes::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_once_for_each_revision() {
        let answers = Answers::default();
        for question in [Question::Everything, Question::After(0)] {
            let first = answers.place(&revision(1), question, 3).unwrap();
            assert_eq!(answers.find(&revision(1), question), None, "must be made first");
            first.set(Bytes::from_static(b"one")).unwrap();
            let again = answers.place(&revision(1), question, 3).unwrap();
            assert_eq!(again.get().map(|bytes| &bytes[..]), Some(&b"one"[..]));
            assert_eq!(answers.find(&revision(1), question).as_deref(), Some(&b"one"[..]));
            assert_eq!(
                answers.find(&revision(2), question),
                None,
                "another revision must have its own"
            );
        }
        let next = answers.place(&revision(2), Question::Everything, 0).unwrap();
        assert!(next.get().is_none(), "another revision must have its own");
        assert_eq!(answers.bytes(), 0, "what is old must not be kept");
        assert!(
            answers.place(&revision(1), Question::Everything, 0).is_none(),
            "what comes late must not take the place of what is newer"
        );
    }

    #[test]
    fn changes_are_kept_up_to_a_bound() {
        let answers = Answers::default();
        let half = MAX_DELTA_BYTES / 2;
        assert!(answers.place(&revision(9), Question::After(1), half).is_some());
        assert!(answers.place(&revision(9), Question::After(2), half).is_some());
        assert!(
            answers.place(&revision(9), Question::After(3), 1).is_none(),
            "there is no room"
        );
        assert!(
            answers.place(&revision(9), Question::After(1), half).is_some(),
            "it is kept already"
        );
        assert!(
            answers
                .place(&revision(9), Question::Everything, 1 << 30)
                .is_some(),
            "it is always kept"
        );
        assert!(
            answers.place(&revision(10), Question::After(3), half).is_some(),
            "there is room again"
        );
    }

    fn revision(n: u64) -> Revision {
        Revision {
            instance: "me".to_owned(),
            n,
        }
    }
}
