//! Serves a router on a listener: HTTP/1.1 and h2, with TLS or without, to a bounded number of connections, each of
//! which must be of use; then a bounded farewell.

mod attend;
mod places;
mod pulse;
pub mod tls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::http::refusals::Refusals;
use crate::metrics::Metrics;
pub use places::Bounds;
use places::Places;
pub use pulse::Patience;
use tls::Tls;

/// How long answers under way may take once `stop` is cancelled, and an idle connection's farewell.
const FAREWELL: Duration = Duration::from_secs(3);
/// Between two lines on connections that cannot be taken.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);
/// Connections that were told to go and have not gone yet, at most.
const LEAVING: usize = 64;

/// The address of the connection on which a request came. An extension of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Marks the answer to a call that was let through: the connection that it came by is no stranger's.
#[derive(Clone, Copy, Debug)]
pub(super) struct LetThrough;

/// What a listener bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many.
    pub bounds: Bounds,
    /// How long.
    pub patience: Patience,
}

impl Limits {
    /// For `proxies` proxies, each of which has two or three connections, and with `files` open files at most.
    pub fn of_calls(proxies: usize, files: usize) -> Self {
        Self {
            bounds: Bounds {
                known: proxies.saturating_mul(4).max(4096).min(files / 2),
                strangers: 512.min(files / 8).max(1),
                strangers_of_one: 64.min(files / 16).max(1),
            },
            patience: Patience {
                stranger: Duration::from_secs(10),
                known: Duration::from_secs(300),
            },
        }
    }

    /// For probes and metrics, where every caller is a stranger.
    pub fn of_probes() -> Self {
        Self {
            bounds: Bounds {
                known: 0,
                strangers: 64,
                strangers_of_one: 16,
            },
            ..Self::of_calls(0, 0)
        }
    }
}

/// Serves one listener.
#[derive(Clone, Debug)]
pub struct Server {
    /// What answers.
    pub router: Router,
    /// What it bears.
    pub limits: Limits,
    /// Without: plain text.
    pub tls: Option<Tls>,
    /// What is counted.
    pub metrics: Metrics,
    /// Callers that were turned away.
    pub refusals: Refusals,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Server {
    /// Serves until `stop` is cancelled, then lets what is under way end, for three seconds at most.
    pub async fn serve(self, listener: TcpListener) {
        let places = Places::new(self.limits.bounds, self.metrics.clone());
        let Bounds { known, strangers, .. } = self.limits.bounds;
        let sockets = Arc::new(Semaphore::new(known + strangers + LEAVING));
        let connections = TaskTracker::new();
        let mut warned: Option<Instant> = None;
        loop {
            // Never closed. Connections that were told to end leave room in time.
            let socket = tokio::select! {
                () = self.stop.cancelled() => break,
                socket = Arc::clone(&sockets).acquire_owned() => socket,
            };
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let place = places.enter(from.ip());
                    let connection = self.attend(stream, from.ip(), place);
                    connections.spawn(async move {
                        if let Err(e) = connection.await {
                            debug!(peer = %from, "a connection ended early: {e}");
                        }
                        drop(socket);
                    });
                }
                Err(e) => {
                    // Out of file descriptors, most likely: trying again at once would spin.
                    if warned.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
                        warn!(event = "not_accepted", "a connection cannot be taken: {e}");
                        warned = Some(Instant::now());
                    }
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
}
