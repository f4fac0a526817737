//! Time: Envoy's for a message, which a processor may prolong, and the processor's own for its handlers, where Envoy has none.

use std::future::pending;
use std::time::Duration;

use extproc::{
    Body, BodyMode, BodyReply, Closures, Deadlines, Direction, Exchange, Headers, HeadersReply, Immediate,
    Needs, OnDeadline, Prolong,
};

use crate::world::{Content, Filter, Front, SOON, World, serve, sha256};

/// The filter's `message_timeout` here, and the time that the handlers take.
const TIMEOUT: &str = "0.5s";
const WORK: Duration = Duration::from_millis(1300);

fn filter(served: &crate::world::Served, mode: BodyMode) -> Filter {
    let filter = Filter::new(served).bodies(mode, BodyMode::None);
    filter
        .set("message_timeout", TIMEOUT)
        .set("max_message_timeout", "60s")
}

/// A handler of headers that takes longer than Envoy waits, and asks for more time, or for too much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_may_ask_for_more_time() {
    let processor = extproc::processor::<()>("slow").on_request_headers(
        async |exchange: Exchange<()>, headers: Headers| {
            if let Some(seconds) = headers.text("x-more") {
                exchange.more_time(Direction::Request, Duration::from_secs(seconds.parse()?));
            }
            tokio::time::sleep(WORK).await;
            Ok(HeadersReply::unchanged())
        },
    );
    let served = serve(processor, |server| server).await;
    let world = World::start([Front::new(filter(&served, BodyMode::None))]).await;
    let get = async |more: Option<&str>| {
        let call = world.client(0).get("/take");
        let call = more
            .into_iter()
            .fold(call, |call, more| call.header("x-more", more));
        call.send().await.status
    };
    assert_eq!(get(None).await, 504);
    assert_eq!(get(Some("30")).await, 200);
    // Over the filter's `max_message_timeout`: Envoy ignores it.
    assert_eq!(get(Some("61")).await, 504);
    assert_eq!(world.counter(0, "override_message_timeout_received").await, 1);
    world
        .ended(&[("message_timeouts", 2), ("override_message_timeout_ignored", 1)])
        .await;
}

fn prolonged() -> Needs {
    Needs {
        deadlines: Deadlines {
            prolong: Some(Prolong {
                message_timeout: Duration::from_millis(500),
                to: Duration::from_secs(30),
            }),
            ..Deadlines::default()
        },
        ..Needs::default()
    }
}

/// A processor that says what Envoy's time-out is has it prolonged by itself, while a body is worked on as well
/// (envoyproxy/ai-gateway#1428). The control does not say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_is_prolonged_while_a_body_is_worked_on() {
    let processor = || {
        extproc::processor::<()>("works").on_request_body(async |_: Exchange<()>, mut body: Body| {
            let whole = body.collect().await?;
            tokio::time::sleep(WORK).await;
            Ok(BodyReply::replace(whole.to_ascii_uppercase()))
        })
    };
    let prolongs = serve(processor().needs(prolonged()), |server| server).await;
    let control = serve(processor(), |server| server).await;
    let modes = [
        BodyMode::Buffered,
        BodyMode::BufferedPartial,
        BodyMode::Streamed,
        BodyMode::FullDuplex,
    ];
    let fronts = modes.into_iter().map(|mode| filter(&prolongs, mode));
    let fronts = fronts.chain([
        filter(&control, BodyMode::Buffered),
        filter(&control, BodyMode::FullDuplex),
    ]);
    let world = World::start(fronts.map(Front::new)).await;
    let content = Content::of(500_000, 1);
    let post = async |front: usize| {
        let call = world.client(front).post("/take", content.clone());
        call.header("x-test-id", front.to_string()).send().await.status
    };
    let statuses = futures_util::future::join_all((0..6).map(&post)).await;
    // In FULL_DUPLEX_STREAMED Envoy has no such time-out.
    assert_eq!(statuses, [200, 200, 200, 200, 504, 200]);
    for front in [0, 1, 2, 3, 5] {
        let seen = world.origin.seen(&front.to_string()).await;
        assert_eq!(
            seen.sha256,
            sha256(&content.to_ascii_uppercase()),
            "listener {front}"
        );
    }
    world.ended(&[("4.message_timeouts", 1)]).await;
}

/// A processor that never answers in the phase that `x-hang` names, with deadlines of its own.
fn hangs(then: OnDeadline) -> Closures<()> {
    async fn hang(exchange: &Exchange<()>, phase: &str) {
        let asked = exchange
            .request_headers()
            .and_then(|headers| headers.text("x-hang"));
        if asked == Some(phase) {
            pending::<()>().await;
        }
    }
    let short = Duration::from_millis(200);
    let deadlines = Deadlines {
        headers: short,
        body_progress: short,
        trailers: short,
        then,
        prolong: None,
    };
    extproc::processor::<()>("hangs")
        .needs(Needs {
            deadlines,
            ..Needs::default()
        })
        .on_request_headers(async |exchange: Exchange<()>, _: Headers| {
            hang(&exchange, "headers").await;
            Ok(HeadersReply::unchanged())
        })
        .on_request_body(async |exchange: Exchange<()>, mut body: Body| {
            hang(&exchange, "body").await;
            body.inspect().await?;
            hang(&exchange, "started").await;
            Ok(BodyReply::unchanged())
        })
        .on_response_headers(async |exchange: Exchange<()>, _: Headers| {
            hang(&exchange, "response").await;
            Ok(HeadersReply::unchanged())
        })
}

/// A handler that hangs never makes a client hang, in full duplex neither, where Envoy itself would wait for five minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_hangs_is_ended() {
    let fails = serve(hangs(OnDeadline::Fail), |server| server).await;
    let answer = Box::new(Immediate::new(504).body("too slow"));
    let answers = serve(hangs(OnDeadline::Respond(answer)), |server| server).await;
    let goes_on = serve(hangs(OnDeadline::Continue), |server| server).await;
    let mut fronts = Vec::new();
    for mode in [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex] {
        for served in [&fails, &answers, &goes_on] {
            fronts.push(Front::new(Filter::new(served).bodies(mode, mode)));
        }
    }
    let world = World::start(fronts).await;
    let content = Content::of(100_000, 1);
    let mut failed = [0; 9];
    for (front, failed) in failed.iter_mut().enumerate() {
        for phase in ["headers", "body", "started", "response"] {
            let id = format!("{front} {phase}");
            let call = world.client(front).post("/give?bytes=9", content.clone());
            let call = call.header("x-test-id", &id).header("x-hang", phase);
            let reply = tokio::time::timeout(SOON, call.send()).await;
            let reply = reply.unwrap_or_else(|_| panic!("{id}: hung"));
            // What has been read cannot go on unchanged: that fails.
            let expected = match (front % 3, phase) {
                (0, _) | (2, "started") => 500,
                (1, _) => 504,
                _ => 200,
            };
            assert_eq!(reply.status, expected, "{id}: {reply:?}");
            match expected {
                500 => *failed += 1,
                504 => assert_eq!(reply.text(), "too slow", "{id}"),
                _ => {
                    let seen = world.origin.seen(&id).await;
                    assert_eq!((seen.length, &seen.sha256), (100_000, &sha256(&content)), "{id}");
                }
            }
        }
    }
    let names: Vec<String> = (0..9).map(|front| format!("{front}.streams_failed")).collect();
    let expected: Vec<_> = names.iter().map(String::as_str).zip(failed).collect();
    world.ended(&expected).await;
}
