//! How Envoy sends bodies, and how a processor asks it to send them in another way.

use crate::wire::ProtocolConfiguration;
use crate::wire::processing_mode::BodySendMode;

/// The direction of a message: of the request, or of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

impl Direction {
    /// The direction that it is not.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Request => Self::Response,
            Self::Response => Self::Request,
        }
    }

    /// The word in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

/// `BodySendMode` of Envoy's `ProcessingMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyMode {
    /// The body is not shown to the processor.
    #[default]
    None,
    /// Chunk by chunk; each is answered before the next is looked at, one answer for one chunk ("1:1").
    Streamed,
    /// The whole body in one message; Envoy answers 413 where it is larger than its buffer.
    Buffered,
    /// The body, or as much of it as Envoy's buffer takes, in one message; the rest passes unseen.
    BufferedPartial,
    /// Both ways at once, any number of answers for any number of chunks ("M:N"). Trailers have to be sent as well.
    FullDuplex,
}

impl BodyMode {
    /// The name in Envoy's configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Streamed => "STREAMED",
            Self::Buffered => "BUFFERED",
            Self::BufferedPartial => "BUFFERED_PARTIAL",
            Self::FullDuplex => "FULL_DUPLEX_STREAMED",
        }
    }

    pub(crate) fn from_wire(mode: i32) -> Option<Self> {
        Some(match BodySendMode::try_from(mode).ok()? {
            BodySendMode::None => Self::None,
            BodySendMode::Streamed => Self::Streamed,
            BodySendMode::Buffered => Self::Buffered,
            BodySendMode::BufferedPartial => Self::BufferedPartial,
            BodySendMode::FullDuplexStreamed => Self::FullDuplex,
            BodySendMode::Grpc => return None,
        })
    }

    pub(crate) fn to_wire(self) -> BodySendMode {
        match self {
            Self::None => BodySendMode::None,
            Self::Streamed => BodySendMode::Streamed,
            Self::Buffered => BodySendMode::Buffered,
            Self::BufferedPartial => BodySendMode::BufferedPartial,
            Self::FullDuplex => BodySendMode::FullDuplexStreamed,
        }
    }

    /// Whether the whole body comes in one message.
    pub(crate) fn is_buffered(self) -> bool {
        matches!(self, Self::Buffered | Self::BufferedPartial)
    }
}

/// The body modes of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// Of the request's body.
    pub request: BodyMode,
    /// Of the response's body.
    pub response: BodyMode,
}

impl Modes {
    /// The mode of one direction.
    #[must_use]
    pub fn of(self, direction: Direction) -> BodyMode {
        match direction {
            Direction::Request => self.request,
            Direction::Response => self.response,
        }
    }

    /// # Errors
    /// With the number of a mode that this version does not know.
    pub(crate) fn from_wire(config: &ProtocolConfiguration) -> Result<Self, i32> {
        let known = |mode| BodyMode::from_wire(mode).ok_or(mode);
        Ok(Self {
            request: known(config.request_body_mode)?,
            response: known(config.response_body_mode)?,
        })
    }
}

/// What a processor asks Envoy to send of this request from here on (`mode_override`). What is `None` stays as it is.
///
/// Envoy honours it in the answer to headers only, with `allow_mode_override: true` in the filter, and not at all where the
/// filter's body mode is FULL_DUPLEX_STREAMED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModeOverride {
    /// Whether to send the headers of the response.
    pub response_headers: Option<bool>,
    /// How to send the body of the request.
    pub request_body: Option<BodyMode>,
    /// How to send the body of the response.
    pub response_body: Option<BodyMode>,
    /// Whether to send the trailers of the request.
    pub request_trailers: Option<bool>,
    /// Whether to send the trailers of the response.
    pub response_trailers: Option<bool>,
}

impl ModeOverride {
    /// Those of `self`, and of `other` where `self` says nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            response_headers: self.response_headers.or(other.response_headers),
            request_body: self.request_body.or(other.request_body),
            response_body: self.response_body.or(other.response_body),
            request_trailers: self.request_trailers.or(other.request_trailers),
            response_trailers: self.response_trailers.or(other.response_trailers),
        }
    }
}
