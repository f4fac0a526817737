//! One handler, every mode: the same bytes come out.

use crate::driver::tests::support::lines;
use crate::modes::{BodyMode, Modes};
use crate::processor::Processor;
use crate::reply::{BodyReply, HeadersReply};
use crate::testing::{Call, messages, request_body, request_headers, request_trailers, with_modes};
use crate::wire::ProcessingRequest;
use crate::{Body, Exchange, Headers, Needs, Reply};

const POST: [(&str, &str); 2] = [(":method", "POST"), (":path", "/")];

fn opened(mode: BodyMode) -> ProcessingRequest {
    with_modes(
        request_headers(POST),
        Modes {
            request: mode,
            response: BodyMode::None,
        },
    )
}

/// How the handler treats the body.
#[derive(Clone, Copy, Debug)]
enum How {
    Collect,
    Replace,
    Inspect,
    Upper,
    OneForTwo,
    ReturnAtOnce,
    Clear,
    AfterBody,
}

struct Handler(How);

impl Processor for Handler {
    type State = ();

    async fn request_headers(&self, _: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        Ok(if matches!(self.0, How::AfterBody) {
            reply.set("x-headers", "1").after_body()
        } else {
            reply
        })
    }

    async fn request_body(&self, _: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        match self.0 {
            How::Collect => {
                body.collect().await?;
                Ok(BodyReply::unchanged())
            }
            How::Replace => {
                let all = body.collect().await?;
                Ok(BodyReply::replace(all.to_ascii_uppercase()))
            }
            How::Inspect => {
                let mut bytes = 0;
                while let Some(chunk) = body.inspect().await? {
                    bytes += chunk.len();
                }
                assert_eq!(bytes, 6);
                Ok(BodyReply::unchanged())
            }
            How::Upper => {
                let (mut reader, mut writer) = body.split();
                while let Some(chunk) = reader.next().await? {
                    writer.send(chunk.to_ascii_uppercase()).await?;
                }
                Ok(BodyReply::written())
            }
            How::OneForTwo => {
                let (mut reader, mut writer) = body.split();
                while let Some(one) = reader.next().await? {
                    let two = reader.next().await?.unwrap_or_default();
                    writer.send([&one[..], &two[..]].concat()).await?;
                }
                Ok(BodyReply::written())
            }
            How::ReturnAtOnce => Ok(BodyReply::unchanged()),
            How::Clear => Ok(BodyReply::clear()),
            How::AfterBody => {
                let all = body.collect().await?;
                Ok(BodyReply::unchanged().set("x-bytes", all.len().to_string()))
            }
        }
    }
}

async fn answers(how: How, mode: BodyMode, parts: &[&str]) -> Vec<String> {
    let mut script = vec![opened(mode)];
    let last = parts.len() - 1;
    for (index, part) in parts.iter().enumerate() {
        script.push(request_body(part.to_string(), index == last));
    }
    let (answers, ended) = messages(Handler(how), script).await;
    assert_eq!(ended.code(), tonic::Code::Ok, "{how:?} {mode:?}");
    lines(&answers)[1..]
        .iter()
        .map(|line| line.trim_start_matches("request_body").trim().to_owned())
        .collect()
}

#[tokio::test]
async fn buffered() {
    for (how, expected) in [
        (How::Collect, ""),
        (How::Replace, "body \"ABCDEF\""),
        (How::Inspect, ""),
        (How::Upper, "body \"ABCDEF\""),
        (How::OneForTwo, "body \"abcdef\""),
        (How::ReturnAtOnce, ""),
        (How::Clear, "clear"),
    ] {
        assert_eq!(
            answers(how, BodyMode::Buffered, &["abcdef"]).await,
            [expected],
            "{how:?}"
        );
    }
}

#[tokio::test]
async fn one_to_one() {
    let parts = ["ab", "cd", "ef"];
    for (how, expected) in [
        (How::Collect, ["clear", "clear", "body \"abcdef\""]),
        (How::Replace, ["clear", "clear", "body \"ABCDEF\""]),
        (How::Inspect, ["", "", ""]),
        (How::Upper, ["body \"AB\"", "body \"CD\"", "body \"EF\""]),
        (How::OneForTwo, ["clear", "body \"abcd\"", "body \"ef\""]),
        (How::ReturnAtOnce, ["", "", ""]),
        (How::Clear, ["clear", "clear", "clear"]),
    ] {
        assert_eq!(
            answers(how, BodyMode::Streamed, &parts).await,
            expected,
            "{how:?}"
        );
    }
    // HTTP/1 bodies end with an empty chunk.
    assert_eq!(
        answers(How::Collect, BodyMode::Streamed, &["abc", "def", ""]).await,
        ["clear", "clear", "body \"abcdef\""]
    );
    assert_eq!(
        answers(How::Inspect, BodyMode::Streamed, &["abcdef", ""]).await,
        ["", ""]
    );
}

#[tokio::test]
async fn full_duplex() {
    let parts = ["ab", "cd", "ef"];
    for (how, expected) in [
        (How::Collect, &["streamed \"abcdef\" end"][..]),
        (How::Replace, &["streamed \"ABCDEF\" end"]),
        (
            How::Inspect,
            &["streamed \"ab\"", "streamed \"cd\"", "streamed \"ef\" end"],
        ),
        (
            How::Upper,
            &[
                "streamed \"AB\"",
                "streamed \"CD\"",
                "streamed \"EF\"",
                "streamed \"\" end",
            ],
        ),
        (
            How::OneForTwo,
            &["streamed \"abcd\"", "streamed \"ef\"", "streamed \"\" end"],
        ),
        (
            How::ReturnAtOnce,
            &["streamed \"ab\"", "streamed \"cd\"", "streamed \"ef\" end"],
        ),
        (How::Clear, &["streamed \"\" end"]),
    ] {
        let lines = answers(how, BodyMode::FullDuplex, &parts).await;
        // Whether the last piece carries the end or an empty one does is a matter of timing.
        assert_eq!(
            joined(&lines),
            joined(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "{how:?}"
        );
        assert_eq!(
            lines.iter().filter(|line| line.ends_with(" end")).count(),
            1,
            "{how:?}: {lines:?}"
        );
        assert!(lines.last().unwrap().ends_with(" end"), "{how:?}: {lines:?}");
    }
}

/// The bytes of streamed answers.
fn joined(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| line.split('"').nth(1).unwrap_or_default())
        .collect()
}

#[tokio::test]
async fn headers_wait_for_the_body_in_full_duplex_and_gain_by_it() {
    let mut call = Call::new(Handler(How::AfterBody));
    call.send(opened(BodyMode::FullDuplex));
    call.send(request_body("abc", false));
    assert_eq!(call.now().await.unwrap(), None);
    call.send(request_body("def", true));
    call.close();
    let (answers, _) = call.rest().await;
    assert_eq!(
        lines(&answers),
        [
            "request_headers x-bytes=6 x-headers=1",
            "request_body streamed \"abcdef\" end"
        ]
    );
    let (answers, _) = messages(
        Handler(How::AfterBody),
        [opened(BodyMode::Buffered), request_body("abc", true)],
    )
    .await;
    assert_eq!(
        lines(&answers),
        ["request_headers x-headers=1", "request_body x-bytes=3"]
    );
    let (_, ended) = messages(Handler(How::AfterBody), [opened(BodyMode::Streamed)]).await;
    assert_eq!(ended.code(), tonic::Code::Internal);
}

#[tokio::test]
async fn trailers_end_a_body_and_are_answered_after_it() {
    let script = |mode| {
        [
            opened(mode),
            request_body("abc", false),
            request_body("def", false),
            request_trailers([("t", "1")]),
        ]
    };
    let (answers, ended) = messages(Handler(How::Collect), script(BodyMode::FullDuplex)).await;
    assert_eq!(
        lines(&answers),
        [
            "request_headers",
            "request_body streamed \"abcdef\"",
            "request_trailers"
        ]
    );
    assert_eq!(ended.code(), tonic::Code::Ok);
    let (answers, _) = messages(Handler(How::Inspect), script(BodyMode::Streamed)).await;
    assert_eq!(
        lines(&answers),
        [
            "request_headers",
            "request_body",
            "request_body",
            "request_trailers"
        ]
    );
    // In 1:1 there is no chunk left for what was gathered: an error, not a body that is lost.
    let (answers, ended) = messages(Handler(How::Collect), script(BodyMode::Streamed)).await;
    assert_eq!(
        lines(&answers),
        ["request_headers", "request_body clear", "request_body clear"]
    );
    assert_eq!(ended.code(), tonic::Code::Internal);
}

#[tokio::test]
async fn large_writes_go_in_pieces_and_wait_for_envoy() {
    struct Large;
    impl Processor for Large {
        type State = ();
        async fn request_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
            let (mut reader, mut writer) = body.split();
            while reader.next().await?.is_some() {}
            writer.send(vec![b'x'; 200_000]).await?;
            Ok(BodyReply::written())
        }
    }
    let (answers, _) = messages(Large, [opened(BodyMode::FullDuplex), request_body("a", true)]).await;
    let lines = lines(&answers);
    assert_eq!(
        &lines[1..],
        [
            "request_body streamed 65536 bytes",
            "request_body streamed 65536 bytes",
            "request_body streamed 65536 bytes",
            "request_body streamed 3392 bytes end",
        ]
    );
}

#[tokio::test]
async fn bounds_hold() {
    let mut call = Call::new(Handler(How::Collect));
    call.send(opened(BodyMode::FullDuplex));
    for _ in 0..20 {
        call.send(request_body(vec![b'a'; 64 << 10], false));
    }
    let (answers, _) = call.rest().await;
    assert_eq!(lines(&answers)[1..], ["immediate 413"]);
    let small = |settings: &mut crate::driver::settings::Settings| {
        settings.memory = crate::body::BodyMemory::new(64 << 10)
    };
    let mut call = Call::with(Handler(How::Collect), small);
    call.send(opened(BodyMode::FullDuplex));
    for _ in 0..3 {
        call.send(request_body(vec![b'a'; 32 << 10], false));
    }
    let (answers, _) = call.rest().await;
    assert_eq!(lines(&answers)[1..], ["immediate 503"]);
    assert_eq!(call.memory.used(), 0);
}

#[tokio::test]
async fn modes_that_a_processor_cannot_work_in_are_refused() {
    struct Whole;
    impl Processor for Whole {
        type State = ();
        fn needs(&self) -> Needs {
            Needs {
                request: crate::Accepts::Only(&[BodyMode::Buffered]),
                ..Needs::default()
            }
        }
    }
    for (mode, code) in [
        (BodyMode::Buffered, tonic::Code::Ok),
        (BodyMode::None, tonic::Code::Ok),
        (BodyMode::Streamed, tonic::Code::FailedPrecondition),
        (BodyMode::FullDuplex, tonic::Code::FailedPrecondition),
    ] {
        let (_, ended) = messages(Whole, [opened(mode)]).await;
        assert_eq!(ended.code(), code, "{mode:?}");
    }
    let mut unknown = opened(BodyMode::None);
    unknown.protocol_config.as_mut().unwrap().request_body_mode = 5;
    let (_, ended) = messages(Whole, [unknown]).await;
    assert_eq!(ended.code(), tonic::Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_hangs_after_the_end_of_its_body_is_over_its_time() {
    struct Hangs;
    impl Processor for Hangs {
        type State = ();
        async fn request_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
            let (mut reader, _writer) = body.split();
            while reader.next().await?.is_some() {}
            std::future::pending().await
        }
    }
    for mode in [BodyMode::FullDuplex, BodyMode::Streamed] {
        let mut call = Call::new(Hangs);
        call.send(opened(mode));
        call.send(request_body("a", false));
        assert!(call.next().await.unwrap().is_some());
        while call.now().await.unwrap().is_some() {}
        // The handler waits for a chunk when the end comes.
        call.send(request_body("", true));
        let ended = tokio::time::timeout(std::time::Duration::from_secs(600), call.rest()).await;
        assert_eq!(ended.unwrap().1.code(), tonic::Code::Internal, "{mode:?}");
    }
}
