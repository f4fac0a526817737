//! The listener that Prometheus scrapes: GET of any path answers the metrics, over HTTP/1, on at most sixteen connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::server::ServeError;

/// Connections at once. Scrapers keep one each.
const CONNECTIONS: usize = 16;
/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// The registry of one server, and where it is scraped.
#[derive(Debug)]
pub(in crate::server) struct Scrapes {
    listener: TcpListener,
    registry: Arc<Registry>,
}

impl Scrapes {
    pub(in crate::server) async fn bind(address: SocketAddr, registry: Registry) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServeError::Listen {
                address: address.to_string(),
                source,
            })?;
        Ok(Self {
            listener,
            registry: Arc::new(registry),
        })
    }

    pub(in crate::server) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until it is dropped; its connections end with it.
    pub(in crate::server) async fn serve(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_one(stream, self.registry.clone()));
                    }
                    // Out of descriptors, say: it passes, and is no reason to spin.
                    Err(error) => {
                        tracing::warn!(%error, "a scrape of the metrics cannot be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve_one(stream: TcpStream, registry: Arc<Registry>) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(request.method(), &registry);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // A client that breaks off has its reasons.
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a scrape of the metrics ended early");
    }
}

fn answer(method: &Method, registry: &Registry) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    if !matches!(*method, Method::GET | Method::HEAD) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return response;
    }
    let mut text = String::new();
    if encode(&mut text, registry).is_err() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    }
    let kind = http::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    *response.body_mut() = Full::new(Bytes::from(text));
    response
}
