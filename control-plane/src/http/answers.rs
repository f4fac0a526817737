//! Answers to polls, each made once: most proxies are where most others are, and a full snapshot may have megabytes.
//!
//! Keeps only those to the newest revision, so no more than there are proxies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::body::Bytes;
use protocol::Revision;

use crate::view::Question;

/// An answer that is made by the first who needs it. Others wait for that.
pub(super) type Answer = Arc<OnceLock<Bytes>>;

/// All that were made to the newest revision. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Answers(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    revision: Option<Revision>,
    answers: BTreeMap<Question, Answer>,
}

impl Answers {
    /// The place of what answers `question` and leads to `revision`.
    pub(super) fn place(&self, revision: Revision, question: Question) -> Answer {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.revision.as_ref() != Some(&revision) {
            made.answers.clear();
            made.revision = Some(revision);
        }
        Arc::clone(made.answers.entry(question).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_made_once_for_each_revision() {
        let answers = Answers::default();
        let first = answers.place(revision(1), Question::Everything);
        first.set(Bytes::from_static(b"one")).unwrap();
        let again = answers.place(revision(1), Question::Everything);
        assert_eq!(again.get().map(|bytes| &bytes[..]), Some(&b"one"[..]));
        assert!(answers.place(revision(1), Question::After(0)).get().is_none());
        let next = answers.place(revision(2), Question::Everything);
        assert!(next.get().is_none(), "another revision must have its own");
        assert_eq!(
            answers.0.lock().unwrap().answers.len(),
            1,
            "what is old must not be kept"
        );
    }

    fn revision(n: u64) -> Revision {
        Revision {
            instance: "me".to_owned(),
            n,
        }
    }
}
