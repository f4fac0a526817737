//! The upstream, in the test process: it does what the path says, and remembers what reached it to the last byte.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use harness::eventually;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{Content, SOON, frames};

/// The header by which a test finds its request again.
pub(crate) const ID: &str = "x-test-id";

type Out = UnsyncBoxBody<Bytes, Infallible>;

/// A request as it reached the upstream.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) length: u64,
    pub(crate) sha256: String,
    /// The body, as far as it is short (up to 64 KiB).
    pub(crate) start: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// The body ended as HTTP says. False: the connection or stream was cut.
    pub(crate) whole: bool,
}

/// The upstream. It ends with the test's runtime.
pub(crate) struct Origin {
    port: u16,
    journal: Arc<Journal>,
}

#[derive(Default)]
struct Journal {
    /// Heads of requests that have come.
    arrived: Mutex<Vec<String>>,
    /// Requests whose body has ended, one way or the other.
    seen: Mutex<Vec<Seen>>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let journal = Arc::new(Journal::default());
        let shared = journal.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let journal = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let journal = journal.clone();
                        async move { Ok::<_, Infallible>(answer(request, journal).await) }
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http2().max_concurrent_streams(10_000);
                    let _ = server
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { port, journal }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What reached it under this id, when its body has ended. Panics if that takes too long, or if there were two.
    pub(crate) async fn seen(&self, id: &str) -> Seen {
        let what = format!("the upstream has seen the whole of {id}");
        let found = eventually(&what, SOON, || async {
            let found = self.all(id);
            (!found.is_empty()).then_some(found)
        })
        .await;
        assert_eq!(found.len(), 1, "{id} reached the upstream once: {found:?}");
        found.into_iter().next().unwrap()
    }

    /// All that reached it under this id and has ended.
    pub(crate) fn all(&self, id: &str) -> Vec<Seen> {
        let seen = self.journal.seen.lock().unwrap();
        let has_id = |seen: &&Seen| seen.headers.get(ID).is_some_and(|found| found == id);
        seen.iter().filter(has_id).cloned().collect()
    }

    /// Whether the head of such a request has come.
    pub(crate) fn has_arrived(&self, id: &str) -> bool {
        self.journal
            .arrived
            .lock()
            .unwrap()
            .iter()
            .any(|found| found == id)
    }
}

/// The query's value under this name.
fn query<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = request.split_once('?')?;
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(key, value)| (key == name).then_some(value))
}

async fn answer(mut request: Request<Incoming>, journal: Arc<Journal>) -> Response<Out> {
    let path = request
        .uri()
        .path_and_query()
        .map_or(String::new(), |path| path.as_str().to_owned());
    let id = request.headers().get(ID).and_then(|id| id.to_str().ok());
    let id = id.unwrap_or_default().to_owned();
    journal.arrived.lock().unwrap().push(id);
    let number = |name| query(&path, name).and_then(|value| value.parse::<u64>().ok());
    let rate = number("rate");
    match path.split('?').next().unwrap_or_default() {
        // Answers at once, and reads meanwhile.
        "/early" => {
            tokio::spawn(async move {
                read(request, &journal, rate, None).await;
            });
            text(200, "early\n")
        }
        // Sends back what comes, as it comes, `times` times, with its trailers.
        "/mirror" => {
            let times = number("times").unwrap_or(1);
            let (to, body) = channel();
            tokio::spawn(async move {
                read(request, &journal, rate, Some((to, times))).await;
            });
            Response::new(body)
        }
        // Answers with a body of its own when it has read the request.
        "/give" => {
            let is_head = request.method() == http::Method::HEAD;
            read(request, &journal, rate, None).await;
            let bytes = usize::try_from(number("bytes").unwrap_or(0)).unwrap();
            let content = Content::of(bytes, 77);
            if is_head {
                // Over HTTP/2 hyper would send the body.
                let mut response = Response::new(Empty::new().boxed_unsync());
                response
                    .headers_mut()
                    .insert("content-length", HeaderValue::from(bytes));
                return response;
            }
            if query(&path, "declared").is_some() {
                return Response::new(Full::new(content).boxed_unsync());
            }
            let trailers = query(&path, "trailers").map(|_| {
                HeaderMap::from_iter([(
                    http::HeaderName::from_static("x-trailer"),
                    HeaderValue::from_static("of the origin"),
                )])
            });
            let mut response = Response::new(frames(content, 16 << 10, trailers).boxed_unsync());
            if query(&path, "trailers").is_some() {
                response
                    .headers_mut()
                    .insert("trailer", HeaderValue::from_static("x-trailer"));
            }
            response
        }
        "/status" => {
            read(request, &journal, rate, None).await;
            let code = u16::try_from(number("code").unwrap_or(200)).unwrap();
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            response
        }
        // An upgrade whose bytes come back.
        "/upgrade" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
            let mut response = Response::new(Empty::new().boxed_unsync());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            for (name, value) in [("connection", "upgrade"), ("upgrade", "websocket")] {
                response
                    .headers_mut()
                    .insert(name, HeaderValue::from_static(value));
            }
            response
        }
        // Headers that are odd but allowed.
        "/odd" => {
            read(request, &journal, rate, None).await;
            let mut response = text(200, "odd\n");
            let headers = response.headers_mut();
            headers.append("x-raw", HeaderValue::from_bytes(b"\x80\xc3\xbc\xff").unwrap());
            headers.append("x-many", HeaderValue::from_static("one"));
            headers.append("x-many", HeaderValue::from_static("two"));
            headers.append("x-gone", HeaderValue::from_static("soon"));
            headers.append("set-cookie", HeaderValue::from_static("a=1"));
            headers.append("set-cookie", HeaderValue::from_static("b=2"));
            response
        }
        _ => {
            read(request, &journal, rate, None).await;
            text(200, "taken\n")
        }
    }
}

fn text(status: u16, text: &'static str) -> Response<Out> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

type To = mpsc::Sender<Frame<Bytes>>;

fn channel() -> (To, Out) {
    let (to, from) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(from, |mut from| async move {
        let frame: Frame<Bytes> = from.recv().await?;
        Some((Ok(frame), from))
    });
    (to, StreamBody::new(frames).boxed_unsync())
}

/// Reads the body to its end, at `rate` bytes a second, mirrors it, and writes down what it was.
async fn read(request: Request<Incoming>, journal: &Journal, rate: Option<u64>, mirror: Option<(To, u64)>) {
    let (head, mut body) = request.into_parts();
    let began = tokio::time::Instant::now();
    let mut hash = Sha256::new();
    let mut seen = Seen {
        method: head.method.to_string(),
        path: head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers: head.headers,
        length: 0,
        sha256: String::new(),
        start: Vec::new(),
        trailers: None,
        whole: true,
    };
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            seen.whole = false;
            break;
        };
        if let Some(data) = frame.data_ref() {
            seen.length += data.len() as u64;
            hash.update(data);
            let room = (64_usize << 10).saturating_sub(seen.start.len());
            seen.start.extend(data.iter().take(room));
            if let Some(rate) = rate {
                let due = Duration::from_millis(seen.length * 1000 / rate);
                tokio::time::sleep_until(began + due).await;
            }
        }
        if let Some(trailers) = frame.trailers_ref() {
            seen.trailers = Some(trailers.clone());
        }
        if let Some((to, times)) = &mirror {
            match frame.into_data() {
                // Empty frames in a row are a flood to Envoy: it would close the connection.
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    for _ in 0..*times {
                        let _ = to.send(Frame::data(data.clone())).await;
                    }
                }
                Err(trailers) => {
                    let _ = to.send(trailers).await;
                }
            }
        }
    }
    seen.sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    journal.seen.lock().unwrap().push(seen);
}
