//! An HTTP client that shows everything: one call is one stream on one connection that the test knows.
//!
//! Nothing is retried, pooled or followed. A call that is dropped leaves: over HTTP/1 its connection is closed, over
//! HTTP/2 its stream is reset. A server may answer before it has read a whole body: that answer counts, whatever becomes of the
//! connection afterwards.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use crate::connection::Connection;

type AnyBody = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// Sends requests for one `:authority` to one address, mostly a port of 127.0.0.1.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    authority: String,
    /// Absent: HTTP/1.1, a new connection for each call.
    h2: Option<http2::SendRequest<AnyBody>>,
}

impl Client {
    /// HTTP/1.1, a new connection for each call.
    pub fn new(port: u16, authority: impl Into<String>) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], port)), authority)
    }

    /// The same for another address, such as a pod's.
    pub fn at(address: SocketAddr, authority: impl Into<String>) -> Self {
        Self {
            address,
            authority: authority.into(),
            h2: None,
        }
    }

    /// A client whose calls, and those of its clones, are the streams of one new HTTP/2 connection.
    pub async fn http2(&self) -> Self {
        let stream = Connection::to(self.address).await.unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        // Ends when the last clone of the sender and the last stream are gone.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self {
            h2: Some(sender),
            ..self.clone()
        }
    }

    /// The same connection (or way to connect) for another `:authority`.
    pub fn authority(&self, authority: impl Into<String>) -> Self {
        Self {
            authority: authority.into(),
            ..self.clone()
        }
    }

    /// A GET of `path`.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A POST of `body`, with its length.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Call {
        self.call(Method::POST, path).body(Full::new(body.into()))
    }

    /// A PUT of `body`, with its length.
    pub fn put(&self, path: &str, body: impl Into<Bytes>) -> Call {
        self.call(Method::PUT, path).body(Full::new(body.into()))
    }

    /// A request without a body yet.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let body = Full::new(Bytes::new()).boxed_unsync();
        Call {
            client: self.clone(),
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body,
        }
    }
}

/// A request that has not been sent.
pub struct Call {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: AnyBody,
}

impl Call {
    /// Adds a header. `value` may be any bytes that HTTP allows, 0x80 to 0xFF included.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers
            .append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    /// Sends `body`; its length is declared if it knows it.
    #[must_use]
    pub fn body<B>(mut self, body: B) -> Self
    where
        B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
    {
        self.body = body.boxed_unsync();
        self
    }

    /// The whole answer. Panics if there is none.
    pub async fn send(self) -> Reply {
        let what = format!("{} {}{}", self.method, self.client.authority, self.path);
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:#}"))
    }

    /// The whole answer, or why there is none.
    pub async fn try_send(self) -> anyhow::Result<Reply> {
        self.open().await?.finish().await
    }

    /// Sends in a task of its own and returns at once.
    pub fn spawn(self) -> Pending {
        Pending(tokio::spawn(self.try_send()))
    }

    /// The head of the answer; the body follows as it comes.
    pub async fn open(self) -> anyhow::Result<Answer> {
        let Self {
            client,
            method,
            path,
            headers,
            body,
        } = self;
        let start = Instant::now();
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let (response, connection) = if let Some(mut h2) = client.h2 {
            *request.uri_mut() = format!("http://{}{path}", client.authority).parse()?;
            h2.ready().await.context("connection")?;
            (h2.send_request(request).await?, None)
        } else {
            *request.uri_mut() = path.parse()?;
            request
                .headers_mut()
                .entry(http::header::HOST)
                .or_insert(HeaderValue::from_str(&client.authority)?);
            let stream = Connection::to(client.address).await.context("connect")?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let connection = CloseOnDrop(tokio::spawn(async move {
                let _ = connection.await;
            }));
            (sender.send_request(request).await?, Some(connection))
        };
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            start,
            _connection: connection,
        })
    }
}

struct CloseOnDrop(JoinHandle<()>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A call under way.
pub struct Pending(JoinHandle<anyhow::Result<Reply>>);

impl Pending {
    /// True once there is an answer, or there will be none.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for the answer. Panics if there is none.
    pub async fn reply(self) -> Reply {
        self.try_reply()
            .await
            .unwrap_or_else(|error| panic!("a pending call: {error:#}"))
    }

    /// Waits for the answer, or for why there is none.
    pub async fn try_reply(self) -> anyhow::Result<Reply> {
        self.0.await?
    }

    /// The client goes away without an answer.
    pub async fn leave(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

/// An answer whose body is still coming. Dropping it leaves.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    body: Incoming,
    start: Instant,
    _connection: Option<CloseOnDrop>,
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub async fn chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads to the end.
    pub async fn finish(self) -> anyhow::Result<Reply> {
        let collected = self.body.collect().await.context("body")?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let body = collected.to_bytes();
        Ok(Reply {
            status: self.status,
            headers: self.headers,
            trailers,
            body,
            took: self.start.elapsed(),
        })
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: HeaderMap,
    /// Trailer fields, empty if there were none.
    pub trailers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From the connect to the last byte.
    pub took: Duration,
}

impl Reply {
    /// One header as text; `None` if it is absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a header that is text"))
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body that is text")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body as `application/problem+json`. Panics if it says to be something else.
    pub fn problem(&self) -> protocol::Problem {
        assert_eq!(
            self.header("content-type"),
            Some(protocol::Problem::CONTENT_TYPE),
            "{self:?}"
        );
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// How long the filter says it held the request, from `server-timing: hold;dur=<ms>`.
    pub fn held(&self) -> Option<Duration> {
        let dur = self
            .header("server-timing")?
            .split(',')
            .find_map(|entry| entry.trim().strip_prefix("hold;dur="))?;
        Some(Duration::from_secs_f64(
            dur.parse::<f64>().expect("server-timing in ms") / 1000.0,
        ))
    }

    /// The gRPC status code, from the trailers or from a trailers-only answer.
    pub fn grpc_status(&self) -> Option<i32> {
        let status = self
            .trailers
            .get("grpc-status")
            .or_else(|| self.headers.get("grpc-status"))?;
        Some(status.to_str().unwrap().parse().unwrap())
    }
}
