//! Which phases a processor sees, in which order, for every kind of exchange that HTTP has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use extproc::{
    Body, BodyMode, BodyReply, End, Exchange, Headers, HeadersReply, Processor, Reply, TrailersReply,
};
use harness::{Process, binaries, eventually, free_port, grpc, set};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Content, Filter, Front, SOON, World, frames, serve, sha256};

/// Writes down the phases of each exchange, by its `x-test-id`, and adds something to each kind of trailers.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Recorder {
    fn note(&self, exchange: &Exchange<()>, phase: impl Into<String>) {
        let id = exchange
            .request_headers()
            .and_then(|headers| headers.text("x-test-id"));
        let id = id.unwrap_or("?").to_owned();
        self.0.lock().unwrap().entry(id).or_default().push(phase.into());
    }

    /// The phases of an exchange that has ended.
    async fn of(&self, id: &str) -> Vec<String> {
        let what = format!("{id} has ended");
        eventually(&what, SOON, || async {
            let phases = self.0.lock().unwrap().get(id).cloned()?;
            phases.last()?.starts_with("ended").then_some(phases)
        })
        .await
    }
}

fn end(headers: &Headers) -> &'static str {
    if headers.end_of_stream() { " end" } else { "" }
}

impl Processor for Recorder {
    type State = ();

    async fn request_headers(&self, exchange: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        self.note(exchange, format!("request headers{}", end(headers)));
        Ok(HeadersReply::unchanged())
    }

    async fn request_body(&self, exchange: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        let mut length = 0;
        while let Some(chunk) = body.inspect().await? {
            length += chunk.len();
        }
        self.note(exchange, format!("request body {length}"));
        Ok(BodyReply::unchanged())
    }

    async fn request_trailers(&self, exchange: &Exchange<()>, trailers: &Headers) -> Reply<TrailersReply> {
        self.note(
            exchange,
            format!("request trailers {}", trailers.text("x-trailer").unwrap_or("-")),
        );
        Ok(TrailersReply::unchanged()
            .set("x-more", "of the processor")
            .remove("x-less"))
    }

    async fn response_headers(&self, exchange: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        let status = exchange.status().unwrap_or_default();
        self.note(exchange, format!("response headers {status}{}", end(headers)));
        Ok(HeadersReply::unchanged())
    }

    async fn response_body(&self, exchange: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        let mut length = 0;
        while let Some(chunk) = body.inspect().await? {
            length += chunk.len();
        }
        self.note(exchange, format!("response body {length}"));
        Ok(BodyReply::unchanged())
    }

    async fn response_trailers(&self, exchange: &Exchange<()>, trailers: &Headers) -> Reply<TrailersReply> {
        let text = trailers
            .text("x-trailer")
            .or_else(|| trailers.text("grpc-status"));
        self.note(exchange, format!("response trailers {}", text.unwrap_or("-")));
        Ok(TrailersReply::unchanged().set("x-more", "of the processor"))
    }

    fn ended(&self, exchange: &Exchange<()>, end: End) {
        self.note(exchange, format!("ended {}", end.name()));
    }
}

const MODES: [BodyMode; 5] = [
    BodyMode::None,
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

/// A listener for each mode, all with trailers.
async fn start(recorder: &Recorder) -> (World, crate::world::Served) {
    let served = serve(recorder.clone(), |server| server).await;
    let fronts = MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode).trailers(true, true)));
    (World::start(fronts).await, served)
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

/// Six phases, in their order, with trailers both ways that the processor changes, over HTTP/2 and HTTP/1.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_phases_come_in_their_order() {
    let recorder = Recorder::default();
    let (world, _served) = start(&recorder).await;
    for (front, mode) in MODES.into_iter().enumerate() {
        for http2 in [false, true] {
            let id = format!("{mode:?} http2 {http2}");
            let client = if http2 {
                world.client(front).http2().await
            } else {
                world.client(front)
            };
            let content = Content::of(40_000, 1);
            let sent = trailers(&[("x-trailer", "of the client"), ("x-less", "1")]);
            let mut call = client
                .call(Method::POST, "/give?bytes=50000&trailers")
                .body(frames(content.clone(), 8 << 10, Some(sent)))
                .header("x-test-id", &id)
                .header("te", "trailers");
            if !http2 {
                call = call.header("trailer", "x-trailer, x-less");
            }
            let reply = call.send().await;
            assert_eq!(sha256(&reply.body), sha256(&Content::of(50_000, 77)), "{id}");
            let text = |map: &HeaderMap, name| map.get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(
                text(&reply.trailers, "x-trailer").as_deref(),
                Some("of the origin"),
                "{id}"
            );
            assert_eq!(
                text(&reply.trailers, "x-more").as_deref(),
                Some("of the processor"),
                "{id}"
            );
            let seen = world.origin.seen(&id).await;
            assert_eq!(seen.sha256, sha256(&content), "{id}");
            let got = seen.trailers.unwrap_or_else(|| panic!("{id}: no trailers"));
            assert_eq!(text(&got, "x-trailer").as_deref(), Some("of the client"), "{id}");
            assert_eq!(text(&got, "x-more").as_deref(), Some("of the processor"), "{id}");
            assert_eq!(text(&got, "x-less"), None, "{id}");
            let mut expected = vec![
                "request headers",
                "request body 40000",
                "request trailers of the client",
            ];
            expected.extend([
                "response headers 200",
                "response body 50000",
                "response trailers of the origin",
            ]);
            expected.push("ended completed");
            if mode == BodyMode::None {
                expected.retain(|phase| !phase.contains("body"));
            }
            assert_eq!(recorder.of(&id).await, expected, "{id}");
        }
    }
    world.clean().await;
}

/// Requests and responses without a body have no body phase, and their headers say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_body_has_no_body_phase() {
    let recorder = Recorder::default();
    let (world, _served) = start(&recorder).await;
    for (front, mode) in MODES.into_iter().enumerate() {
        for (method, path, status, has_end) in [
            (Method::GET, "/status?code=204", 204, true),
            (Method::GET, "/status?code=304", 304, true),
            (Method::HEAD, "/give?bytes=1000&declared", 200, true),
            (Method::GET, "/give?bytes=0&declared", 200, true),
            (Method::DELETE, "/give?bytes=10&declared", 200, false),
        ] {
            let id = format!("{mode:?} {method} {path}");
            let call = world
                .client(front)
                .call(method.clone(), path)
                .header("x-test-id", &id);
            let reply = call.send().await;
            assert_eq!(reply.status, status, "{id}");
            if method == Method::HEAD {
                assert!(reply.body.is_empty(), "{id}");
                // Envoy removes the length in the modes in which a processor may change it, also where no body comes.
                let keeps = matches!(mode, BodyMode::None | BodyMode::Buffered);
                let length = reply.header("content-length");
                assert_eq!(length, keeps.then_some("1000"), "{id}");
            }
            let mut expected = vec!["request headers end".to_owned()];
            expected.push(format!(
                "response headers {status}{}",
                if has_end { " end" } else { "" }
            ));
            if !has_end && mode != BodyMode::None {
                expected.push("response body 10".to_owned());
            }
            expected.push("ended completed".to_owned());
            assert_eq!(recorder.of(&id).await, expected, "{id}");
        }
    }
    world.clean().await;
}

/// gRPC: the status is in trailers, or in the headers of an answer that has nothing else; both are shown, and bidirectional calls live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_passes_in_every_mode_that_streams() {
    let recorder = Recorder::default();
    let served = serve(recorder.clone(), |server| server).await;
    let port = free_port();
    let dir = tempfile::tempdir().unwrap();
    let args = ["--grpc", &format!("127.0.0.1:{port}"), "--http", "127.0.0.1:0"].map(str::to_owned);
    let upstream = Process::start(
        "upstream",
        &binaries::upstream(),
        &args,
        &[],
        &dir.path().join("log"),
    );
    let modes = [BodyMode::None, BodyMode::Streamed, BodyMode::FullDuplex];
    let fronts = modes.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode).trailers(true, true)));
    let world = World::start_with(fronts, |bootstrap| {
        let port_value = "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
        set(bootstrap, port_value, json!(port));
    })
    .await;
    eventually("the upstream listens", SOON, || async {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    for (front, mode) in modes.into_iter().enumerate() {
        let http2 = world.client(front).http2().await;
        let id = format!("{mode:?} unary");
        let reply = grpc::raw_unary(&http2, "hello")
            .header("x-test-id", &id)
            .send()
            .await;
        assert_eq!(reply.grpc_status(), Some(0), "{id}: {reply:?}");
        assert_eq!(reply.trailers.get("x-more").unwrap(), "of the processor", "{id}");
        let phases = recorder.of(&id).await;
        assert!(
            phases.contains(&"response trailers 0".to_owned()),
            "{id}: {phases:?}"
        );
        // An answer of headers alone.
        let id = format!("{mode:?} unknown");
        let call = http2.post("/holdfast.echo.v1.Echo/Nothing", vec![0; 5]);
        let call = call
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let reply = call.header("x-test-id", &id).send().await;
        assert_eq!(reply.grpc_status(), Some(12), "{id}: {reply:?}");
        let phases = recorder.of(&id).await;
        assert!(
            phases.contains(&"response headers 200 end".to_owned()),
            "{id}: {phases:?}"
        );
        // Message by message: each answer comes before the next is sent.
        let mut echo = grpc::echo(world.port(front), "test.example.com");
        let (to, from) = tokio::sync::mpsc::channel(1);
        to.send(grpc::say("0")).await.unwrap();
        let requests = futures_util::stream::unfold(from, |mut from| async move {
            let next = from.recv().await?;
            Some((next, from))
        });
        let mut answers = echo.bidirectional(requests).await.unwrap().into_inner();
        for number in 0..20 {
            let answer = tokio::time::timeout(SOON, answers.message()).await;
            let answer = answer.unwrap_or_else(|_| panic!("{mode:?}: no answer to message {number}"));
            assert_eq!(answer.unwrap().unwrap().message, number.to_string(), "{mode:?}");
            to.send(grpc::say(&(number + 1).to_string())).await.unwrap();
        }
        drop(to);
        while answers.message().await.unwrap().is_some() {}
    }
    world.clean().await;
    drop(upstream);
}

async fn raw(port: u16, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Reads until what came contains `wanted`.
async fn read_until(stream: &mut TcpStream, wanted: &str, what: &str) -> String {
    let mut got = Vec::new();
    let reading = tokio::time::timeout(SOON, async {
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&got).contains(wanted) {
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(
                read > 0,
                "{what}: closed after {:?}",
                String::from_utf8_lossy(&got)
            );
            got.extend_from_slice(&buffer[..read]);
        }
    });
    assert!(reading.await.is_ok(), "{what}: no {wanted:?} within {SOON:?}");
    String::from_utf8_lossy(&got).into_owned()
}

/// `100 Continue` reaches the client before it sends its body, and is no phase.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_continue_is_no_phase() {
    let recorder = Recorder::default();
    let (world, _served) = start(&recorder).await;
    for (front, mode) in MODES.into_iter().enumerate() {
        let id = format!("{mode:?} continue");
        let head = format!(
            "POST /take HTTP/1.1\r\nhost: a\r\nx-test-id: {id}\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
        );
        let mut stream = raw(world.port(front), &head).await;
        read_until(&mut stream, "100 Continue", &id).await;
        stream.write_all(b"hello").await.unwrap();
        read_until(&mut stream, "taken", &id).await;
        let phases = recorder.of(&id).await;
        let headers = phases
            .iter()
            .filter(|phase| phase.starts_with("response headers"));
        assert_eq!(headers.collect::<Vec<_>>(), ["response headers 200"], "{id}");
    }
    world.clean().await;
}

/// An upgraded connection carries bytes both ways. Where Envoy would wait for the whole body it never begins: not BUFFERED.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_carries_bytes_both_ways() {
    let recorder = Recorder::default();
    let (world, _served) = start(&recorder).await;
    for (front, mode) in MODES.into_iter().enumerate() {
        if matches!(mode, BodyMode::Buffered | BodyMode::BufferedPartial) {
            continue;
        }
        let id = format!("{mode:?} upgrade");
        let head = format!(
            "GET /upgrade HTTP/1.1\r\nhost: a\r\nx-test-id: {id}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        );
        let mut stream = raw(world.port(front), &head).await;
        read_until(&mut stream, "101 Switching", &id).await;
        for word in ["one", "two", "three"] {
            stream.write_all(word.as_bytes()).await.unwrap();
            read_until(&mut stream, word, &id).await;
        }
        drop(stream);
        let phases = recorder.of(&id).await;
        assert_eq!(
            &phases[..2],
            ["request headers", "response headers 101"],
            "{id}: {phases:?}"
        );
    }
    world.clean().await;
}
