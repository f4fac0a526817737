//! What a processor can work in, and what it may take: modes, sizes, times.

use std::time::Duration;

use crate::immediate::Immediate;
use crate::modes::{BodyMode, ModeOverride, Modes};

/// What a processor says of itself. The default suits a handler that does not care about modes.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The modes that its handler of request bodies works in.
    pub request: Accepts,
    /// The modes that its handler of response bodies works in.
    pub response: Accepts,
    /// Sent with the first answer to headers; the body modes in it only where the filter's mode of that direction is NONE.
    /// Needs `allow_mode_override: true` in the filter.
    pub ask: Option<ModeOverride>,
    /// The modes to assume where Envoy does not tell its own (before 1.33). Without it: STREAMED.
    pub assume: Option<Modes>,
    /// Sizes.
    pub limits: Limits,
    /// Times.
    pub deadlines: Deadlines,
}

/// Body modes that a handler works in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accepts {
    /// Every mode.
    #[default]
    Any,
    /// These, and NONE. A call in another mode is ended with FAILED_PRECONDITION, and the log says what to configure.
    Only(&'static [BodyMode]),
}

impl Accepts {
    pub(crate) fn accepts(self, mode: BodyMode) -> bool {
        match self {
            Self::Any => true,
            Self::Only(modes) => mode == BodyMode::None || modes.contains(&mode),
        }
    }
}

/// Bounds of one exchange, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What [`collect`](crate::Body::collect) may gather; the client is answered 413 beyond. 1 MiB.
    pub collect: usize,
    /// What a handler may write as the replacement of one chunk in STREAMED, or of a body in BUFFERED. 4 MiB.
    pub written: usize,
    /// Names and values of the headers that one reply changes. 64 KiB.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            collect: 1 << 20,
            written: 4 << 20,
            header_bytes: 64 << 10,
        }
    }
}

/// Times that a handler may take. They count only while it is the handler that is waited for: not while it waits for a chunk
/// that Envoy has not sent, nor while Envoy does not take what was written.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// For a handler of headers. 10 s.
    pub headers: Duration,
    /// Between a body handler's reads and writes. 60 s.
    pub body_progress: Duration,
    /// For a handler of trailers. 10 s.
    pub trailers: Duration,
    /// What happens then.
    pub then: OnDeadline,
    /// The filter's `message_timeout`, where it is known, and by how much to prolong it: before it is over Envoy is asked, once
    /// for each phase, for as much more time. The filter's `max_message_timeout` has to allow it. Not in FULL_DUPLEX_STREAMED, where Envoy
    /// has no such time-out.
    pub prolong: Option<Prolong>,
}

/// See [`Deadlines::prolong`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prolong {
    /// The filter's `message_timeout` (Envoy's default: 200 ms).
    pub message_timeout: Duration,
    /// How long Envoy is to wait instead, from the moment at which it is asked; at most the filter's `max_message_timeout`.
    pub to: Duration,
}

/// What happens when a handler is over its time.
#[derive(Clone, Debug, Default)]
pub enum OnDeadline {
    /// The exchange fails.
    #[default]
    Fail,
    /// The client gets this answer.
    Respond(Box<Immediate>),
    /// The phase goes on unchanged. In a body phase this holds only as long as the handler has read nothing: else it fails.
    Continue,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(10),
            body_progress: Duration::from_secs(60),
            trailers: Duration::from_secs(10),
            then: OnDeadline::Fail,
            prolong: None,
        }
    }
}
