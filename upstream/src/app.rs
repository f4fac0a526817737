//! What all handlers share: journal, admission, and the word that the process is closing.

use std::{future, num::NonZeroU32, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{admit::Admission, journal::Journal, record::Counts};

/// Shared by every handler of both ports. A clone is the same backend.
#[derive(Clone, Debug)]
pub struct App {
    /// Where every request is written down.
    pub(crate) journal: Arc<Journal>,
    /// How many requests may come in, and how many are in.
    pub(crate) admission: Admission,
    /// Cancelled once, when the drain time is over: streams without an end of their own end then.
    pub(crate) closing: CancellationToken,
    /// Said by `/`, `/hello` and `/json`.
    pub(crate) name: Arc<str>,
    /// Whether unknown paths are answered as `/json` is.
    pub(crate) is_json_everywhere: bool,
}

impl App {
    /// A backend that lets in `max_concurrency` requests at a time over both ports, or any number.
    pub fn new(name: &str, journal: Arc<Journal>, max_concurrency: Option<NonZeroU32>) -> Self {
        Self {
            journal,
            admission: Admission::new(max_concurrency),
            closing: CancellationToken::new(),
            name: Arc::from(name),
            is_json_everywhere: false,
        }
    }

    /// Answers paths that are unknown as `/json` is answered, in place of 404.
    #[must_use]
    pub fn with_json_everywhere(self) -> Self {
        Self {
            is_json_everywhere: true,
            ..self
        }
    }

    /// What `GET /count` says.
    pub fn counts(&self) -> Counts {
        Counts {
            in_flight: self.admission.in_flight(),
            ..self.journal.counts()
        }
    }

    /// Ends when a stream must be cut: at closing if it is `endless`, else never, since it ends by itself within the
    /// grace time or not at all.
    pub(crate) fn cut(&self, endless: bool) -> impl Future<Output = ()> + Send + use<> {
        let closing = self.closing.clone();
        async move {
            if !endless {
                future::pending::<()>().await;
            }
            closing.cancelled_owned().await;
        }
    }
}
