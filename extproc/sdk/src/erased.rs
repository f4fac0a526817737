//! Processors of any type behind one pointer: to choose them by name at run time, and to chain them.

use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use crate::body::Body;
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::needs::Needs;
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::stop::Reply;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Reply<T>> + Send + 'a>>;

/// The state of an exchange, of whatever type the processor has. It is made when a handler first needs it.
#[derive(Debug, Default)]
pub struct AnyState(Option<Arc<dyn Any + Send + Sync>>);

/// A [`Processor`] of any type. `Arc<dyn ErasedProcessor>` is a processor again.
#[allow(missing_docs, reason = "the methods are those of Processor")]
pub trait ErasedProcessor: Send + Sync + 'static {
    fn erased_name(&self) -> Cow<'_, str>;
    fn erased_needs(&self) -> Needs;
    fn erased_request_headers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        headers: &'a Headers,
    ) -> Boxed<'a, HeadersReply>;
    fn erased_request_body<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        body: Body,
    ) -> Boxed<'a, BodyReply>;
    fn erased_request_trailers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        trailers: &'a Headers,
    ) -> Boxed<'a, TrailersReply>;
    fn erased_response_headers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        headers: &'a Headers,
    ) -> Boxed<'a, HeadersReply>;
    fn erased_response_body<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        body: Body,
    ) -> Boxed<'a, BodyReply>;
    fn erased_response_trailers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        trailers: &'a Headers,
    ) -> Boxed<'a, TrailersReply>;
    fn erased_ended(&self, exchange: &Exchange<AnyState>, end: End);
}

/// The exchange as the processor of this state sees it.
fn typed<S: Default + Send + 'static>(exchange: &Exchange<AnyState>) -> Exchange<S> {
    let mut any = exchange.state();
    let state = any
        .0
        .get_or_insert_with(|| Arc::new(Mutex::new(S::default())))
        .clone();
    drop(any);
    // An exchange has a state for each processor, so the type is always the same.
    let state = state.downcast::<Mutex<S>>().unwrap_or_default();
    exchange.with_state(state)
}

impl<P: Processor> ErasedProcessor for P {
    fn erased_name(&self) -> Cow<'_, str> {
        self.name()
    }

    fn erased_needs(&self) -> Needs {
        self.needs()
    }

    fn erased_request_headers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        headers: &'a Headers,
    ) -> Boxed<'a, HeadersReply> {
        Box::pin(async move { self.request_headers(&typed(exchange), headers).await })
    }

    fn erased_request_body<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        body: Body,
    ) -> Boxed<'a, BodyReply> {
        Box::pin(async move { self.request_body(&typed(exchange), body).await })
    }

    fn erased_request_trailers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        trailers: &'a Headers,
    ) -> Boxed<'a, TrailersReply> {
        Box::pin(async move { self.request_trailers(&typed(exchange), trailers).await })
    }

    fn erased_response_headers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        headers: &'a Headers,
    ) -> Boxed<'a, HeadersReply> {
        Box::pin(async move { self.response_headers(&typed(exchange), headers).await })
    }

    fn erased_response_body<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        body: Body,
    ) -> Boxed<'a, BodyReply> {
        Box::pin(async move { self.response_body(&typed(exchange), body).await })
    }

    fn erased_response_trailers<'a>(
        &'a self,
        exchange: &'a Exchange<AnyState>,
        trailers: &'a Headers,
    ) -> Boxed<'a, TrailersReply> {
        Box::pin(async move { self.response_trailers(&typed(exchange), trailers).await })
    }

    fn erased_ended(&self, exchange: &Exchange<AnyState>, end: End) {
        self.ended(&typed(exchange), end);
    }
}

/// A processor whose type was erased.
#[derive(Clone)]
pub struct Erased(Arc<dyn ErasedProcessor>);

impl Erased {
    /// Erases the type of `processor`.
    pub fn new(processor: impl Processor) -> Self {
        Self(Arc::new(processor))
    }

    /// One whose type is erased already.
    #[must_use]
    pub fn from_arc(processor: Arc<dyn ErasedProcessor>) -> Self {
        Self(processor)
    }
}

impl Processor for Erased {
    type State = AnyState;

    fn name(&self) -> Cow<'_, str> {
        self.0.erased_name()
    }

    fn needs(&self) -> Needs {
        self.0.erased_needs()
    }

    async fn request_headers(&self, exchange: &Exchange<AnyState>, headers: &Headers) -> Reply<HeadersReply> {
        self.0.erased_request_headers(exchange, headers).await
    }

    async fn request_body(&self, exchange: &Exchange<AnyState>, body: Body) -> Reply<BodyReply> {
        self.0.erased_request_body(exchange, body).await
    }

    async fn request_trailers(
        &self,
        exchange: &Exchange<AnyState>,
        trailers: &Headers,
    ) -> Reply<TrailersReply> {
        self.0.erased_request_trailers(exchange, trailers).await
    }

    async fn response_headers(
        &self,
        exchange: &Exchange<AnyState>,
        headers: &Headers,
    ) -> Reply<HeadersReply> {
        self.0.erased_response_headers(exchange, headers).await
    }

    async fn response_body(&self, exchange: &Exchange<AnyState>, body: Body) -> Reply<BodyReply> {
        self.0.erased_response_body(exchange, body).await
    }

    async fn response_trailers(
        &self,
        exchange: &Exchange<AnyState>,
        trailers: &Headers,
    ) -> Reply<TrailersReply> {
        self.0.erased_response_trailers(exchange, trailers).await
    }

    fn ended(&self, exchange: &Exchange<AnyState>, end: End) {
        self.0.erased_ended(exchange, end);
    }
}
