//! The gRPC service `envoy.service.ext_proc.v3.ExternalProcessor` of a processor, for a server or a router of one's own.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;
use prost::Message;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body as HttpBody, Service, StdError};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::body::BodyMemory;
use crate::driver::settings::{Phase, Settings};
use crate::driver::{self, Answers};
use crate::exchange::Call;
use crate::processor::Processor;
use crate::wire::{METHOD, ProcessingRequest, ProcessingResponse, SERVICE};

/// Bytes of the buffers of one call. Small: most exchanges are a few hundred bytes, and many thousand may be open at once.
const BUFFER: usize = 2 << 10;
/// Encoded bytes after which they are handed to the connection.
const YIELD_AT: usize = 32 << 10;

// What servers have by default.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;
pub(crate) const MAX_STREAMS: usize = 100_000;
pub(crate) const BODY_MEMORY: usize = 256 << 20;
pub(crate) const CHAIN_HEADER: &str = "x-ext-procs-applied";

/// What bounds the calls of a service.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// Calls that are open.
    pub(crate) open: AtomicUsize,
    /// How many may be.
    pub(crate) max_streams: usize,
    /// The largest message in bytes.
    pub(crate) max_message: usize,
}

/// The service of one processor. Cheap to clone.
#[derive(Debug)]
pub struct ExternalProcessor<P> {
    processor: Arc<P>,
    settings: Arc<Settings>,
    bounds: Arc<Bounds>,
}

impl<P> Clone for ExternalProcessor<P> {
    fn clone(&self) -> Self {
        Self {
            processor: self.processor.clone(),
            settings: self.settings.clone(),
            bounds: self.bounds.clone(),
        }
    }
}

impl<P: Processor> ExternalProcessor<P> {
    /// The service of this processor with everything as [`Server`](crate::Server) has it by default, for a router of one's own, also
    /// without the feature `server`. Its exchanges are never told to stop.
    pub fn of(processor: P) -> Self {
        // No server: the phase never changes.
        let (_, phase) = tokio::sync::watch::channel(Phase::Serve);
        let settings = Settings {
            stats: Arc::default(),
            memory: BodyMemory::new(BODY_MEMORY),
            phase,
            chain_header: Some(CHAIN_HEADER.to_owned()),
            duration_header: None,
            on_fail: None,
            keep_headers: true,
            eager_headers: false,
        };
        let bounds = Bounds {
            open: AtomicUsize::new(0),
            max_streams: MAX_STREAMS,
            max_message: MAX_MESSAGE,
        };
        Self::new(Arc::new(processor), Arc::new(settings), Arc::new(bounds))
    }

    pub(crate) fn new(processor: Arc<P>, settings: Arc<Settings>, bounds: Arc<Bounds>) -> Self {
        Self {
            processor,
            settings,
            bounds,
        }
    }
}

impl<P> NamedService for ExternalProcessor<P> {
    const NAME: &'static str = SERVICE;
}

impl<P, B> Service<http::Request<B>> for ExternalProcessor<P>
where
    P: Processor,
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != METHOD {
            return Box::pin(ready(Ok(Status::unimplemented(
                "the service has one method: Process",
            )
            .into_http())));
        }
        let service = self.clone();
        Box::pin(async move {
            let max = service.bounds.max_message;
            let mut grpc = Grpc::new(Wire).apply_max_message_size_config(Some(max), Some(usize::MAX));
            Ok(grpc.streaming(Process(service), request).await)
        })
    }
}

/// One call of the method.
struct Process<P>(ExternalProcessor<P>);

impl<P: Processor> StreamingService<ProcessingRequest> for Process<P> {
    type Response = ProcessingResponse;
    type ResponseStream = Counted;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Counted>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<ProcessingRequest>>) -> Self::Future {
        let ExternalProcessor {
            processor,
            settings,
            bounds,
        } = self.0.clone();
        Box::pin(async move {
            let Some(place) = Place::take(bounds) else {
                settings.stats.limit("max_streams");
                return Err(Status::resource_exhausted(
                    "the processor has as many calls open as it may have",
                ));
            };
            let peer = request.remote_addr();
            let (metadata, _, messages) = request.into_parts();
            let call = Call {
                peer,
                metadata: metadata.into_headers(),
                keep_headers: settings.keep_headers,
            };
            let answers = driver::process(processor, settings, call, messages).await?;
            Ok(Response::new(Counted {
                answers,
                _place: place,
            }))
        })
    }
}

/// One of the calls that may be open.
#[derive(Debug)]
struct Place(Arc<Bounds>);

impl Place {
    fn take(bounds: Arc<Bounds>) -> Option<Self> {
        let max = bounds.max_streams;
        let one_more = |open: usize| (open < max).then_some(open + 1);
        bounds
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Self(bounds))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answers of a call, which is counted as long as they come.
#[derive(Debug)]
struct Counted {
    answers: Answers,
    _place: Place,
}

impl Stream for Counted {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.answers).poll_next(cx)
    }
}

/// Messages as they are on the wire, with small buffers.
#[derive(Clone, Copy, Debug)]
struct Wire;

impl Codec for Wire {
    type Encode = ProcessingResponse;
    type Decode = ProcessingRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Wire {
    type Item = ProcessingResponse;
    type Error = Status;

    fn encode(&mut self, item: ProcessingResponse, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to)
            .map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_AT)
    }
}

impl Decoder for Wire {
    type Item = ProcessingRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ProcessingRequest>, Status> {
        let message: Result<ProcessingRequest, _> = ProcessingRequest::decode(from);
        message
            .map(Some)
            .map_err(|error| Status::invalid_argument(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_AT)
    }
}
