//! What these tests share: answers in a form that is easy to compare.

use crate::testing::headers_set;
use crate::wire::body_mutation::Mutation;
use crate::wire::common_response::ResponseStatus;
use crate::wire::processing_response::Response;
use crate::wire::{CommonResponse, ProcessingResponse};

/// An answer as a line: `request_headers set x=1`, `response_body streamed "abc" end`, `immediate 403`.
pub(crate) fn line(answer: &ProcessingResponse) -> String {
    let mut words = Vec::new();
    let phase = match &answer.response {
        Some(Response::RequestHeaders(headers)) => words_of("request_headers", &headers.response, &mut words),
        Some(Response::ResponseHeaders(headers)) => {
            words_of("response_headers", &headers.response, &mut words)
        }
        Some(Response::RequestBody(body)) => words_of("request_body", &body.response, &mut words),
        Some(Response::ResponseBody(body)) => words_of("response_body", &body.response, &mut words),
        Some(Response::RequestTrailers(_)) => "request_trailers".to_owned(),
        Some(Response::ResponseTrailers(_)) => "response_trailers".to_owned(),
        Some(Response::ImmediateResponse(answer)) => {
            format!(
                "immediate {}",
                answer.status.as_ref().map_or(0, |status| status.code)
            )
        }
        None => "nothing".to_owned(),
    };
    let mut all = vec![phase];
    for (name, value) in headers_set(answer) {
        all.push(format!("{name}={value}"));
    }
    all.extend(words);
    if let Some(mode) = &answer.mode_override {
        all.push(format!(
            "override {}/{}",
            mode.request_body_mode, mode.response_body_mode
        ));
    }
    if let Some(time) = &answer.override_message_timeout {
        all.push(format!("time {}.{:03}", time.seconds, time.nanos / 1_000_000));
    }
    if let Some(metadata) = &answer.dynamic_metadata {
        all.push(format!("metadata {}", metadata.fields.len()));
    }
    all.join(" ")
}

fn words_of(phase: &str, common: &Option<CommonResponse>, words: &mut Vec<String>) -> String {
    if let Some(common) = common {
        if let Some(mutation) = &common.header_mutation {
            for name in &mutation.remove_headers {
                words.push(format!("-{}", String::from_utf8_lossy(name)));
            }
        }
        if common.status == i32::from(ResponseStatus::ContinueAndReplace) {
            words.push("and-replace".to_owned());
        }
        if common.clear_route_cache {
            words.push("clear-route".to_owned());
        }
        match common
            .body_mutation
            .as_ref()
            .and_then(|mutation| mutation.mutation.as_ref())
        {
            Some(Mutation::Body(body)) => words.push(format!("body {}", shown(body))),
            Some(Mutation::ClearBody(_)) => words.push("clear".to_owned()),
            Some(Mutation::StreamedResponse(part)) => {
                words.push(format!("streamed {}", shown(&part.body)));
                if part.end_of_stream {
                    words.push("end".to_owned());
                }
            }
            None => {}
        }
    }
    phase.to_owned()
}

fn shown(body: &[u8]) -> String {
    if body.len() > 40 {
        format!("{} bytes", body.len())
    } else {
        format!("{:?}", String::from_utf8_lossy(body))
    }
}

pub(crate) fn lines(answers: &[ProcessingResponse]) -> Vec<String> {
    answers.iter().map(line).collect()
}
