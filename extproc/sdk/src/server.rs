//! A server of one processor: its listeners, its limits, and how it stops.

mod bound;
mod control;
#[cfg(feature = "health")]
mod health;
mod layer;
mod listen;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "reflection")]
mod reflection;
#[cfg(feature = "tls")]
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::watch;
use tonic::codegen::{Body as HttpBody, Service, StdError};

use crate::body::BodyMemory;
use crate::driver::settings::{Phase, Settings};
use crate::driver::stats::Stats;
use crate::erased::Erased;
use crate::immediate::Immediate;
use crate::processor::Processor;
use crate::service::{BODY_MEMORY, Bounds, CHAIN_HEADER, ExternalProcessor, MAX_MESSAGE, MAX_STREAMS};
pub use bound::Bound;
#[cfg(feature = "health")]
pub use health::Health;
pub use listen::{Listen, uds};
#[cfg(feature = "tls")]
pub use tls::Tls;

/// The HTTP/2 side of a server. Envoy opens one call for each HTTP stream that it has processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// How many bytes of one call's messages may be under way: what bounds a body whose handler is slow. 64 KiB.
    pub stream_window: u32,
    /// The same for all calls of a connection. As large as HTTP/2 allows, so that bodies that are not read never hold up the
    /// messages of other calls. 2 GiB - 1.
    pub connection_window: u32,
    /// Calls on one connection. Envoy opens another connection beyond. 1,000.
    pub max_streams_per_connection: u32,
    /// How often a silent connection is asked whether it is alive. 10 s.
    pub keepalive_interval: Duration,
    /// How long it has to answer. 5 s.
    pub keepalive_timeout: Duration,
    /// The largest frame in bytes. 16 KiB.
    pub max_frame: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            stream_window: 64 << 10,
            connection_window: (1 << 31) - 1,
            max_streams_per_connection: 1000,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            max_frame: 16 << 10,
        }
    }
}

/// Why a server cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As it was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file of [`Tls`](crate::Tls) cannot be used.
    #[error("cannot use {}: {reason}", file.display())]
    Tls {
        /// The file.
        file: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The descriptors of the service cannot be served.
    #[error("cannot serve reflection: {0}")]
    Reflection(String),
    /// The signals that stop a server cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    /// The transport failed.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

type Signal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server of one processor. `Server::new(processor).serve().await` listens on `[::]:50051` until SIGTERM or SIGINT.
pub struct Server<P> {
    processor: Arc<P>,
    listen: Vec<Listen>,
    max_message: usize,
    max_streams: usize,
    memory: Arc<BodyMemory>,
    http2: Http2,
    chain_header: Option<String>,
    duration_header: Option<String>,
    on_fail: Option<Immediate>,
    keep_headers: bool,
    eager_headers: bool,
    hand_over: bool,
    grace: Duration,
    shutdown: Option<Signal>,
    stats: Arc<Stats>,
    layer: Option<layer::Wrap<P>>,
    #[cfg(feature = "health")]
    health: Option<Health>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(feature = "reflection")]
    reflection: bool,
    #[cfg(feature = "metrics")]
    metrics: Option<SocketAddr>,
}

impl Server<Erased> {
    /// A server of a processor whose type was erased.
    #[must_use]
    pub fn erased(processor: Arc<dyn crate::erased::ErasedProcessor>) -> Self {
        Self::new(Erased::from_arc(processor))
    }
}

impl<P: Processor> Server<P> {
    /// A server of this processor.
    #[must_use]
    pub fn new(processor: P) -> Self {
        Self {
            processor: Arc::new(processor),
            listen: Vec::new(),
            max_message: MAX_MESSAGE,
            max_streams: MAX_STREAMS,
            memory: BodyMemory::new(BODY_MEMORY),
            http2: Http2::default(),
            chain_header: Some(CHAIN_HEADER.to_owned()),
            duration_header: None,
            on_fail: None,
            keep_headers: true,
            eager_headers: false,
            hand_over: false,
            grace: Duration::from_secs(5),
            shutdown: None,
            stats: Arc::default(),
            layer: None,
            #[cfg(feature = "health")]
            health: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "reflection")]
            reflection: false,
            #[cfg(feature = "metrics")]
            metrics: None,
        }
    }

    /// Listens there; may be said several times. Without it: `[::]:50051`.
    #[must_use]
    pub fn listen(mut self, on: impl Into<Listen>) -> Self {
        self.listen.push(on.into());
        self
    }

    /// The largest message in bytes. Has to be larger than Envoy's buffer limit (1 MiB by default), or bodies in BUFFERED fail.
    /// 16 MiB.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Calls that may be open at once; more are refused with RESOURCE_EXHAUSTED. 100,000.
    #[must_use]
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// Bytes that collected and written bodies of all exchanges may take together; clients get 503 beyond. 256 MiB.
    #[must_use]
    pub fn body_memory(self, bytes: usize) -> Self {
        self.memory.set_limit(bytes);
        self
    }

    /// The HTTP/2 side.
    #[must_use]
    pub fn http2(mut self, http2: Http2) -> Self {
        self.http2 = http2;
        self
    }

    /// The response header that names the processors which a response went through, in the order of the request:
    /// `x-ext-procs-applied`. None leaves it out.
    #[must_use]
    pub fn chain_header(mut self, name: Option<&str>) -> Self {
        self.chain_header = name.map(str::to_ascii_lowercase);
        self
    }

    /// A response header with the nanoseconds that the handlers of headers took, such as `x-extproc-duration-ns`. None by default.
    #[must_use]
    pub fn duration_header(mut self, name: Option<&str>) -> Self {
        self.duration_header = name.map(str::to_ascii_lowercase);
        self
    }

    /// What clients get where a handler failed, as long as the response has not begun. Without it: what Envoy is configured for.
    #[must_use]
    pub fn on_fail(mut self, answer: Immediate) -> Self {
        self.on_fail = Some(answer);
        self
    }

    /// Whether to keep all headers of an exchange to its end. With false, only those remain that [`Exchange`](crate::Exchange)
    /// has accessors for: for processors with many long exchanges.
    #[must_use]
    pub fn keep_headers(mut self, keep: bool) -> Self {
        self.keep_headers = keep;
        self
    }

    /// Answers each call at once instead of together with the first answer of a phase. Envoy then cannot replay an exchange whose
    /// processor died before it answered.
    #[must_use]
    pub fn eager_headers(mut self) -> Self {
        self.eager_headers = true;
        self
    }

    /// Whether, when the server stops, exchanges without any answer are ended at once, so that an Envoy with a retry policy replays
    /// them elsewhere. Handlers must bear to run twice. False.
    #[must_use]
    pub fn hand_over(mut self, hand_over: bool) -> Self {
        self.hand_over = hand_over;
        self
    }

    /// How long open exchanges may go on when the server stops; then they end with UNAVAILABLE. 5 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Stops the server when `signal` ends, in the place of SIGTERM and SIGINT.
    #[must_use]
    pub fn shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }

    /// A tower layer around the service: for authorization of calls, limits, logs. Several are one by `tower::ServiceBuilder`; of
    /// two calls of this the second counts. Health and reflection are outside of it.
    #[must_use]
    pub fn layer<L, B>(mut self, layer: L) -> Self
    where
        L: tower::Layer<ExternalProcessor<P>> + Send + 'static,
        L::Service: Service<http::Request<tonic::body::Body>, Response = http::Response<B>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as Service<http::Request<tonic::body::Body>>>::Future: Send + 'static,
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<StdError>,
    {
        self.layer = Some(layer::wrap(layer));
        self
    }

    /// gRPC health, Check and Watch, on the same listeners. Keep a clone to set it from code.
    #[cfg(feature = "health")]
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    /// TLS on all listeners. Envoy's cluster needs a `transport_socket` then.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// gRPC reflection (`v1` and `v1alpha`), for tools such as grpcurl. False.
    #[cfg(feature = "reflection")]
    #[must_use]
    pub fn reflection(mut self, reflection: bool) -> Self {
        self.reflection = reflection;
        self
    }

    /// An HTTP listener for Prometheus at this address: a GET of any path answers the metrics as OpenMetrics text.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, address: SocketAddr) -> Self {
        self.metrics = Some(address);
        self
    }

    /// Registers the metrics in a registry of one's own, under the names that they have at [`metrics`](Self::metrics).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn registry(self, registry: &mut prometheus_client::registry::Registry) -> Self {
        self.counts().register(registry);
        self
    }

    #[cfg(feature = "metrics")]
    fn counts(&self) -> metrics::Counts {
        metrics::Counts {
            processor: self.processor.name().into_owned(),
            stats: self.stats.clone(),
            memory: self.memory.clone(),
        }
    }

    /// The service alone, for a server of one's own. Its exchanges are never told to stop.
    #[must_use]
    pub fn into_service(self) -> ExternalProcessor<P> {
        let (phase, receiver) = watch::channel(Phase::Serve);
        // A service without a server: the phase never changes.
        drop(phase);
        self.service(receiver)
    }

    fn service(&self, phase: watch::Receiver<Phase>) -> ExternalProcessor<P> {
        let settings = Settings {
            stats: self.stats.clone(),
            memory: self.memory.clone(),
            phase,
            chain_header: self.chain_header.clone(),
            duration_header: self.duration_header.clone(),
            on_fail: self.on_fail.clone(),
            keep_headers: self.keep_headers,
            eager_headers: self.eager_headers,
        };
        let bounds = Bounds {
            open: AtomicUsize::new(0),
            max_streams: self.max_streams,
            max_message: self.max_message,
        };
        ExternalProcessor::new(self.processor.clone(), Arc::new(settings), Arc::new(bounds))
    }

    /// Listens, without serving yet: for the addresses, where a port was 0.
    ///
    /// # Errors
    /// When an address cannot be listened on, or a file of TLS cannot be used.
    pub async fn bind(mut self) -> Result<Bound<P>, ServeError> {
        if self.listen.is_empty() {
            self.listen.push(Listen::from(SocketAddr::from((
                std::net::Ipv6Addr::UNSPECIFIED,
                50051,
            ))));
        }
        let mut listeners = Vec::new();
        for on in std::mem::take(&mut self.listen) {
            listeners.push(on.bind().await?);
        }
        Bound::new(self, listeners).await
    }

    /// Serves until it is told to stop, and until open exchanges have ended or the grace is over.
    ///
    /// # Errors
    /// As [`bind`](Self::bind), and when the transport fails.
    pub async fn serve(self) -> Result<(), ServeError> {
        self.bind().await?.serve().await
    }
}
