//! How a handler ends an exchange early: with an answer to the client, or as failed.

use std::error::Error;
use std::fmt;

use crate::immediate::Immediate;

/// What a handler returns.
pub type Reply<T> = Result<T, Stop>;

/// The end of an exchange by its handler. `?` turns an [`Immediate`] and every error into one.
#[derive(Debug)]
pub enum Stop {
    /// The client gets this answer, and no later phase runs.
    Respond(Box<Immediate>),
    /// The call ends with the status INTERNAL. What the client gets is up to Envoy: its `status_on_error` (500 by default), or,
    /// with `failure_mode_allow` and nothing of the body sent yet, the request goes on without this processor.
    Fail(Failure),
}

impl Stop {
    /// A failure with this text. It stands in the processor's log only.
    pub fn fail(text: impl Into<String>) -> Self {
        Self::Fail(Failure::new(FailureKind::Handler, text))
    }

    pub(crate) fn limit(limit: &'static str, text: impl Into<String>) -> Self {
        Self::Fail(Failure::new(FailureKind::Limit(limit), text))
    }

    pub(crate) fn misuse(text: impl Into<String>) -> Self {
        Self::Fail(Failure::new(FailureKind::Misuse, text))
    }
}

impl From<Immediate> for Stop {
    fn from(answer: Immediate) -> Self {
        Self::Respond(Box::new(answer))
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Fail(Failure {
            kind: FailureKind::Handler,
            text: error.to_string(),
            source: Some(Box::new(error)),
        })
    }
}

/// Why an exchange failed. Its text is for the log of the processor, never for clients.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kinds of failure, as the metric `extproc_failures_total{kind}` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// A handler returned an error.
    Handler,
    /// A handler panicked.
    Panic,
    /// A handler took longer than its deadline.
    Deadline,
    /// A handler collected or wrote more than a limit, which is named.
    Limit(&'static str),
    /// A reply that Envoy would refuse, or lose, in the present body mode.
    Misuse,
    /// The exchange is over: Envoy reset it, or the server stops.
    Cancelled,
    /// Envoy sent what is against the protocol.
    Protocol,
}

impl FailureKind {
    /// The word in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Panic => "panic",
            Self::Deadline => "deadline",
            Self::Limit(_) => "limit",
            Self::Misuse => "misuse",
            Self::Cancelled => "cancelled",
            Self::Protocol => "protocol",
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            source: None,
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The error that a handler returned, where it returned one.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.source.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
