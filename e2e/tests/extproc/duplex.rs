//! FULL_DUPLEX_STREAMED: many chunks for many, both ways at once, as slow as the slowest, and never one byte less.

use std::time::Duration;

use bytes::Bytes;
use extproc::{Body, BodyMode, BodyReply, Exchange};
use futures_util::future::join_all;
use harness::{Client, Upload, set};
use http::Method;
use serde_json::json;

use crate::world::{Act, Content, Filter, Front, SOON, Worker, World, frames, origin_window, serve, sha256};

fn filter(served: &crate::world::Served) -> Filter {
    Filter::new(served).bodies(BodyMode::FullDuplex, BodyMode::FullDuplex)
}

/// Sends a body through the mirror, and compares what comes back.
async fn mirrored(client: &Client, path: &str, length: u64, act: Act) {
    let upload = Upload::new(length, 3).undeclared();
    let expected = upload.sha256();
    let call = client
        .call(Method::POST, path)
        .body(upload)
        .header("x-test-id", path);
    let call = call
        .header("x-request-act", format!("{act:?}"))
        .header("x-response-act", format!("{act:?}"));
    let mut answer = call.open().await.unwrap();
    assert_eq!(answer.status, 200, "{path}");
    let mut hash = sha2::Sha256::default();
    let mut got = 0;
    loop {
        let chunk = tokio::time::timeout(SOON, answer.chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("{path}, {act:?}: stands still after {got} bytes"));
        let Some(chunk) = chunk.unwrap() else { break };
        sha2::Digest::update(&mut hash, &chunk);
        got += chunk.len() as u64;
    }
    assert_eq!(got, length, "{path}, {act:?}");
    let hash: String = sha2::Digest::finalize(hash)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hash, expected, "{path}, {act:?}");
}

/// 50 MiB through an upstream that sends back what it reads, as it reads: both directions are under way at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_mebibytes_there_and_back() {
    let served = serve(Worker::default(), |server| server).await;
    let world = World::start([
        Front::new(filter(&served)),
        Front::new(filter(&served)).buffer(64 << 10),
    ])
    .await;
    mirrored(&world.client(0), "/mirror", 50 << 20, Act::Pass).await;
    let http2 = world.client(1).http2().await;
    mirrored(&http2, "/mirror?h2", 20 << 20, Act::Inspect).await;
    // Several at once on one connection, and through one connection to the processor.
    let each = (0..4).map(|number| {
        let http2 = http2.clone();
        async move { mirrored(&http2, &format!("/mirror?n={number}"), 5 << 20, Act::Glance).await }
    });
    join_all(each).await;
    world.clean().await;
}

/// A client that reads slowly, an upstream that reads slowly, and one that says eight times what it hears: Envoy does not gather what
/// they do not take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slowest_sets_the_pace() {
    let served = serve(Worker::default(), |server| server).await;
    let front = Front::new(filter(&served)).buffer(64 << 10);
    let front = front.hcm("http2_protocol_options/initial_stream_window_size", 64 << 10);
    let world = World::start_with([front], |bootstrap| {
        set(bootstrap, &origin_window(), json!(64 << 10))
    })
    .await;
    let before = world.allocated().await;
    // The processor writes eight times what it reads, and the upstream takes 8 MiB a second.
    let content = Content::of(1 << 20, 5);
    let call = world.client(0).post("/take?rate=8388608", content.clone());
    let call = call
        .header("x-test-id", "slow upstream")
        .header("x-request-act", "Eightfold")
        .spawn();
    // The client takes nothing for a while of what comes back.
    let slow = world
        .client(0)
        .http2()
        .await
        .call(Method::POST, "/mirror?times=8");
    let slow = slow
        .body(frames(content.clone(), 16 << 10, None))
        .header("x-test-id", "slow client");
    let mut answer = slow.open().await.unwrap();
    let mut peak = 0;
    while !call.is_finished() {
        peak = peak.max(world.allocated().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(call.reply().await.status, 200);
    assert!(
        !world.origin.all("slow client").iter().any(|seen| seen.whole),
        "the mirror has to wait for the client"
    );
    let expected = Act::Eightfold.of(&content);
    let seen = world.origin.seen("slow upstream").await;
    assert_eq!(
        (seen.length, seen.sha256),
        (expected.len() as u64, sha256(&expected))
    );
    let mut got = 0;
    while let Some(chunk) = tokio::time::timeout(SOON, answer.chunk())
        .await
        .expect("stands still")
        .unwrap()
    {
        got += chunk.len();
    }
    assert_eq!(got, expected.len());
    // 8 MiB each were on their way; what Envoy kept of them is bounded by windows and buffers of 64 KiB.
    let grown = peak.saturating_sub(before);
    assert!(grown < 4 << 20, "Envoy kept {grown} bytes");
    world.clean().await;
}

/// Sizes around that of one piece, with everything that a handler can do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_around_a_piece_are_exact() {
    let served = serve(Worker::default(), |server| server).await;
    let world = World::start([Front::new(filter(&served))]).await;
    for size in [65_535, 65_536, 65_537, 131_072, 131_073] {
        for act in Act::ALL {
            if act == Act::First {
                continue;
            }
            let id = format!("{size} {act:?}");
            let content = Content::of(size, 1);
            // In one frame, with an empty last chunk behind it.
            let call =
                world
                    .client(0)
                    .call(Method::POST, "/mirror")
                    .body(frames(content.clone(), size, None));
            let reply = call
                .header("x-test-id", &id)
                .header("x-request-act", format!("{act:?}"))
                .send()
                .await;
            let expected = act.of(&content);
            assert_eq!(
                (reply.body.len(), sha256(&reply.body)),
                (expected.len(), sha256(&expected)),
                "{id}"
            );
        }
    }
    world.clean().await;
}

/// Two filters in full duplex behind one another, 130 KB both ways, many at once: users of other processors saw bodies truncated by
/// this (envoy#43983, envoy#41654).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_filters_in_a_chain_lose_nothing() {
    let (first, second) = (
        serve(Worker::default(), |server| server).await,
        serve(Worker::default(), |server| server).await,
    );
    let chain = || [filter(&first), filter(&second)];
    let world = World::start([Front::chain(chain()), Front::chain(chain()).buffer(32 << 10)]).await;
    for front in 0..2 {
        let http2 = world.client(front).http2().await;
        for act in [Act::Pass, Act::Inspect, Act::Collect, Act::Upper] {
            let each = (0..20).map(|number| {
                let client = if number % 2 == 0 {
                    http2.clone()
                } else {
                    world.client(front)
                };
                let world = &world;
                async move {
                    let id = format!("{front} {act:?} {number}");
                    let content = Content::of(130_000 + number, 1);
                    let call = if number % 4 < 2 {
                        client.post("/give?bytes=130000", content.clone())
                    } else {
                        let call = client.call(Method::POST, "/give?bytes=130000");
                        call.body(frames(content.clone(), 7000, None))
                    };
                    let word = format!("{act:?}");
                    let call = call.header("x-test-id", &id).header("x-request-act", &word);
                    let reply = tokio::time::timeout(SOON, call.header("x-response-act", &word).send()).await;
                    let reply = reply.unwrap_or_else(|_| panic!("{id}: hung"));
                    let seen = world.origin.seen(&id).await;
                    assert_eq!(
                        (seen.length, &seen.sha256),
                        (content.len() as u64, &sha256(&act.of(&content))),
                        "{id}"
                    );
                    let expected = act.of(&Content::of(130_000, 77));
                    assert_eq!(
                        (reply.body.len(), sha256(&reply.body)),
                        (130_000, sha256(&expected)),
                        "{id}"
                    );
                }
            });
            join_all(each).await;
        }
    }
    world.clean().await;
}

/// The headers wait for the body: what its handler finds out reaches them, in full duplex and in BUFFERED.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_has_a_say_in_the_headers() {
    let processor = extproc::processor::<()>("digest")
        .on_request_headers(async |_: Exchange<()>, _| {
            Ok(extproc::HeadersReply::unchanged()
                .set("x-first", "1")
                .after_body())
        })
        .on_request_body(async |_: Exchange<()>, mut body: Body| {
            let whole = body.collect().await?;
            Ok(BodyReply::unchanged().set("x-digest", sha256(&whole)))
        });
    let served = serve(processor, |server| server).await;
    let buffered = Filter::new(&served).bodies(BodyMode::Buffered, BodyMode::None);
    let streamed = Filter::new(&served).bodies(BodyMode::Streamed, BodyMode::None);
    let world = World::start([filter(&served), buffered, streamed].map(Front::new)).await;
    for front in 0..2 {
        for size in [0, 5, 200_000] {
            let id = format!("{front} {size}");
            let content = Content::of(size, 1);
            let reply = world
                .client(front)
                .post("/take", content.clone())
                .header("x-test-id", &id)
                .send()
                .await;
            assert_eq!(reply.status, 200, "{id}");
            let seen = world.origin.seen(&id).await;
            assert_eq!(seen.headers["x-first"], "1", "{id}");
            let digest = seen
                .headers
                .get("x-digest")
                .map(|digest| digest.to_str().unwrap().to_owned());
            assert_eq!(digest, (size > 0).then(|| sha256(&content)), "{id}");
            assert_eq!(seen.sha256, sha256(&content), "{id}");
        }
    }
    // In STREAMED neither is possible, and that is said at the first request, not found out at the first large one.
    assert_eq!(world.client(2).post("/take", "some").send().await.status, 500);
    world.ended(&[("2.streams_failed", 1)]).await;
}

/// One large write becomes many small messages: a client whose limit for a message is 4 MiB, or less, takes them (agentgateway#2720).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_write_is_sent_in_small_messages() {
    const SIZE: usize = 8 << 20;
    let processor =
        extproc::processor::<()>("large").on_response_body(async |_: Exchange<()>, body: Body| {
            let (_, mut output) = body.split();
            output.send(Bytes::from(vec![b'x'; SIZE])).await?;
            Ok(BodyReply::written())
        });
    let served = serve(processor, |server| server).await;
    let world = World::start([Front::new(filter(&served))]).await;
    let reply = world.client(0).get("/give?bytes=10").send().await;
    assert_eq!(reply.body.len(), SIZE);
    // Two answers to headers, one end, and pieces of 64 KiB.
    let messages = world.counter(0, "stream_msgs_received").await;
    assert!(messages >= (SIZE / (64 << 10)) as u64, "{messages} messages");
    world.clean().await;
}
