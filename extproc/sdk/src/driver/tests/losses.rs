//! Ways to lose bytes, or to let a request pass unseen, that random scripts found or that lie beside those: none of them does.

use std::future::{Future, pending};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tonic::Code;

use crate::driver::tests::support::{line, lines};
use crate::modes::{BodyMode, ModeOverride, Modes};
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply};
use crate::sync::lock;
use crate::testing::{
    Call, Modal, messages, request_body, request_headers, response_body, response_headers, with_modes,
};
use crate::wire::ProcessingRequest;
use crate::{Body, Exchange, Headers, OnTooLarge, Reply};

const POST: [(&str, &str); 1] = [(":method", "POST")];
const OK: [(&str, &str); 1] = [(":status", "200")];

pub(super) fn opened(request: BodyMode, response: BodyMode) -> ProcessingRequest {
    with_modes(request_headers(POST), Modes { request, response })
}

/// Handles request bodies as it is told, and notes how exchanges end.
pub(super) struct Handler<F> {
    body: F,
    ended: Arc<Mutex<Vec<End>>>,
}

pub(super) fn handler<F, R>(body: F) -> Handler<F>
where
    F: Fn(Exchange<()>, Body) -> R + Send + Sync + 'static,
    R: Future<Output = Reply<BodyReply>> + Send + 'static,
{
    Handler {
        body,
        ended: Arc::default(),
    }
}

impl<F, R> Processor for Handler<F>
where
    F: Fn(Exchange<()>, Body) -> R + Send + Sync + 'static,
    R: Future<Output = Reply<BodyReply>> + Send + 'static,
{
    type State = ();

    async fn request_body(&self, x: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        (self.body)(x.clone(), body).await
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        lock(&self.ended).push(end);
    }
}

/// The answers to a body in three chunks, but for that of the headers.
async fn answers<P: Processor>(processor: P, mode: BodyMode) -> (Vec<String>, Code) {
    let mut script = vec![opened(mode, BodyMode::None)];
    if mode == BodyMode::Buffered {
        script.push(request_body("abcdef", true));
    } else {
        script.extend([
            request_body("ab", false),
            request_body("cd", false),
            request_body("ef", true),
        ]);
    }
    let (answers, ended) = messages(processor, script).await;
    (lines(&answers)[1..].to_vec(), ended.code())
}

#[tokio::test]
async fn a_call_that_ends_before_a_body_in_full_duplex_has_begun_does_not_end_cleanly() {
    let handler = handler(async |_, _| Ok(BodyReply::unchanged()));
    let ended = handler.ended.clone();
    let mut call = Call::new(handler);
    call.send(opened(BodyMode::FullDuplex, BodyMode::None));
    call.close();
    let (answers, how) = call.rest().await;
    assert_eq!(lines(&answers), ["request_headers"]);
    assert_eq!(how.code(), Code::Cancelled);
    // The client left: that is no failure.
    assert_eq!(*lock(&ended), [End::Cancelled]);
    assert!(call.stats.failures().is_empty());
}

/// Wants nothing more once it has seen the response's headers.
struct DoneAtResponse;

impl Processor for DoneAtResponse {
    type State = ();

    async fn response_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(HeadersReply::unchanged().done())
    }

    async fn response_body(&self, _: &Exchange<()>, _: Body) -> Reply<BodyReply> {
        panic!("done() was said")
    }
}

#[tokio::test]
async fn done_at_an_early_response_does_not_cut_the_request() {
    let mut call = Call::new(DoneAtResponse);
    call.send(opened(BodyMode::FullDuplex, BodyMode::Streamed));
    call.send(request_body("abc", false));
    call.send(response_headers(OK));
    call.send(response_body("answer", true));
    call.send(request_body("def", true));
    call.close();
    let (answers, how) = call.rest().await;
    let of = |phase| {
        lines(&answers)
            .into_iter()
            .filter(|line| line.starts_with(phase))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("request"),
        [
            "request_headers",
            "request_body streamed \"abc\"",
            "request_body streamed \"def\" end"
        ]
    );
    assert_eq!(of("response"), ["response_headers", "response_body"]);
    assert_eq!(how.code(), Code::Ok);
    // Where the request is through, the call ends at once.
    let mut call = Call::new(DoneAtResponse);
    call.send(opened(BodyMode::FullDuplex, BodyMode::Streamed).ends());
    call.send(response_headers(OK));
    let (answers, how) = call.rest().await;
    assert_eq!(lines(&answers), ["request_headers", "response_headers"]);
    assert_eq!(how.code(), Code::Ok);
}

#[tokio::test]
async fn a_method_that_panics_before_it_returns_its_future_is_caught_as_well() {
    struct Eager;
    impl Processor for Eager {
        type State = ();
        #[allow(
            clippy::manual_async_fn,
            unreachable_code,
            reason = "the panic is to be outside of the future"
        )]
        fn request_headers(
            &self,
            _: &Exchange<()>,
            _: &Headers,
        ) -> impl Future<Output = Reply<HeadersReply>> + Send {
            panic!("a bug");
            async { Ok(HeadersReply::unchanged()) }
        }
    }
    let mut call = Call::new(Eager);
    call.send(opened(BodyMode::None, BodyMode::None));
    assert_eq!(call.next().await.unwrap_err().code(), Code::Internal);
    assert_eq!(call.stats.panics(), 1);
}

#[tokio::test]
async fn an_override_does_not_change_how_a_body_that_has_begun_is_answered() {
    struct Late;
    impl Processor for Late {
        type State = ();
        async fn response_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
            Ok(HeadersReply::unchanged().mode(ModeOverride {
                request_body: Some(BodyMode::FullDuplex),
                ..ModeOverride::default()
            }))
        }
    }
    let mut call = Call::new(Late);
    call.send(opened(BodyMode::Streamed, BodyMode::None));
    call.send(request_body("ab", false));
    call.send(response_headers(OK).ends());
    call.send(request_body("cd", true));
    call.close();
    let (answers, _) = call.rest().await;
    let bodies = lines(&answers)
        .into_iter()
        .filter(|line| line.starts_with("request_body"));
    assert_eq!(bodies.collect::<Vec<_>>(), ["request_body", "request_body"]);
}

#[tokio::test(start_paused = true)]
async fn a_collect_that_fails_or_is_given_up_loses_nothing() {
    for mode in [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex] {
        let too_large = handler(async |_, mut body: Body| {
            assert!(body.collect_up_to(3, OnTooLarge::Fail).await.is_err());
            Ok(BodyReply::unchanged())
        });
        let expected: &[&str] = match mode {
            BodyMode::Buffered => &["request_body"],
            BodyMode::Streamed => &["request_body clear", "request_body body \"abcd\"", "request_body"],
            _ => &[
                "request_body streamed \"abcd\"",
                "request_body streamed \"ef\" end",
            ],
        };
        assert_eq!(
            answers(too_large, mode).await,
            (expected.iter().map(ToString::to_string).collect(), Code::Ok),
            "{mode:?}"
        );
    }
    let mut call = Call::new(handler(async |_, mut body: Body| {
        let timeout = tokio::time::timeout(Duration::from_secs(1), body.collect());
        assert!(timeout.await.is_err());
        Ok(BodyReply::unchanged())
    }));
    call.send(opened(BodyMode::FullDuplex, BodyMode::None));
    call.send(request_body("abc", false));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    assert_eq!(
        line(&call.next().await.unwrap().unwrap()),
        "request_body streamed \"abc\""
    );
    call.send(request_body("def", true));
    assert_eq!(
        line(&call.next().await.unwrap().unwrap()),
        "request_body streamed \"def\" end"
    );
}

#[tokio::test]
async fn a_collect_that_finds_nothing_more_does_not_clear_what_was_inspected() {
    for mode in [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex] {
        let both = handler(async |_, mut body: Body| {
            body.inspect().await?;
            assert_eq!(body.collect().await?, "");
            Ok(BodyReply::unchanged())
        });
        let (answers, _) = messages(both, [opened(mode, BodyMode::None), request_body("abc", true)]).await;
        let expected = match mode {
            BodyMode::FullDuplex => "request_body streamed \"abc\" end",
            _ => "request_body",
        };
        assert_eq!(lines(&answers)[1..], [expected], "{mode:?}");
    }
}

#[tokio::test]
async fn what_is_inspected_does_not_overtake_what_was_collected() {
    for mode in [BodyMode::Streamed, BodyMode::FullDuplex] {
        let (_, code) = answers(
            handler(async |_, mut body: Body| {
                assert!(body.collect_up_to(1, OnTooLarge::Fail).await.is_err());
                while body.inspect().await?.is_some() {}
                Ok(BodyReply::unchanged())
            }),
            mode,
        )
        .await;
        assert_eq!(code, Code::Internal, "{mode:?}");
    }
}

#[tokio::test]
async fn halves_that_outlive_their_handler_neither_read_nor_write() {
    let late = Arc::new(Mutex::new(None));
    let kept = late.clone();
    let mut call = Call::new(handler(move |_, body: Body| {
        *lock(&kept) = Some(body.split());
        std::future::ready(Ok(BodyReply::written()))
    }));
    call.send(opened(BodyMode::FullDuplex, BodyMode::None));
    call.send(request_body("abc", false));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    assert_eq!(call.now().await.unwrap(), None);
    let (mut reader, mut writer) = lock(&late).take().unwrap();
    assert!(reader.next().await.is_err());
    assert!(writer.send("lost").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_gave_up_waiting_is_not_waited_for_without_end() {
    let mut call = Call::new(handler(async |_, mut body: Body| {
        body.inspect().await?;
        let waits = tokio::time::timeout(Duration::from_secs(1), body.inspect());
        assert!(waits.await.is_err());
        pending().await
    }));
    call.send(opened(BodyMode::FullDuplex, BodyMode::None));
    call.send(request_body("abc", false));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    assert_eq!(
        line(&call.next().await.unwrap().unwrap()),
        "request_body streamed \"abc\""
    );
    let waited = tokio::time::timeout(Duration::from_secs(2), call.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    call.send(request_body("def", false));
    let began = tokio::time::Instant::now();
    assert_eq!(call.rest().await.1.code(), Code::Internal);
    assert_eq!(began.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn what_is_collected_and_what_is_written_take_memory_together() {
    let piece = 40 << 10;
    let both = handler(move |_, mut body: Body| async move {
        body.collect().await?;
        let (_, mut writer) = body.split();
        writer.send(vec![b'x'; piece]).await?;
        Ok(BodyReply::written())
    });
    let mut call = Call::with(both, |settings| {
        settings.memory = crate::body::BodyMemory::new(64 << 10);
    });
    call.send(opened(BodyMode::Buffered, BodyMode::None));
    call.send(request_body(vec![b'a'; piece], true));
    assert_eq!(lines(&call.rest().await.0), ["request_headers", "immediate 503"]);
}

#[tokio::test]
async fn an_empty_chunk_is_nothing_that_could_be_lost() {
    for mode in [BodyMode::Buffered, BodyMode::Streamed, BodyMode::FullDuplex] {
        let reads = handler(async |_, body: Body| {
            let (mut reader, _) = body.split();
            while reader.next().await?.is_some() {}
            Ok(BodyReply::unchanged())
        });
        let (_, ended) = messages(reads, [opened(mode, BodyMode::None), request_body("", true)]).await;
        assert_eq!(ended.code(), Code::Ok, "{mode:?}");
    }
}

/// A handler that gives a collect up after a second, and lets everything pass.
fn gives_up() -> impl Processor {
    handler(async |_, mut body: Body| {
        let timeout = tokio::time::timeout(Duration::from_secs(1), body.collect());
        assert!(timeout.await.is_err());
        Ok(BodyReply::unchanged())
    })
}

#[tokio::test(start_paused = true)]
async fn a_collect_that_is_given_up_goes_out_before_the_next_chunk_in_one_to_one() {
    let mut call = Call::new(gives_up());
    call.send(opened(BodyMode::Streamed, BodyMode::None));
    call.send(request_body("abc", false));
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_headers");
    assert_eq!(line(&call.next().await.unwrap().unwrap()), "request_body clear");
    let waiting = tokio::time::timeout(Duration::from_secs(2), call.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    call.send(request_body("def", true));
    assert_eq!(
        line(&call.next().await.unwrap().unwrap()),
        "request_body body \"abcdef\""
    );
}

#[tokio::test]
async fn bytes_after_the_end_of_a_body_do_not_pass_unprocessed() {
    for mode in [
        BodyMode::Buffered,
        BodyMode::BufferedPartial,
        BodyMode::Streamed,
        BodyMode::FullDuplex,
    ] {
        let all = handler(async |_, mut body: Body| Ok(BodyReply::replace(body.collect().await?)));
        let script = [
            opened(mode, BodyMode::None),
            request_body("abc", true),
            request_body("secret", true),
        ];
        let (answers, ended) = messages(all, script).await;
        assert_eq!(answers.len(), 2, "{mode:?}");
        assert_eq!(ended.code(), Code::FailedPrecondition, "{mode:?}");
    }
}

#[tokio::test]
async fn what_replaces_a_body_is_bounded() {
    for mode in [BodyMode::Buffered, BodyMode::Streamed] {
        let large = handler(async |_, _: Body| Ok(BodyReply::replace(vec![0; 5 << 20])));
        let (_, ended) = messages(large, [opened(mode, BodyMode::None), request_body("abc", true)]).await;
        assert_eq!(ended.code(), Code::Internal, "{mode:?}");
    }
}
