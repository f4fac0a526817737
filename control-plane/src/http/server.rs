//! Serves a router on a listener: HTTP/1.1 and h2c on one port, a bounded number of connections, a bounded farewell.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::standby::LastAnswer;
use crate::metrics::Metrics;

/// Most connections at once; beyond it the listener waits. Each proxy needs two or three.
pub const MAX_CONNECTIONS: usize = 4096;
/// A client that takes longer for its request's headers is cut off. It counts while a kept-alive connection is unused,
/// too, so it is longer than a proxy leaves one alone: closing it under a report would lose the report.
const HEADER_PATIENCE: Duration = Duration::from_secs(300);
/// Between two questions whether the other end of an h2 connection is still there.
const PING: Duration = Duration::from_secs(20);
/// Streams of one h2 connection.
const MAX_STREAMS: u32 = 256;
/// How long answers under way may take once `stop` is cancelled.
const FAREWELL: Duration = Duration::from_secs(3);

/// Serves until `stop` is cancelled, then lets what is under way end, for three seconds at most.
pub async fn serve(listener: TcpListener, router: Router, metrics: Metrics, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = place(&places, &metrics) => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = attend(stream, router.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(e) = connection.await {
                        debug!("a connection ended early: {e}");
                    }
                    drop(place);
                });
            }
            Err(e) => {
                // Out of file descriptors, most likely: trying again at once would spin.
                warn!("a connection cannot be taken: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(FAREWELL, connections.wait()).await.is_err() {
        warn!("some connections did not end in time");
    }
}

async fn place(connections: &Arc<Semaphore>, metrics: &Metrics) -> Option<tokio::sync::OwnedSemaphorePermit> {
    if let Ok(place) = Arc::clone(connections).try_acquire_owned() {
        return Some(place);
    }
    metrics.bound_hit("connections");
    // Never closed, so there is always a place in the end.
    Arc::clone(connections).acquire_owned().await.ok()
}

/// Serves one connection until it ends. After `stop`, and after an answer that is to be its last, what is under way is
/// still answered and nothing more is taken: HTTP/1 closes, h2 says GOAWAY.
async fn attend(
    stream: TcpStream,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // An answer to a poll is one small packet that a request waits for. It works without, only slower.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(PING);
    let last = stop.child_token();
    let answered = {
        let (router, last) = (TowerToHyperService::new(router), last.clone());
        service_fn(move |request: Request<Incoming>| {
            let (answer, last) = (router.call(request), last.clone());
            async move {
                let response = answer.await?;
                if response.extensions().get::<LastAnswer>().is_some() {
                    last.cancel();
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    let connection = builder.serve_connection(TokioIo::new(stream), answered);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = last.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}
