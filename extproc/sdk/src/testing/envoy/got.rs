//! What came of a request that was sent through the simulated Envoy.

use serde_json::{Map, Value};
use tonic::Code;

use super::http::Seen;

/// Something that a processor should not do: Envoy answers 500 for it, or, worse, goes on as if nothing were wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub(super) kind: ViolationKind,
    pub(super) text: String,
}

/// The kinds of [`Violation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViolationKind {
    /// An answer that belongs to no message (`spurious_msgs_received`). Envoy closes the call.
    Spurious,
    /// An answer of a kind that the body mode does not have, or one before another that must come first.
    Order,
    /// The peer gets fewer bytes than it was to, and no error.
    LostBytes,
    /// Changes of headers that have gone on already: Envoy drops them.
    LostHeaders,
    /// The call ended with OK and a message unanswered: Envoy lets it pass unprocessed.
    Unprocessed,
    /// A reply that Envoy refuses as a whole, and answers with 500.
    Refused,
    /// No answer within Envoy's `stream_idle_timeout` (5 minutes).
    Hung,
}

impl Violation {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ViolationKind {
        self.kind
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

/// What the client and the upstream saw of one request, and what was wrong with the processor's answers.
#[derive(Clone, Debug, Default)]
pub struct Got {
    pub(super) upstream: Option<Seen>,
    pub(super) client: Seen,
    pub(super) immediate: Option<u16>,
    pub(super) details: Option<String>,
    pub(super) violations: Vec<Violation>,
    pub(super) rejected: Vec<String>,
    pub(super) metadata: Map<String, Value>,
    pub(super) routes_cleared: u32,
    pub(super) prolonged: u32,
    pub(super) messages: u32,
    pub(super) answers: u32,
    pub(super) ended: Option<Code>,
}

impl Got {
    /// The request as the upstream got it.
    ///
    /// # Panics
    /// Where it did not get that far; [`reached_upstream`](Self::reached_upstream) asks.
    #[must_use]
    #[allow(clippy::panic, reason = "it is for tests, which fail so")]
    pub fn upstream(&self) -> &Seen {
        match &self.upstream {
            Some(seen) => seen,
            None => panic!(
                "the request did not reach the upstream: the client got {} ({:?})",
                self.client.status(),
                self.details
            ),
        }
    }

    /// Whether the upstream got the request.
    #[must_use]
    pub fn reached_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    /// The response as the client got it.
    #[must_use]
    pub fn client(&self) -> &Seen {
        &self.client
    }

    /// The status with which the processor answered the client itself, if it did.
    #[must_use]
    pub fn immediate(&self) -> Option<u16> {
        self.immediate
    }

    /// The word for the access log of an answer that was not the upstream's: the processor's own, or Envoy's for what went wrong.
    #[must_use]
    pub fn details(&self) -> Option<&str> {
        self.details.as_deref()
    }

    /// What was wrong with the processor's answers.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Names of headers that the filter's default `mutation_rules` do not let a processor change (`rejected_header_mutations`).
    #[must_use]
    pub fn rejected(&self) -> &[String] {
        &self.rejected
    }

    /// The dynamic metadata that the processor set, by namespace.
    #[must_use]
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// How often the processor had the route matched again.
    #[must_use]
    pub fn routes_cleared(&self) -> u32 {
        self.routes_cleared
    }

    /// How often the processor asked for more time.
    #[must_use]
    pub fn prolonged(&self) -> u32 {
        self.prolonged
    }

    /// Messages sent to the processor, and answers that came.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        (self.messages, self.answers)
    }

    /// How the processor ended the call; none where it left that to Envoy, which does so when the response is through.
    #[must_use]
    pub fn ended(&self) -> Option<Code> {
        self.ended
    }
}
