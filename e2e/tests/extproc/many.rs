//! Many exchanges at once, and the bounds of what a server takes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use extproc::{Body, BodyMode, BodyReply, End, Exchange, Headers, HeadersReply, Limits, Needs};
use futures_util::future::join_all;
use harness::eventually;
use tokio::sync::Semaphore;

use crate::world::{Content, Ends, Filter, Front, SOON, World, serve};

/// Holds requests until the gate opens.
#[derive(Clone)]
struct Holds {
    here: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    ends: Ends,
}

impl Holds {
    fn new() -> Self {
        Self {
            here: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            ends: Ends::default(),
        }
    }

    fn processor(&self) -> extproc::Closures<()> {
        let (holds, ends) = (self.clone(), self.ends.clone());
        extproc::processor::<()>("holds")
            .on_request_headers(move |_: Exchange<()>, headers: Headers| {
                let holds = holds.clone();
                async move {
                    holds.here.fetch_add(1, Ordering::Relaxed);
                    let _open = holds.gate.acquire().await?;
                    Ok(HeadersReply::unchanged().set("x-held", headers.get("x-number").unwrap_or(b"-")))
                }
            })
            .on_ended(move |_, end| ends.add(end))
    }

    async fn has(&self, count: usize) {
        let what = format!("{count} requests are held");
        eventually(&what, SOON, || async {
            self.here.load(Ordering::Relaxed) >= count
        })
        .await;
    }
}

/// A thousand at once, on connections of a hundred calls each: every one is answered, with its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once() {
    const COUNT: usize = 1000;
    let holds = Holds::new();
    let served = serve(holds.processor(), |server| server).await;
    let filter = Filter::new(&served)
        .http2("max_concurrent_streams", 100)
        .set("message_timeout", "60s");
    let world = World::start([Front::new(filter)]).await;
    let mut pending = Vec::new();
    for connection in 0..10 {
        let client = world.client(0).http2().await;
        for number in 0..COUNT / 10 {
            let number = (connection * 1000 + number).to_string();
            let call = client
                .get("/take")
                .header("x-test-id", &number)
                .header("x-number", &number);
            pending.push((number, call.spawn()));
        }
    }
    holds.has(COUNT).await;
    holds.gate.add_permits(Semaphore::MAX_PERMITS);
    for (number, call) in pending {
        assert_eq!(call.reply().await.status, 200, "{number}");
        assert_eq!(
            world.origin.seen(&number).await.headers["x-held"],
            number.as_str()
        );
    }
    world.clean().await;
    holds.ends.are(&[(End::Completed, COUNT)]).await;
}

/// Calls beyond the server's bound are refused, and do not harm those within.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_bound_are_refused() {
    let holds = Holds::new();
    let served = serve(holds.processor(), |server| server.max_streams(10)).await;
    let filters = [
        Filter::new(&served),
        Filter::new(&served).set("failure_mode_allow", true),
    ];
    let world = World::start(filters.map(Front::new)).await;
    let held: Vec<_> = (0..10).map(|_| world.client(0).get("/take").spawn()).collect();
    holds.has(10).await;
    let others = join_all((0..5).map(|_| world.client(0).get("/take").send())).await;
    assert!(others.iter().all(|reply| reply.status == 500), "{others:?}");
    // Or they pass without, where the filter says so.
    assert_eq!(world.client(1).get("/take").send().await.status, 200);
    holds.gate.add_permits(Semaphore::MAX_PERMITS);
    for call in held {
        assert_eq!(call.reply().await.status, 200);
    }
    holds.ends.are(&[(End::Completed, 10)]).await;
    assert_eq!(
        world.client(0).get("/take").send().await.status,
        200,
        "there is room again"
    );
    let expected = [
        ("streams_failed", 5),
        ("1.streams_failed", 1),
        ("1.failure_mode_allowed", 1),
    ];
    world.ended(&expected).await;
}

/// Bodies beyond the server's memory are refused with 503, one that is too large with 413, and the memory comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_beyond_the_memory_are_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let collected = Arc::new(AtomicUsize::new(0));
    let (opens, counts) = (gate.clone(), collected.clone());
    let needs = Needs {
        limits: Limits {
            collect: 512 << 10,
            ..Limits::default()
        },
        ..Needs::default()
    };
    let processor = extproc::processor::<()>("collects").needs(needs).on_request_body(
        move |_: Exchange<()>, mut body: Body| {
            let (gate, collected) = (opens.clone(), counts.clone());
            async move {
                body.collect().await?;
                collected.fetch_add(1, Ordering::Relaxed);
                let _open = gate.acquire().await?;
                Ok(BodyReply::unchanged())
            }
        },
    );
    let served = serve(processor, |server| server.body_memory(1 << 20)).await;
    let modes = [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex];
    let world =
        World::start(modes.map(|mode| Front::new(Filter::new(&served).bodies(mode, BodyMode::None)))).await;
    let half = Content::of(500_000, 1);
    for (front, mode) in modes.into_iter().enumerate() {
        collected.store(0, Ordering::Relaxed);
        let post =
            |id: String, body: bytes::Bytes| world.client(front).post("/take", body).header("x-test-id", id);
        let held: Vec<_> = (0..2)
            .map(|number| post(format!("{mode:?} {number}"), half.clone()).spawn())
            .collect();
        eventually("both are collected", SOON, || async {
            collected.load(Ordering::Relaxed) == 2
        })
        .await;
        let refused = post(format!("{mode:?} refused"), half.clone()).send().await;
        assert_eq!(refused.status, 503, "{mode:?}: {refused:?}");
        gate.add_permits(100);
        for (number, call) in held.into_iter().enumerate() {
            assert_eq!(call.reply().await.status, 200, "{mode:?}");
            assert_eq!(
                world.origin.seen(&format!("{mode:?} {number}")).await.length,
                500_000
            );
        }
        let again = post(format!("{mode:?} again"), half.clone()).send().await;
        assert_eq!(again.status, 200, "{mode:?}: the memory is free again");
        let large = post(format!("{mode:?} large"), Content::of(600_000, 1))
            .send()
            .await;
        assert_eq!(large.status, 413, "{mode:?}: {large:?}");
        gate.forget_permits(100);
    }
    world.clean().await;
}
