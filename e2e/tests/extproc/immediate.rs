//! Answers of the processor itself, in each phase: whole while Envoy can still give them, and a reset that the client notices after.

use bytes::Bytes;
use extproc::{
    Body, BodyMode, BodyReply, End, Exchange, Headers, HeadersReply, Immediate, Processor, Reply,
    TrailersReply,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::json;
use tonic::Code;

use crate::world::{Content, Ends, Filter, Front, SOON, World, frames, serve};

const MODES: [BodyMode; 4] = [
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

/// Denies in the phase that `x-deny` names.
#[derive(Clone, Default)]
struct Denies(Ends);

fn denied(exchange: &Exchange<()>, phase: &str) -> Reply<()> {
    let asked = exchange
        .request_headers()
        .and_then(|headers| headers.text("x-deny"));
    if asked != Some(phase) {
        return Ok(());
    }
    let answer = Immediate::new(403)
        .header("x-denied", phase)
        .append_header("set-cookie", "a=1")
        .append_header("set-cookie", "b=2")
        .details("denied by test")
        .json(&json!({"denied": phase}))?;
    Err(answer.into())
}

impl Denies {
    async fn body(exchange: &Exchange<()>, phase: &str, mut body: Body) -> Reply<BodyReply> {
        body.inspect().await?;
        denied(exchange, phase)?;
        Ok(BodyReply::unchanged())
    }
}

impl Processor for Denies {
    type State = ();

    async fn request_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        denied(exchange, "request headers")?;
        Ok(HeadersReply::unchanged())
    }

    async fn request_body(&self, exchange: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        Self::body(exchange, "request body", body).await
    }

    async fn request_trailers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<TrailersReply> {
        denied(exchange, "request trailers")?;
        Ok(TrailersReply::unchanged())
    }

    async fn response_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        denied(exchange, "response headers")?;
        Ok(HeadersReply::unchanged())
    }

    async fn response_body(&self, exchange: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        Self::body(exchange, "response body", body).await
    }

    async fn response_trailers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<TrailersReply> {
        denied(exchange, "response trailers")?;
        Ok(TrailersReply::unchanged())
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        self.0.add(end);
    }
}

/// In each phase, mode and protocol: 403 with its headers and body, or, where the client has the response's headers, a cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_each_phase() {
    let denies = Denies::default();
    let served = serve(denies.clone(), |server| server).await;
    let fronts = MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode).trailers(true, true)));
    let world = World::start(fronts).await;
    let phases = [
        "request headers",
        "request body",
        "request trailers",
        "response headers",
        "response body",
        "response trailers",
    ];
    let mut count = 0;
    for (front, mode) in MODES.into_iter().enumerate() {
        for phase in phases {
            for http2 in [false, true] {
                let id = format!("{mode:?} {phase} {http2}");
                let client = if http2 {
                    world.client(front).http2().await
                } else {
                    world.client(front)
                };
                let trailers = HeaderMap::from_iter([(
                    HeaderName::from_static("x-trailer"),
                    HeaderValue::from_static("1"),
                )]);
                let call = client
                    .call(Method::POST, "/give?bytes=50000&trailers")
                    .body(frames(Content::of(50_000, 1), 10_000, Some(trailers)))
                    .header("trailer", "x-trailer")
                    .header("te", "trailers")
                    .header("x-test-id", &id)
                    .header("x-deny", phase);
                let answer = tokio::time::timeout(SOON, call.open()).await;
                let answer = answer.unwrap_or_else(|_| panic!("{id}: hung"));
                count += 1;
                // What was sent on before, Envoy cannot take back: the client sees a cut, not an end.
                let sent_on = match phase {
                    "response body" => matches!(mode, BodyMode::Streamed | BodyMode::FullDuplex),
                    "response trailers" => mode != BodyMode::Buffered,
                    _ => false,
                };
                let reply = match answer {
                    Ok(answer) => answer.finish().await,
                    Err(error) => Err(error),
                };
                match reply {
                    Err(error) => assert!(sent_on, "{id}: {error:#}"),
                    Ok(reply) if reply.status == 403 => {
                        assert_eq!(reply.header("x-denied"), Some(phase), "{id}");
                        assert_eq!(reply.json(), json!({"denied": phase}), "{id}");
                        assert_eq!(reply.header("content-type"), Some("application/json"), "{id}");
                        assert_eq!(reply.header("x-ext-procs-applied"), Some("Denies"), "{id}");
                        let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
                        assert_eq!(cookies, ["a=1", "b=2"], "{id}");
                    }
                    Ok(reply) => panic!("{id}: status {} and {} bytes", reply.status, reply.body.len()),
                }
                if phase == "request headers" {
                    assert!(!world.origin.has_arrived(&id), "{id}");
                }
                if phase.starts_with("request") && world.origin.has_arrived(&id) {
                    let seen = world.origin.seen(&id).await;
                    assert!(!seen.whole, "{id}: the upstream took it for a whole request");
                }
            }
        }
    }
    let sent = world.counter(0, "immediate_responses_sent").await;
    assert_eq!(sent, 2 * phases.len() as u64, "every one was taken");
    world.clean().await;
    denies.0.are(&[(End::Responded, count)]).await;
}

/// gRPC clients get a status, browsers a redirect, HEAD no body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_each_kind() {
    let processor =
        extproc::processor::<()>("kinds").on_request_headers(async |exchange: Exchange<()>, _: Headers| {
            Err(match exchange.path() {
                Some("/moved") => Immediate::redirect(308, "https://elsewhere.example.com/").into(),
                Some("/plain") => Immediate::new(429)
                    .body("slowly")
                    .header("retry-after", "1")
                    .into(),
                Some("/odd") => Immediate::new(999).into(),
                _ => Immediate::grpc(Code::PermissionDenied, "not you").into(),
            })
        });
    let served = serve(processor, |server| server).await;
    let world = World::start([Front::new(Filter::new(&served))]).await;
    let http2 = world.client(0).http2().await;
    let reply = harness::grpc::raw_unary(&http2, "hello").send().await;
    assert_eq!((reply.status, reply.grpc_status()), (200, Some(7)), "{reply:?}");
    let message = reply
        .trailers
        .get("grpc-message")
        .or(reply.headers.get("grpc-message"));
    assert_eq!(message.unwrap(), "not you");
    for client in [http2, world.client(0)] {
        let reply = client.get("/moved").send().await;
        assert_eq!(
            (reply.status, reply.header("location")),
            (308, Some("https://elsewhere.example.com/"))
        );
        let reply = client.get("/plain").send().await;
        assert_eq!(
            (reply.status, reply.text(), reply.header("retry-after")),
            (429, "slowly", Some("1"))
        );
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        let reply = client.call(Method::HEAD, "/plain").send().await;
        assert_eq!((reply.status, &reply.body), (429, &Bytes::new()));
        assert_eq!(client.get("/odd").send().await.status, 500);
    }
    assert_eq!(world.counter(0, "immediate_responses_sent").await, 9);
    world.clean().await;
}

/// An answer to headers whose body is still coming: the rest of the upload does not disturb it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_does_not_wait_for_the_upload() {
    let denies = Denies::default();
    let served = serve(denies.clone(), |server| server).await;
    let world = World::start(MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    for front in 0..MODES.len() {
        let client = world.client(front).http2().await;
        let never = futures_util::stream::once(async { Ok(hyper::body::Frame::data(Bytes::from("some"))) });
        let never = futures_util::StreamExt::chain(never, futures_util::stream::pending());
        let call = client
            .call(Method::POST, "/take")
            .body(http_body_util::StreamBody::new(never));
        let reply = tokio::time::timeout(SOON, call.header("x-deny", "request headers").send()).await;
        assert_eq!(reply.expect("answered at once").status, 403);
    }
    world.clean().await;
}

/// A body that is replaced with the headers' answer: the handler of bodies does not run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_may_be_replaced_with_the_headers() {
    let processor = extproc::processor::<()>("replaces")
        .on_request_headers(async |_: Exchange<()>, _: Headers| {
            Ok(HeadersReply::unchanged().replace_body("another request"))
        })
        .on_response_headers(async |_: Exchange<()>, _: Headers| {
            Ok(HeadersReply::unchanged().replace_body("another answer"))
        })
        .on_request_body(async |_: Exchange<()>, _: Body| Ok(BodyReply::replace("the handler's")))
        .on_response_body(async |_: Exchange<()>, _: Body| Ok(BodyReply::replace("the handler's")));
    let served = serve(processor, |server| server).await;
    let modes = [
        BodyMode::None,
        BodyMode::Buffered,
        BodyMode::BufferedPartial,
        BodyMode::Streamed,
    ];
    let world = World::start(modes.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    for (front, mode) in modes.into_iter().enumerate() {
        for declared in [true, false] {
            let id = format!("{mode:?} {declared}");
            let path = if declared {
                "/give?bytes=500&declared"
            } else {
                "/give?bytes=500"
            };
            let call = if declared {
                world.client(front).post(path, Content::of(300, 1))
            } else {
                let call = world.client(front).call(Method::POST, path);
                call.body(frames(Content::of(300, 1), 100, None))
            };
            let reply = tokio::time::timeout(SOON, call.header("x-test-id", &id).send()).await;
            let reply = reply.unwrap_or_else(|_| panic!("{id}: hung"));
            assert_eq!(reply.text(), "another answer", "{id}");
            let seen = world.origin.seen(&id).await;
            assert_eq!(seen.start, b"another request", "{id}");
            assert!(seen.whole, "{id}");
        }
    }
    world.clean().await;
}
