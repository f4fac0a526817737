//! Answers of processors that are not ours, right and wrong ones.

use bytes::Bytes;
use tonic::Code;

use super::{bytes, canned, kinds};
use crate::modes::{BodyMode, Modes};
use crate::testing::{Envoy, Got, ViolationKind};
use crate::wire::body_mutation::Mutation;
use crate::wire::processing_response::Response;
use crate::wire::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeaderValue, HeaderValueOption,
    HeadersResponse, ProcessingResponse, StreamedBodyResponse, TrailersResponse,
};

fn answer(response: Response) -> ProcessingResponse {
    ProcessingResponse {
        response: Some(response),
        ..Default::default()
    }
}

fn headers(common: Option<CommonResponse>) -> ProcessingResponse {
    answer(Response::RequestHeaders(HeadersResponse { response: common }))
}

fn body(mutation: Option<Mutation>) -> ProcessingResponse {
    let response = mutation.map(|mutation| CommonResponse {
        body_mutation: Some(BodyMutation {
            mutation: Some(mutation),
        }),
        ..Default::default()
    });
    answer(Response::RequestBody(BodyResponse { response }))
}

fn piece(body_of: &'static str, end_of_stream: bool) -> ProcessingResponse {
    body(Some(Mutation::StreamedResponse(StreamedBodyResponse {
        body: Bytes::from_static(body_of.as_bytes()),
        end_of_stream,
    })))
}

fn set(key: &'static str, value: &'static str, raw_value: &'static str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
            raw_value: Bytes::from_static(raw_value.as_bytes()),
        }),
        ..Default::default()
    }
}

fn changes(set_headers: Vec<HeaderValueOption>, remove: &[&'static str]) -> ProcessingResponse {
    headers(Some(CommonResponse {
        header_mutation: Some(HeaderMutation {
            set_headers,
            remove_headers: remove
                .iter()
                .map(|name| Bytes::from_static(name.as_bytes()))
                .collect(),
        }),
        ..Default::default()
    }))
}

/// Only the request's body is shown, so that the response needs no answers.
async fn got(envoy: Envoy, request: BodyMode) -> Got {
    let response_headers = crate::ModeOverride {
        response_headers: Some(false),
        ..Default::default()
    };
    let response = BodyMode::None;
    envoy
        .modes_of(Modes { request, response })
        .show(response_headers)
        .await
}

#[tokio::test]
async fn headers_are_changed_as_1_40_changes_them() {
    let appended = HeaderValueOption {
        append: Some(true),
        ..set("x-more", "", "2")
    };
    let by_action = |action| HeaderValueOption {
        append_action: action,
        ..set("x-action", "", "only")
    };
    let answer = changes(
        vec![
            set("x-more", "", "1"),
            appended,
            by_action(0),
            by_action(1),
            by_action(3),
            set("x-blank", "this is not read", ""),
            set("host", "", "elsewhere"),
            set("x-envoy-retry-on", "", "5xx"),
            set(":path", "", "/b"),
            set("x-removed", "", "back"),
        ],
        &[":method", "x-removed", "content-type"],
    );
    let got = got(canned([vec![answer]], None), BodyMode::None).await;
    let seen = got.upstream();
    assert_eq!(seen.header_values("x-more").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(seen.header_values("x-action").collect::<Vec<_>>(), [b"only"]);
    assert_eq!(seen.header("x-blank"), Some(""));
    assert_eq!(
        seen.header("x-removed"),
        Some("back"),
        "what is removed is removed before others are set"
    );
    assert_eq!(
        (seen.header(":path"), seen.header(":method")),
        (Some("/b"), Some("POST"))
    );
    assert_eq!(got.rejected(), [":method", "host", "x-envoy-retry-on"]);
    assert!(got.violations().is_empty());
}

#[tokio::test]
async fn a_reply_with_one_bad_header_is_refused_as_a_whole() {
    for bad in [
        set("bad name", "", "1"),
        set("x-a", "", "line\nbreak"),
        set("x-a", "1", "1"),
    ] {
        let got = got(canned([vec![changes(vec![bad], &[])]], None), BodyMode::None).await;
        assert_eq!(kinds(got.violations()), [ViolationKind::Refused]);
        assert_eq!((got.client().status(), got.reached_upstream()), (500, false));
    }
}

#[tokio::test]
async fn a_clean_end_without_an_answer_lets_the_request_pass_unprocessed() {
    for mode in [
        BodyMode::None,
        BodyMode::Buffered,
        BodyMode::Streamed,
        BodyMode::FullDuplex,
    ] {
        let got = got(canned([vec![]], Some(Code::Ok)), mode).await;
        assert_eq!(kinds(got.violations()), [ViolationKind::Unprocessed], "{mode:?}");
        assert_eq!(got.client().status(), 200);
        assert!(got.upstream().body() == &bytes(), "{mode:?}");
    }
    let answers = [vec![headers(None)], vec![]];
    let got = got(canned(answers, Some(Code::Ok)), BodyMode::Buffered).await;
    assert_eq!(kinds(got.violations()), [ViolationKind::Unprocessed]);
}

#[tokio::test]
async fn a_clean_end_in_full_duplex_truncates_without_an_error() {
    let answers = [vec![headers(None)], vec![piece("abc", false)]];
    let got = got(canned(answers, Some(Code::Ok)), BodyMode::FullDuplex).await;
    assert_eq!(kinds(got.violations()), [ViolationKind::LostBytes]);
    assert_eq!(
        (got.client().status(), got.upstream().text().as_str()),
        (200, "abc")
    );
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_hangs_in_full_duplex_hangs_until_the_stream_is_idle_too_long() {
    let began = tokio::time::Instant::now();
    let got = got(canned([vec![headers(None)], vec![]], None), BodyMode::FullDuplex).await;
    assert_eq!(kinds(got.violations()), [ViolationKind::Hung]);
    assert_eq!(got.client().status(), 504);
    assert_eq!(began.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn answers_to_nothing_and_of_the_wrong_kind_are_spurious() {
    let trailers = || answer(Response::RequestTrailers(TrailersResponse::default()));
    let cases = [
        (BodyMode::None, vec![vec![body(None)]]),
        (BodyMode::None, vec![vec![trailers()]]),
        (BodyMode::Buffered, vec![vec![headers(None)], vec![headers(None)]]),
        (BodyMode::FullDuplex, vec![vec![piece("early", false)]]),
        (BodyMode::FullDuplex, vec![vec![headers(None), headers(None)]]),
        (BodyMode::FullDuplex, vec![vec![ProcessingResponse::default()]]),
        (
            BodyMode::Streamed,
            vec![
                vec![headers(None)],
                vec![body(None), body(None), body(None), body(None)],
                vec![],
                vec![],
            ],
        ),
    ];
    for (mode, answers) in cases {
        let shown = format!("{mode:?} {}", answers.len());
        let got = got(canned(answers, None), mode).await;
        assert_eq!(kinds(got.violations()), [ViolationKind::Spurious], "{shown}");
    }
}

#[tokio::test]
async fn modes_have_their_kind_of_body_answers() {
    let got_ = got(
        canned([vec![headers(None)], vec![piece("abc", true)]], None),
        BodyMode::Buffered,
    )
    .await;
    assert_eq!(
        (kinds(got_.violations()), got_.client().status()),
        (vec![ViolationKind::Order], 500)
    );
    let replaced = body(Some(Mutation::Body(Bytes::from_static(b"abc"))));
    let got_ = got(
        canned([vec![headers(None)], vec![replaced]], None),
        BodyMode::FullDuplex,
    )
    .await;
    assert_eq!(
        (kinds(got_.violations()), got_.client().status()),
        (vec![ViolationKind::Order], 500)
    );
    let ends_early = [vec![headers(None)], vec![piece("abc", true)]];
    let got_ = got(canned(ends_early, None), BodyMode::FullDuplex).await;
    assert_eq!(kinds(got_.violations()), [ViolationKind::Order]);
}

#[tokio::test]
async fn a_replaced_body_needs_its_length_in_buffered() {
    let replaced = || body(Some(Mutation::Body(Bytes::from_static(b"abc"))));
    let got_ = got(
        canned([vec![headers(None)], vec![replaced()]], None),
        BodyMode::Buffered,
    )
    .await;
    assert_eq!(
        (kinds(got_.violations()), got_.client().status()),
        (vec![ViolationKind::Refused], 500)
    );
    let removed = changes(vec![], &["content-length"]);
    let got_ = got(
        canned([vec![removed], vec![replaced()]], None),
        BodyMode::Buffered,
    )
    .await;
    assert_eq!(
        (got_.violations().len(), got_.upstream().text().as_str()),
        (0, "abc")
    );
}

#[tokio::test]
async fn headers_that_have_gone_on_cannot_be_changed() {
    let mut late = piece("abc", true);
    if let Some(Response::RequestBody(answer)) = &mut late.response
        && let Some(common) = &mut answer.response
    {
        common.header_mutation = Some(HeaderMutation::default());
    }
    let answers = [vec![headers(None)], vec![], vec![], vec![late]];
    let got = got(canned(answers, None), BodyMode::FullDuplex).await;
    assert_eq!(kinds(got.violations()), [ViolationKind::LostHeaders]);
}
