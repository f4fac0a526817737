//! A server of one processor: its listeners, its limits, and how it stops.

mod control;
mod listen;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::watch;
use tonic::transport::Server as Transport;

use crate::body::BodyMemory;
use crate::driver::settings::{Phase, Settings};
use crate::driver::stats::Stats;
use crate::erased::Erased;
use crate::immediate::Immediate;
use crate::processor::Processor;
use crate::service::{Bounds, ExternalProcessor};
use control::terminated;
pub use listen::{Listen, uds};
use listen::{Listener, Sockets};

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
    body_memory: usize,
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
            max_message: 16 << 20,
            max_streams: 100_000,
            body_memory: 256 << 20,
            http2: Http2::default(),
            chain_header: Some("x-ext-procs-applied".to_owned()),
            duration_header: None,
            on_fail: None,
            keep_headers: true,
            eager_headers: false,
            hand_over: false,
            grace: Duration::from_secs(5),
            shutdown: None,
            stats: Arc::default(),
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
    pub fn body_memory(mut self, bytes: usize) -> Self {
        self.body_memory = bytes;
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
            memory: BodyMemory::new(self.body_memory),
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
    /// When an address cannot be listened on.
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
        Ok(Bound {
            server: self,
            listeners,
        })
    }

    /// Serves until it is told to stop, and until open exchanges have ended or the grace is over.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the transport fails.
    pub async fn serve(self) -> Result<(), ServeError> {
        self.bind().await?.serve().await
    }
}

/// A server that listens.
pub struct Bound<P> {
    server: Server<P>,
    listeners: Vec<Listener>,
}

impl<P: Processor> Bound<P> {
    /// The TCP addresses that it listens on.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(Listener::address).collect()
    }

    /// See [`Server::serve`].
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn serve(self) -> Result<(), ServeError> {
        let Self {
            mut server,
            listeners,
        } = self;
        let (phase, receiver) = watch::channel(Phase::Serve);
        let service = server.service(receiver);
        let (stop, stopping) = watch::channel(false);
        let http2 = server.http2;
        let max_streams = server.max_streams;
        let mut transport = Transport::builder()
            .initial_stream_window_size(http2.stream_window)
            .initial_connection_window_size(http2.connection_window)
            .max_concurrent_streams(http2.max_streams_per_connection)
            .http2_keepalive_interval(Some(http2.keepalive_interval))
            .http2_keepalive_timeout(Some(http2.keepalive_timeout))
            .max_frame_size(http2.max_frame)
            // Envoy resets almost every call at its end: that is no attack.
            .http2_max_pending_accept_reset_streams(Some(max_streams))
            .http2_max_local_error_reset_streams(Some(max_streams))
            .tcp_nodelay(true);
        let routes = transport.add_service(service);
        let sockets = Sockets::new(listeners);
        let mut stopped = stopping.clone();
        let serving = routes.serve_with_incoming_shutdown(sockets, async move {
            // The sender lives as long as this future is polled.
            let _ = stopped.wait_for(|stop| *stop).await;
        });
        let signal = server.shutdown.take();
        let (grace, hand_over) = (server.grace, server.hand_over);
        let stopping = async move {
            // Where the embedding program says when to stop, signals are its business.
            let mut signals = match &signal {
                Some(_) => None,
                None => Some(terminated().map_err(ServeError::Signals)?),
            };
            match (signal, &mut signals) {
                (Some(signal), _) => signal.await,
                (None, Some(signals)) => signals.next().await,
                (None, None) => {}
            }
            let second = async move {
                match &mut signals {
                    Some(signals) => signals.next().await,
                    None => std::future::pending().await,
                }
            };
            tracing::info!("stopping: open exchanges have {grace:?} to end");
            if hand_over {
                phase.send_replace(Phase::HandOver);
            }
            stop.send_replace(true);
            tokio::select! {
                () = tokio::time::sleep(grace) => tracing::warn!("the grace is over: open exchanges are ended"),
                () = second => tracing::warn!("a second signal: open exchanges are ended"),
            }
            phase.send_replace(Phase::Cut);
            // Until the transport has sent what is left.
            std::future::pending::<Result<(), ServeError>>().await
        };
        tokio::select! {
            served = serving => Ok(served?),
            failed = stopping => failed,
        }
    }
}
