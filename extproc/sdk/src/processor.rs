//! What people who write processors implement.

use std::any::type_name;
use std::borrow::Cow;
use std::future::{Future, ready};

use crate::body::Body;
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::needs::Needs;
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::stop::Reply;

/// A processor: a handler for each of the six phases, all of them optional. A handler that is not written lets its phase pass
/// unchanged, bodies without a copy. Implement them as plain `async fn`.
///
/// The request's and the response's handlers of one exchange may run at the same time (an upstream may answer before it has
/// read the request); those of one direction run one after the other. `&self` is shared by all exchanges, [`State`](Self::State)
/// belongs to one. A handler whose exchange ends is dropped at its next await.
pub trait Processor: Send + Sync + 'static {
    /// What the handlers of one exchange share. It is dropped when the exchange ends.
    type State: Default + Send + 'static;

    /// The name in the chain header, metrics and logs. By default that of the type, without its path.
    fn name(&self) -> Cow<'_, str> {
        let whole = type_name::<Self>();
        let bare = whole.split_once('<').map_or(whole, |(bare, _)| bare);
        Cow::Borrowed(bare.rsplit("::").next().unwrap_or(bare))
    }

    /// The modes that it works in, its bounds and its deadlines.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The headers of the request came.
    fn request_headers(
        &self,
        exchange: &Exchange<Self::State>,
        headers: &Headers,
    ) -> impl Future<Output = Reply<HeadersReply>> + Send {
        let _ = (exchange, headers);
        ready(Ok(HeadersReply::unchanged()))
    }

    /// The body of the request comes. Not called where the headers said that there is none.
    fn request_body(
        &self,
        exchange: &Exchange<Self::State>,
        body: Body,
    ) -> impl Future<Output = Reply<BodyReply>> + Send {
        let _ = (exchange, body);
        ready(Ok(BodyReply::unchanged()))
    }

    /// The trailers of the request came.
    fn request_trailers(
        &self,
        exchange: &Exchange<Self::State>,
        trailers: &Headers,
    ) -> impl Future<Output = Reply<TrailersReply>> + Send {
        let _ = (exchange, trailers);
        ready(Ok(TrailersReply::unchanged()))
    }

    /// The headers of the response came; also those of answers that Envoy gives itself, such as 503.
    fn response_headers(
        &self,
        exchange: &Exchange<Self::State>,
        headers: &Headers,
    ) -> impl Future<Output = Reply<HeadersReply>> + Send {
        let _ = (exchange, headers);
        ready(Ok(HeadersReply::unchanged()))
    }

    /// The body of the response comes. Not called where the headers said that there is none.
    fn response_body(
        &self,
        exchange: &Exchange<Self::State>,
        body: Body,
    ) -> impl Future<Output = Reply<BodyReply>> + Send {
        let _ = (exchange, body);
        ready(Ok(BodyReply::unchanged()))
    }

    /// The trailers of the response came.
    fn response_trailers(
        &self,
        exchange: &Exchange<Self::State>,
        trailers: &Headers,
    ) -> impl Future<Output = Reply<TrailersReply>> + Send {
        let _ = (exchange, trailers);
        ready(Ok(TrailersReply::unchanged()))
    }

    /// The exchange has ended: called exactly once for each exchange that began, whatever ended it. Must not block.
    fn ended(&self, exchange: &Exchange<Self::State>, end: End) {
        let _ = (exchange, end);
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// Envoy needed no more of it, or a handler said that it is [`done`](HeadersReply::done). A reset while nothing was asked of
    /// the processor is this as well: Envoy ends most exchanges so.
    Completed,
    /// A handler answered the client.
    Responded,
    /// A handler failed, panicked or was too slow, or Envoy sent what the processor cannot work in.
    Failed,
    /// Envoy reset the call while a handler ran, or while a body was not through: the client left, or Envoy ran out of time.
    Cancelled,
    /// The server stopped while it ran.
    Stopped,
    /// The server stopped before anything was answered: Envoy may try another processor.
    HandedOver,
}

impl End {
    /// The word in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Responded => "responded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
            Self::HandedOver => "handed_over",
        }
    }

    /// All of them, in the order of [`index`](Self::index).
    #[cfg_attr(
        not(any(test, feature = "metrics")),
        allow(dead_code, reason = "metrics and tests read it")
    )]
    pub(crate) const ALL: [Self; 6] = [
        Self::Completed,
        Self::Responded,
        Self::Failed,
        Self::Cancelled,
        Self::Stopped,
        Self::HandedOver,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}
