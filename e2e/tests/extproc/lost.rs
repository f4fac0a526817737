//! Traps in which other processors lose bodies: whatever goes wrong, a body is never truncated as if it had ended, never passed
//! unprocessed unless the filter allows it, and never hung.

use bytes::Bytes;
use extproc::{
    Body, BodyMode, BodyReply, Direction, End, Exchange, Headers, HeadersReply, Processor, Reply, Stop,
};
use harness::Call;

use crate::world::{Content, Ends, Filter, Front, SOON, World, serve, sha256};

const MODES: [BodyMode; 4] = [
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::Streamed,
    BodyMode::FullDuplex,
];

/// How a handler goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// At once, without reading.
    Error,
    /// When it has seen the first piece.
    ErrorAfterOne,
    /// When it has read the first piece and written it.
    ErrorAfterWrite,
    Panic,
    PanicAfterOne,
    /// `unchanged()` for what it has read and not written.
    Swallow,
    /// `unchanged()` for what it has written.
    Double,
}

impl Wrong {
    const ALL: [Self; 7] = [
        Self::Error,
        Self::ErrorAfterOne,
        Self::ErrorAfterWrite,
        Self::Panic,
        Self::PanicAfterOne,
        Self::Swallow,
        Self::Double,
    ];
}

/// Goes wrong in the direction that `x-wrong` names, as it says there: `request Panic`.
#[derive(Clone, Default)]
struct Faulty(Ends);

impl Faulty {
    async fn body(&self, exchange: &Exchange<()>, direction: Direction, mut body: Body) -> Reply<BodyReply> {
        let wrong = exchange
            .request_headers()
            .and_then(|headers| headers.text("x-wrong"));
        let Some((place, wrong)) = wrong.and_then(|wrong| wrong.split_once(' ')) else {
            return Ok(BodyReply::unchanged());
        };
        if place != direction.name() {
            return Ok(BodyReply::unchanged());
        }
        let wrong = Wrong::ALL
            .into_iter()
            .find(|one| format!("{one:?}") == wrong)
            .unwrap();
        match wrong {
            Wrong::Error => Err(Stop::fail("as asked")),
            Wrong::ErrorAfterOne => {
                body.inspect().await?;
                Err(Stop::fail("as asked"))
            }
            Wrong::Panic => panic!("as asked"),
            Wrong::PanicAfterOne => {
                body.inspect().await?;
                panic!("as asked")
            }
            Wrong::ErrorAfterWrite => {
                let (mut input, mut output) = body.split();
                let first = input.next().await?.unwrap_or_default();
                output.send(first).await?;
                input.next().await?;
                Err(Stop::fail("as asked"))
            }
            Wrong::Swallow => {
                let (mut input, _) = body.split();
                input.next().await?;
                Ok(BodyReply::unchanged())
            }
            Wrong::Double => {
                let (_, mut output) = body.split();
                output.send("twice").await?;
                Ok(BodyReply::unchanged())
            }
        }
    }
}

impl Processor for Faulty {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        match headers.text("x-wrong") {
            Some("headers done") => Ok(HeadersReply::unchanged().done()),
            Some("headers panic") => panic!("as asked"),
            Some("headers error") => Err(Stop::fail("as asked")),
            _ => Ok(HeadersReply::unchanged()),
        }
    }

    async fn request_body(&self, exchange: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.body(exchange, Direction::Request, body).await
    }

    async fn response_body(&self, exchange: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.body(exchange, Direction::Response, body).await
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        self.0.add(end);
    }
}

/// What became of a request.
#[derive(Debug)]
struct Outcome {
    /// The status that the client got, and the body if it came to its end.
    client: Option<(u16, Option<Bytes>)>,
}

/// Sends it, and never waits for ever.
async fn outcome(id: &str, call: Call) -> Outcome {
    let sent = tokio::time::timeout(SOON, async {
        match call.open().await {
            Err(_) => Outcome { client: None },
            Ok(answer) => {
                let status = answer.status;
                let body = answer.finish().await.ok().map(|reply| reply.body);
                Outcome {
                    client: Some((status, body)),
                }
            }
        }
    });
    sent.await.unwrap_or_else(|_| panic!("{id}: hung"))
}

impl World {
    /// The upstream has no such request, or knows that its body was cut: never one that looks whole.
    async fn got_nothing_whole(&self, id: &str) {
        if self.origin.has_arrived(id) {
            let seen = self.origin.seen(id).await;
            assert!(
                !seen.whole,
                "{id}: the upstream took a broken body for a whole one: {seen:?}"
            );
        }
    }
}

const SIZE: usize = 300_000;

fn request(world: &World, front: usize, id: &str, wrong: &str) -> Call {
    let call = world
        .client(front)
        .post("/give?bytes=300000", Content::of(SIZE, 1));
    call.header("x-test-id", id).header("x-wrong", wrong)
}

/// A handler of the request's body goes wrong: the client is answered 500 by Envoy, and the upstream gets no body that looks whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_handler_fails_is_refused() {
    let faulty = Faulty::default();
    let served = serve(faulty.clone(), |server| server).await;
    let world = World::start(MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    let mut expected = Vec::new();
    for (front, mode) in MODES.into_iter().enumerate() {
        let mut failed = 0;
        for wrong in Wrong::ALL {
            let id = format!("{mode:?} {wrong:?}");
            let outcome = outcome(&id, request(&world, front, &id, &format!("request {wrong:?}"))).await;
            let status = outcome.client.as_ref().map(|(status, _)| *status);
            assert_eq!(status, Some(500), "{id}: {outcome:?}");
            world.got_nothing_whole(&id).await;
            failed += 1;
        }
        // The server goes on.
        let id = format!("{mode:?} well");
        let outcome = outcome(&id, request(&world, front, &id, "nothing at all")).await;
        assert!(
            matches!(outcome.client, Some((200, Some(_)))),
            "{id}: {outcome:?}"
        );
        expected.push((format!("{front}.streams_failed"), failed));
    }
    world.ended(&expected).await;
    let wrong = MODES.len() * Wrong::ALL.len();
    faulty
        .0
        .are(&[(End::Failed, wrong), (End::Completed, MODES.len())])
        .await;
}

/// A handler of the response's body goes wrong: the client gets an error status, or its answer is cut so that it knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_whose_handler_fails_never_looks_whole() {
    let faulty = Faulty::default();
    let served = serve(faulty.clone(), |server| server).await;
    let world = World::start(MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    let mut expected = Vec::new();
    for (front, mode) in MODES.into_iter().enumerate() {
        for wrong in Wrong::ALL {
            let id = format!("{mode:?} {wrong:?}");
            let outcome = outcome(&id, request(&world, front, &id, &format!("response {wrong:?}"))).await;
            match &outcome.client {
                Some((500, _)) | None | Some((200, None)) => {}
                Some((status, body)) => {
                    let length = body.as_ref().map(Bytes::len);
                    panic!("{id}: status {status}, {length:?} bytes that look whole");
                }
            }
        }
        expected.push((format!("{front}.streams_failed"), Wrong::ALL.len() as u64));
    }
    world.ended(&expected).await;
}

/// With `failure_mode_allow` a request goes on without its processor as long as nothing is lost by it, else it is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_unprocessed_passes_whole() {
    let faulty = Faulty::default();
    let served = serve(faulty.clone(), |server| server).await;
    let fronts = MODES.map(|mode| {
        let filter = Filter::new(&served).bodies(mode, mode);
        Front::new(filter.set("failure_mode_allow", true))
    });
    let world = World::start(fronts).await;
    let mut passed = Vec::new();
    for (front, mode) in MODES.into_iter().enumerate() {
        for wrong in Wrong::ALL {
            let id = format!("{mode:?} {wrong:?}");
            let outcome = outcome(&id, request(&world, front, &id, &format!("request {wrong:?}"))).await;
            match &outcome.client {
                Some((200, Some(_))) => {
                    let seen = world.origin.seen(&id).await;
                    assert!(seen.whole, "{id}");
                    assert_eq!(seen.length, SIZE as u64, "{id}: truncated");
                    assert_eq!(seen.sha256, sha256(&Content::of(SIZE, 1)), "{id}");
                    passed.push((front, mode));
                }
                Some((500, _)) => world.got_nothing_whole(&id).await,
                other => panic!("{id}: {other:?}"),
            }
        }
    }
    // In full duplex a chunk has been sent by the time that a handler of the body can fail: Envoy cannot take it back.
    let full_duplex = passed.iter().filter(|(_, mode)| *mode == BodyMode::FullDuplex);
    assert_eq!(full_duplex.count(), 0);
    for mode in [BodyMode::Buffered, BodyMode::BufferedPartial, BodyMode::Streamed] {
        let count = passed.iter().filter(|(_, found)| *found == mode).count();
        assert_eq!(count, Wrong::ALL.len(), "{mode:?} passes");
    }
}

/// `done()` where a body in FULL_DUPLEX_STREAMED is to come would truncate it: it is refused. In the other modes the rest passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ends_early_loses_nothing() {
    let faulty = Faulty::default();
    let served = serve(faulty.clone(), |server| server).await;
    let world = World::start(MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    for (front, mode) in MODES.into_iter().enumerate() {
        let id = format!("{mode:?} done");
        let outcome = outcome(&id, request(&world, front, &id, "headers done")).await;
        if mode == BodyMode::FullDuplex {
            assert!(matches!(outcome.client, Some((500, _))), "{id}: {outcome:?}");
            world.got_nothing_whole(&id).await;
        } else {
            let seen = world.origin.seen(&id).await;
            assert!(seen.whole && seen.length == SIZE as u64, "{id}: {seen:?}");
            let Some((200, Some(body))) = outcome.client else {
                panic!("{id}: {outcome:?}")
            };
            assert_eq!(sha256(&body), sha256(&Content::of(SIZE, 77)), "{id}");
        }
    }
    world.ended(&[("3.streams_failed", 1)]).await;
}

/// A message that is too large to be decoded ends the call with an error, never cleanly: Envoy would let the request pass.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_decoded_is_refused() {
    let faulty = Faulty::default();
    let served = serve(faulty.clone(), |server| server.max_message(4 << 10)).await;
    let world = World::start(MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    let mut expected = Vec::new();
    for (front, mode) in MODES.into_iter().enumerate() {
        let id = format!("{mode:?}");
        let outcome = outcome(&id, request(&world, front, &id, "nothing at all")).await;
        assert!(matches!(outcome.client, Some((500, _))), "{id}: {outcome:?}");
        world.got_nothing_whole(&id).await;
        expected.push((format!("{front}.streams_failed"), 1));
    }
    world.ended(&expected).await;
}

/// The trap of tonic's own limit: 8 MB in BUFFERED, where Envoy's buffer allows it and 4 MiB can be decoded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_megabytes_over_the_limit_do_not_pass_unprocessed() {
    let faulty = Faulty::default();
    let small = serve(faulty.clone(), |server| server.max_message(4 << 20)).await;
    let roomy = serve(faulty.clone(), |server| server).await;
    let front = |served| {
        let filter = Filter::new(served).bodies(BodyMode::Buffered, BodyMode::None);
        Front::new(filter).buffer(16 << 20)
    };
    let world = World::start([front(&small), front(&roomy)]).await;
    let body = Content::of(8_000_000, 1);
    let call = world
        .client(0)
        .post("/take", body.clone())
        .header("x-test-id", "small");
    let refused = outcome("small", call).await;
    assert!(matches!(refused.client, Some((500, _))), "{refused:?}");
    world.got_nothing_whole("small").await;
    // What the SDK decodes by default is enough for it.
    let call = world
        .client(1)
        .post("/take", body.clone())
        .header("x-test-id", "roomy");
    assert_eq!(call.send().await.status, 200);
    assert_eq!(world.origin.seen("roomy").await.sha256, sha256(&body));
    world.ended(&[("streams_failed", 1)]).await;
}

/// A handler of headers fails: refused in every mode, before the upstream hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_headers_fail_never_reaches_the_upstream() {
    let faulty = Faulty::default();
    let served = serve(faulty.clone(), |server| server).await;
    let world = World::start(MODES.map(|mode| Front::new(Filter::new(&served).bodies(mode, mode)))).await;
    let mut expected = Vec::new();
    for (front, mode) in MODES.into_iter().enumerate() {
        for wrong in ["headers panic", "headers error"] {
            let id = format!("{mode:?} {wrong}");
            let outcome = outcome(&id, request(&world, front, &id, wrong)).await;
            assert!(matches!(outcome.client, Some((500, _))), "{id}: {outcome:?}");
            assert!(!world.origin.has_arrived(&id), "{id}");
        }
        expected.push((format!("{front}.streams_failed"), 2));
    }
    world.ended(&expected).await;
}
