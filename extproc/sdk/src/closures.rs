//! A processor put together from closures.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use crate::body::Body;
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::needs::Needs;
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::stop::Reply;

type Boxed<T> = Pin<Box<dyn Future<Output = Reply<T>> + Send>>;
type Handler<S, I, O> = Box<dyn Fn(Exchange<S>, I) -> Boxed<O> + Send + Sync>;

/// A processor of this name whose handlers are closures. `S` is the state of one exchange.
///
/// ```
/// use extproc::{Exchange, Headers, HeadersReply};
///
/// let processor = extproc::processor::<()>("hello").on_request_headers(
///     async |_: Exchange<()>, _: Headers| Ok(HeadersReply::unchanged().set("x-hello", "world")),
/// );
/// # let _ = processor;
/// ```
pub fn processor<S>(name: impl Into<String>) -> Closures<S> {
    Closures {
        name: name.into(),
        needs: Needs::default(),
        request_headers: None,
        request_body: None,
        request_trailers: None,
        response_headers: None,
        response_body: None,
        response_trailers: None,
        ended: None,
    }
}

/// See [`processor`].
pub struct Closures<S> {
    name: String,
    needs: Needs,
    request_headers: Option<Handler<S, Headers, HeadersReply>>,
    request_body: Option<Handler<S, Body, BodyReply>>,
    request_trailers: Option<Handler<S, Headers, TrailersReply>>,
    response_headers: Option<Handler<S, Headers, HeadersReply>>,
    response_body: Option<Handler<S, Body, BodyReply>>,
    response_trailers: Option<Handler<S, Headers, TrailersReply>>,
    #[allow(clippy::type_complexity, reason = "the one handler that is not async")]
    ended: Option<Box<dyn Fn(&Exchange<S>, End) + Send + Sync>>,
}

macro_rules! on {
    ($(#[$doc:meta])* $name:ident, $field:ident, $input:ty, $output:ty) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name<F, R>(mut self, handler: F) -> Self
        where
            F: Fn(Exchange<S>, $input) -> R + Send + Sync + 'static,
            R: Future<Output = Reply<$output>> + Send + 'static,
        {
            self.$field = Some(Box::new(move |exchange, input| Box::pin(handler(exchange, input))));
            self
        }
    };
}

impl<S: Default + Send + 'static> Closures<S> {
    /// The modes that it works in, its bounds and its deadlines.
    #[must_use]
    pub fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    on!(
        /// See [`Processor::request_headers`].
        on_request_headers, request_headers, Headers, HeadersReply
    );
    on!(
        /// See [`Processor::request_body`].
        on_request_body, request_body, Body, BodyReply
    );
    on!(
        /// See [`Processor::request_trailers`].
        on_request_trailers, request_trailers, Headers, TrailersReply
    );
    on!(
        /// See [`Processor::response_headers`].
        on_response_headers, response_headers, Headers, HeadersReply
    );
    on!(
        /// See [`Processor::response_body`].
        on_response_body, response_body, Body, BodyReply
    );
    on!(
        /// See [`Processor::response_trailers`].
        on_response_trailers, response_trailers, Headers, TrailersReply
    );

    /// See [`Processor::ended`].
    #[must_use]
    pub fn on_ended(mut self, handler: impl Fn(&Exchange<S>, End) + Send + Sync + 'static) -> Self {
        self.ended = Some(Box::new(handler));
        self
    }
}

impl<S: Default + Send + 'static> Processor for Closures<S> {
    type State = S;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn needs(&self) -> Needs {
        self.needs.clone()
    }

    async fn request_headers(&self, exchange: &Exchange<S>, headers: &Headers) -> Reply<HeadersReply> {
        match &self.request_headers {
            Some(handler) => handler(exchange.clone(), headers.clone()).await,
            None => Ok(HeadersReply::unchanged()),
        }
    }

    async fn request_body(&self, exchange: &Exchange<S>, body: Body) -> Reply<BodyReply> {
        match &self.request_body {
            Some(handler) => handler(exchange.clone(), body).await,
            None => Ok(BodyReply::unchanged()),
        }
    }

    async fn request_trailers(&self, exchange: &Exchange<S>, trailers: &Headers) -> Reply<TrailersReply> {
        match &self.request_trailers {
            Some(handler) => handler(exchange.clone(), trailers.clone()).await,
            None => Ok(TrailersReply::unchanged()),
        }
    }

    async fn response_headers(&self, exchange: &Exchange<S>, headers: &Headers) -> Reply<HeadersReply> {
        match &self.response_headers {
            Some(handler) => handler(exchange.clone(), headers.clone()).await,
            None => Ok(HeadersReply::unchanged()),
        }
    }

    async fn response_body(&self, exchange: &Exchange<S>, body: Body) -> Reply<BodyReply> {
        match &self.response_body {
            Some(handler) => handler(exchange.clone(), body).await,
            None => Ok(BodyReply::unchanged()),
        }
    }

    async fn response_trailers(&self, exchange: &Exchange<S>, trailers: &Headers) -> Reply<TrailersReply> {
        match &self.response_trailers {
            Some(handler) => handler(exchange.clone(), trailers.clone()).await,
            None => Ok(TrailersReply::unchanged()),
        }
    }

    fn ended(&self, exchange: &Exchange<S>, end: End) {
        if let Some(handler) = &self.ended {
            handler(exchange, end);
        }
    }
}
