//! Serves a router on a listener: HTTP/1 and HTTP/2 with prior knowledge (h2c) on one port, until told to close.
//!
//! The number of connections is bounded by the process's file limit only: what a proxy opens is the proxy's to bound.

use std::time::Duration;

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select, time,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Pause after a failed `accept` (most often: no file descriptor left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until `closing`, then ends connections as their protocol wants it: HTTP/2 gets a GOAWAY, HTTP/1 closes after
/// the answer under way. Returns when all are gone, which only the caller bounds. Upgraded connections are not waited for.
pub(crate) async fn serve(listener: TcpListener, router: Router, closing: CancellationToken) {
    let connections = GracefulShutdown::new();
    let service = TowerToHyperService::new(router);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Never closes an idle connection by itself: the close would race with a proxy that reuses it.
    builder.http1().header_read_timeout(None);
    builder.http2().enable_connect_protocol();
    while let Some(stream) = accept(&listener, &closing).await {
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service.clone());
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(failure) = connection.await {
                debug!("connection ended: {failure}");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// The next connection, or `None` once closing.
async fn accept(listener: &TcpListener, closing: &CancellationToken) -> Option<TcpStream> {
    loop {
        let accepted = select! {
            biased;
            () = closing.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(failure) = stream.set_nodelay(true) {
                    debug!("cannot set TCP_NODELAY: {failure}");
                }
                return Some(stream);
            }
            Err(failure) => {
                warn!("cannot accept a connection: {failure}");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
