//! A server that listens: how it serves, and how it stops.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tonic::transport::Server as Transport;

use super::control::terminated;
use super::listen::{Listener, Sockets};
use super::{ServeError, Server};
use crate::driver::settings::Phase;
use crate::processor::Processor;

/// How long the transport may take to send what is left, when every exchange was told to end.
const FLUSH: Duration = Duration::from_secs(1);

/// A server that listens.
pub struct Bound<P> {
    server: Server<P>,
    transport: Transport,
    listeners: Vec<Listener>,
    #[cfg(feature = "metrics")]
    scrapes: Option<super::metrics::Scrapes>,
}

impl<P: Processor> Bound<P> {
    pub(super) async fn new(server: Server<P>, listeners: Vec<Listener>) -> Result<Self, ServeError> {
        #[cfg(feature = "metrics")]
        let scrapes = match server.metrics {
            Some(address) => {
                let mut registry = prometheus_client::registry::Registry::default();
                server.counts().register(&mut registry);
                Some(super::metrics::Scrapes::bind(address, registry).await?)
            }
            None => None,
        };
        Ok(Self {
            transport: transport(&server)?,
            server,
            listeners,
            #[cfg(feature = "metrics")]
            scrapes,
        })
    }

    /// The address that metrics are scraped at.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.scrapes.as_ref().and_then(super::metrics::Scrapes::address)
    }

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
            mut transport,
            listeners,
            #[cfg(feature = "metrics")]
            scrapes,
        } = self;
        let (phase, receiver) = watch::channel(Phase::Serve);
        let service = server.service(receiver);
        let (stop, stopping) = watch::channel(false);
        let routes = match server.layer.take() {
            Some(wrap) => transport.add_service(wrap(service)),
            None => transport.add_service(service),
        };
        #[cfg(feature = "health")]
        let health = server.health.take();
        #[cfg(feature = "health")]
        let routes = routes.add_optional_service(health.as_ref().map(super::Health::service));
        #[cfg(feature = "reflection")]
        let routes = if server.reflection {
            let (new, old) = super::reflection::services()?;
            routes.add_service(new).add_service(old)
        } else {
            routes
        };
        let sockets = Sockets::new(listeners);
        let mut stopped = stopping.clone();
        let serving = routes.serve_with_incoming_shutdown(sockets, async move {
            // The sender lives as long as this future is polled.
            let _ = stopped.wait_for(|stop| *stop).await;
        });
        let signal = server.shutdown.take();
        let (grace, hand_over) = (server.grace, server.hand_over);
        #[cfg(feature = "health")]
        let at_stop = health.clone();
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
            #[cfg(feature = "health")]
            if let Some(health) = &at_stop {
                health.stops();
            }
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
            // The transport sends what is left. What is not ours, such as reflection, may stay open for ever.
            tokio::time::sleep(FLUSH).await;
            Ok(())
        };
        #[cfg(feature = "metrics")]
        let scraping = async {
            match scrapes {
                Some(scrapes) => scrapes.serve().await,
                None => std::future::pending().await,
            }
        };
        #[cfg(not(feature = "metrics"))]
        let scraping = std::future::pending::<()>();
        #[cfg(feature = "health")]
        if let Some(health) = &health {
            health.listens(true);
        }
        let result = tokio::select! {
            served = serving => served.map_err(ServeError::from),
            stopped = stopping => stopped,
            () = scraping => Ok(()),
        };
        #[cfg(feature = "health")]
        if let Some(health) = &health {
            health.listens(false);
        }
        result
    }
}

/// The transport as the server wants it.
fn transport<P>(server: &Server<P>) -> Result<Transport, ServeError> {
    let http2 = server.http2;
    let transport = Transport::builder()
        .initial_stream_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_concurrent_streams(http2.max_streams_per_connection)
        .http2_keepalive_interval(Some(http2.keepalive_interval))
        .http2_keepalive_timeout(Some(http2.keepalive_timeout))
        .max_frame_size(http2.max_frame)
        // Envoy resets almost every call at its end: that is no attack.
        .http2_max_pending_accept_reset_streams(Some(server.max_streams))
        .http2_max_local_error_reset_streams(Some(server.max_streams))
        .tcp_nodelay(true);
    #[cfg(feature = "tls")]
    if let Some(tls) = &server.tls {
        return transport
            .tls_config(tls.load()?)
            .map_err(|error| tls.refused(&error));
    }
    Ok(transport)
}
