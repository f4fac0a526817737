//! How Envoy ends calls, and what a processor is told of it.

use std::sync::Arc;

use bytes::Bytes;
use extproc::{Body, BodyMode, BodyReply, End, Exchange, Headers, HeadersReply, Processor, Reply};
use harness::{eventually, set};
use http::Method;
use serde_json::json;
use tokio::sync::Notify;

use crate::world::{Content, Ends, Filter, Front, SOON, World, frames, serve};

#[derive(Clone, Default)]
struct Waits {
    ends: Ends,
    entered: Arc<Notify>,
}

impl Processor for Waits {
    type State = ();

    async fn request_headers(&self, exchange: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        if headers.contains("x-wait") {
            self.entered.notify_one();
            exchange.cancelled().await;
        }
        Ok(match headers.contains("x-done") {
            true => HeadersReply::unchanged().done(),
            false => HeadersReply::unchanged(),
        })
    }

    async fn request_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        while body.inspect().await?.is_some() {
            self.entered.notify_one();
        }
        Ok(BodyReply::unchanged())
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        self.ends.add(end);
    }
}

const MODES: [BodyMode; 4] = [
    BodyMode::None,
    BodyMode::Buffered,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

/// Envoy resets most calls at their end, or, by its runtime flag, closes them: both are the normal end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_and_a_close_are_both_the_normal_end() {
    for graceful in [false, true] {
        let waits = Waits::default();
        let served = serve(waits.clone(), |server| server).await;
        let fronts = MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)));
        let world = World::start_with(fronts, |bootstrap| {
            let flag = json!({"envoy.reloadable_features.ext_proc_graceful_grpc_close": graceful});
            let layers = json!([{"name": "static", "static_layer": flag}]);
            set(bootstrap, "/layered_runtime/layers", layers);
        })
        .await;
        let mut count = 0;
        for (front, mode) in MODES.into_iter().enumerate() {
            for http2 in [false, true] {
                let client = if http2 {
                    world.client(front).http2().await
                } else {
                    world.client(front)
                };
                let calls = [
                    client.get("/take"),
                    client.post("/give?bytes=100000", Content::of(100_000, 1)),
                    client.post("/give?bytes=1000&declared", "some"),
                    client.call(Method::HEAD, "/give?bytes=10&declared"),
                ];
                for (number, call) in calls.into_iter().enumerate() {
                    let reply = call.send().await;
                    assert_eq!(
                        reply.status, 200,
                        "{mode:?}, http2 {http2}, call {number}: {reply:?}"
                    );
                    count += 1;
                }
                if mode != BodyMode::FullDuplex {
                    assert_eq!(
                        client
                            .post("/take", "some")
                            .header("x-done", "1")
                            .send()
                            .await
                            .status,
                        200
                    );
                    count += 1;
                }
            }
        }
        world.clean().await;
        waits.ends.are(&[(End::Completed, count)]).await;
    }
}

/// A client that leaves in the middle: the handler is told, and the exchange counts as cancelled, in every mode.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_cancels_the_exchange() {
    let waits = Waits::default();
    let served = serve(waits.clone(), |server| server).await;
    let world = World::start(MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    let mut count = 0;
    for (front, mode) in MODES.into_iter().enumerate() {
        let held = world
            .client(front)
            .http2()
            .await
            .get("/take")
            .header("x-wait", "1")
            .spawn();
        waits.entered.notified().await;
        held.leave().await;
        count += 1;
        waits.ends.are(&[(End::Cancelled, count)]).await;
        if !matches!(mode, BodyMode::Streamed | BodyMode::FullDuplex) {
            continue;
        }
        // In the middle of its body.
        let id = format!("{mode:?} leaves");
        let (to, from) = tokio::sync::mpsc::channel::<Bytes>(1);
        let body = futures_util::stream::unfold(from, |mut from| async move {
            let piece = from.recv().await?;
            Some((Ok(hyper::body::Frame::data(piece)), from))
        });
        let call = world.client(front).http2().await.call(Method::POST, "/take");
        let call = call
            .body(http_body_util::StreamBody::new(body))
            .header("x-test-id", &id)
            .spawn();
        to.send(Content::of(1000, 1)).await.unwrap();
        waits.entered.notified().await;
        call.leave().await;
        drop(to);
        count += 1;
        waits.ends.are(&[(End::Cancelled, count)]).await;
        if world.origin.has_arrived(&id) {
            assert!(
                !world.origin.seen(&id).await.whole,
                "{id}: it looks whole to the upstream"
            );
        }
    }
    world.clean().await;
}

/// An upstream that answers before it has read the request: the answer comes through, and the exchange ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_is_not_held_up_by_the_upload() {
    let waits = Waits::default();
    let served = serve(waits.clone(), |server| server).await;
    let modes = [BodyMode::None, BodyMode::Streamed, BodyMode::FullDuplex];
    let world = World::start(modes.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    for (front, mode) in modes.into_iter().enumerate() {
        let id = format!("{mode:?} early");
        let client = world.client(front).http2().await;
        let call =
            client
                .call(Method::POST, "/early")
                .body(frames(Content::of(2_000_000, 1), 16 << 10, None));
        let reply = tokio::time::timeout(SOON, call.header("x-test-id", &id).send()).await;
        let reply = reply.unwrap_or_else(|_| panic!("{id}: hung"));
        assert_eq!((reply.status, reply.text()), (200, "early\n"), "{id}");
    }
    eventually("all have ended", SOON, || async {
        waits.ends.count() == modes.len()
    })
    .await;
    world.clean().await;
}
