//! Modes that are asked for on the way: a body in mode NONE is switched to each of the others, in both directions.

use bytes::Bytes;
use extproc::{
    Body, BodyMode, BodyReply, Closures, Exchange, Headers, HeadersReply, ModeOverride, Needs, Reply,
};
use serde_json::json;

use crate::world::{Content, Filter, Front, World, frames, serve, sha256};

const MODES: [BodyMode; 4] = [
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

/// Reads all of it and writes each byte twice.
async fn doubled(body: Body) -> Reply<BodyReply> {
    let (mut input, mut output) = body.split();
    while let Some(chunk) = input.next().await? {
        let twice: Bytes = chunk.iter().flat_map(|byte| [*byte, *byte]).collect();
        output.send(twice).await?;
    }
    Ok(BodyReply::written())
}

fn twice(content: &[u8]) -> Vec<u8> {
    content.iter().flat_map(|byte| [*byte, *byte]).collect()
}

/// The mode that the request's header of this name asks for.
fn asked(headers: &Headers, name: &str) -> Option<BodyMode> {
    let word = headers.text(name)?;
    let all = MODES.into_iter().chain([BodyMode::None]);
    all.into_iter().find(|mode| mode.name() == word)
}

/// Doubles bodies, in the modes that `x-request-mode` and `x-response-mode` ask for with the request's headers, and
/// `x-late-mode` with the response's.
fn doubler() -> Closures<()> {
    extproc::processor::<()>("doubler")
        .on_request_headers(async |_: Exchange<()>, headers: Headers| {
            Ok(HeadersReply::unchanged().mode(ModeOverride {
                request_body: asked(&headers, "x-request-mode"),
                response_body: asked(&headers, "x-response-mode"),
                ..ModeOverride::default()
            }))
        })
        .on_request_body(|_, body| doubled(body))
        .on_response_headers(async |exchange: Exchange<()>, _: Headers| {
            let late = exchange.request_headers();
            Ok(HeadersReply::unchanged().mode(ModeOverride {
                response_body: late.and_then(|headers| asked(headers, "x-late-mode")),
                ..ModeOverride::default()
            }))
        })
        .on_response_body(|_, body| doubled(body))
}

struct Sent {
    upstream: (u64, String),
    client: (usize, String),
}

async fn send(world: &World, front: usize, http2: bool, modes: &[(&str, BodyMode)], declared: bool) -> Sent {
    let id = format!("{front} {http2} {modes:?} {declared}");
    let client = if http2 {
        world.client(front).http2().await
    } else {
        world.client(front)
    };
    let content = Content::of(200_000, 1);
    let call = if declared {
        client.post("/give?bytes=150000&declared", content)
    } else {
        let call = client.call(http::Method::POST, "/give?bytes=150000");
        call.body(frames(content, 10_000, None))
    };
    let call = modes
        .iter()
        .fold(call.header("x-test-id", &id), |call, (name, mode)| {
            call.header(name, mode.name())
        });
    let reply = tokio::time::timeout(crate::world::SOON, call.try_send()).await;
    let reply = reply.unwrap_or_else(|_| panic!("{id}: hung"));
    let reply = reply.unwrap_or_else(|error| panic!("{id}: {error:#}"));
    assert_eq!(reply.status, 200, "{id}: {reply:?}");
    let seen = world.origin.seen(&id).await;
    assert!(seen.whole, "{id}");
    Sent {
        upstream: (seen.length, seen.sha256),
        client: (reply.body.len(), sha256(&reply.body)),
    }
}

fn request(is_doubled: bool) -> (u64, String) {
    let content = Content::of(200_000, 1);
    let body = if is_doubled {
        twice(&content)
    } else {
        content.to_vec()
    };
    (body.len() as u64, sha256(&body))
}

fn response(is_doubled: bool) -> (usize, String) {
    let content = Content::of(150_000, 77);
    let body = if is_doubled {
        twice(&content)
    } else {
        content.to_vec()
    };
    (body.len(), sha256(&body))
}

/// From NONE to each mode: the whole body is processed, also where its length was declared and has changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_is_asked_for_gets_the_whole_body() {
    let served = serve(doubler(), |server| server).await;
    let world = World::start([Front::new(Filter::new(&served).set("allow_mode_override", true))]).await;
    for http2 in [false, true] {
        for declared in [false, true] {
            for mode in MODES {
                let what = format!("{mode:?}, http2 {http2}, declared {declared}");
                let sent = send(&world, 0, http2, &[("x-request-mode", mode)], declared).await;
                assert_eq!(sent.upstream, request(true), "{what}: request");
                assert_eq!(
                    sent.client,
                    response(false),
                    "{what}: the response is not asked for"
                );
                for name in ["x-response-mode", "x-late-mode"] {
                    let sent = send(&world, 0, http2, &[(name, mode)], declared).await;
                    assert_eq!(sent.upstream, request(false), "{what}, {name}");
                    assert_eq!(sent.client, response(true), "{what}, {name}");
                }
                let both = [("x-request-mode", mode), ("x-response-mode", mode)];
                let sent = send(&world, 0, http2, &both, declared).await;
                assert_eq!(
                    (sent.upstream, sent.client),
                    (request(true), response(true)),
                    "{what}: both"
                );
            }
        }
    }
    world.clean().await;
}

/// From BUFFERED to each other mode, and from NONE where the response's headers are not even shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_may_be_asked_for_from_any_other() {
    let served = serve(doubler(), |server| server).await;
    let buffered = Filter::new(&served).bodies(BodyMode::Buffered, BodyMode::Buffered);
    let unseen = Filter::new(&served).set("processing_mode/response_header_mode", "SKIP");
    let fronts = [buffered, unseen].map(|filter| Front::new(filter.set("allow_mode_override", true)));
    let world = World::start(fronts).await;
    for http2 in [false, true] {
        for declared in [false, true] {
            for mode in MODES {
                let what = format!("{mode:?}, http2 {http2}, declared {declared}");
                let both = [("x-request-mode", mode), ("x-response-mode", mode)];
                for front in 0..2 {
                    let sent = send(&world, front, http2, &both, declared).await;
                    assert_eq!(sent.upstream, request(true), "{what}, listener {front}");
                    assert_eq!(sent.client, response(true), "{what}, listener {front}");
                }
            }
        }
    }
    world.clean().await;
}

/// From each mode (but FULL_DUPLEX_STREAMED, where Envoy takes no override) to NONE: it passes unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_wanted_passes_unseen() {
    let served = serve(doubler(), |server| server).await;
    let fronts = MODES.map(|mode| {
        let filter = Filter::new(&served).bodies(mode, mode);
        Front::new(filter.set("allow_mode_override", true))
    });
    let world = World::start(fronts).await;
    for (front, mode) in MODES.into_iter().enumerate() {
        let none = [
            ("x-request-mode", BodyMode::None),
            ("x-response-mode", BodyMode::None),
        ];
        let sent = send(&world, front, false, &none, true).await;
        let is_doubled = mode == BodyMode::FullDuplex;
        assert_eq!(sent.upstream, request(is_doubled), "{mode:?}");
        assert_eq!(sent.client, response(is_doubled), "{mode:?}");
    }
    world.clean().await;
}

/// What a processor says that it needs is asked for with its first answer, where the filter's mode is NONE.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_needed_is_asked_for() {
    let ask = ModeOverride {
        request_body: Some(BodyMode::Streamed),
        response_body: Some(BodyMode::FullDuplex),
        ..ModeOverride::default()
    };
    let needs = Needs {
        ask: Some(ask),
        ..Needs::default()
    };
    let served = serve(doubler().needs(needs), |server| server).await;
    let overridden = |filter: Filter| filter.set("allow_mode_override", true);
    let none = overridden(Filter::new(&served));
    let buffered = overridden(Filter::new(&served).bodies(BodyMode::Buffered, BodyMode::None));
    let world = World::start([Front::new(none), Front::new(buffered)]).await;
    for front in 0..2 {
        let sent = send(&world, front, false, &[], true).await;
        assert_eq!(
            (sent.upstream, sent.client),
            (request(true), response(true)),
            "listener {front}"
        );
    }
    world.clean().await;
}

/// A mode that the processor does not work in is refused in words, not met with a guess.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_does_not_fit_is_refused() {
    let needs = Needs {
        request: extproc::Accepts::Only(&[BodyMode::Buffered]),
        ..Needs::default()
    };
    let served = serve(doubler().needs(needs), |server| server).await;
    let fronts = [BodyMode::Streamed, BodyMode::Buffered, BodyMode::None]
        .map(|mode| Front::new(Filter::new(&served).bodies(mode, BodyMode::None)));
    let world = World::start(fronts).await;
    let status = async |front| world.client(front).post("/take", "some").send().await.status;
    assert_eq!(
        (status(0).await, status(1).await, status(2).await),
        (500, 200, 200)
    );
    world.ended(&[("streams_failed", 1)]).await;
}

/// The filter's configuration for one route: other modes, or none at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_may_have_modes_of_its_own() {
    let served = serve(doubler(), |server| server).await;
    let modes = json!({"overrides": {"processing_mode": {
        "request_header_mode": "SEND", "response_header_mode": "SEND",
        "request_body_mode": "FULL_DUPLEX_STREAMED", "response_body_mode": "STREAMED",
        "request_trailer_mode": "SEND", "response_trailer_mode": "SKIP",
    }}});
    let front = Front::new(Filter::new(&served)).route("/give", 0, &modes).route(
        "/take",
        0,
        &json!({"disabled": true}),
    );
    let world = World::start([front]).await;
    let sent = send(&world, 0, false, &[], true).await;
    assert_eq!((sent.upstream, sent.client), (request(true), response(true)));
    let before = world.counter(0, "streams_started").await;
    let reply = world
        .client(0)
        .post("/take", "some")
        .header("x-test-id", "off")
        .send()
        .await;
    assert_eq!((reply.status, reply.header("x-ext-procs-applied")), (200, None));
    assert_eq!(world.origin.seen("off").await.length, 4);
    assert_eq!(
        world.counter(0, "streams_started").await,
        before,
        "no call for a route without"
    );
    world.clean().await;
}

/// BUFFERED_PARTIAL: of a body that is larger than Envoy's buffer the beginning is processed and the rest passes; nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_partial_body_passes() {
    let processor =
        extproc::processor::<()>("partial").on_request_body(async |_: Exchange<()>, mut body: Body| {
            let start = body.collect().await?;
            let word = if body.is_complete() { "whole" } else { "part" };
            Ok(BodyReply::replace(start.to_ascii_uppercase()).set("x-seen", word))
        });
    let served = serve(processor, |server| server).await;
    let filter = Filter::new(&served).bodies(BodyMode::BufferedPartial, BodyMode::None);
    let world = World::start([Front::new(filter).buffer(64 << 10)]).await;
    for (size, word) in [(10_000, "whole"), (1_000_000, "part")] {
        for declared in [true, false] {
            let id = format!("{size} {declared}");
            let content = Content::of(size, 1);
            let call = if declared {
                world.client(0).post("/take", content.clone())
            } else {
                let call = world.client(0).call(http::Method::POST, "/take");
                call.body(frames(content.clone(), 8 << 10, None))
            };
            let reply = call.header("x-test-id", &id).send().await;
            assert_eq!(reply.status, 200, "{id}");
            let seen = world.origin.seen(&id).await;
            assert_eq!(seen.headers["x-seen"], word, "{id}");
            assert_eq!(seen.length, size as u64, "{id}: nothing is lost");
            let processed = seen
                .start
                .iter()
                .take_while(|byte| byte.is_ascii_uppercase())
                .count();
            if word == "whole" {
                assert_eq!(processed, size, "{id}");
            } else {
                assert!(processed >= 32 << 10, "{id}: {processed} bytes were processed");
            }
        }
    }
    world.clean().await;
}
