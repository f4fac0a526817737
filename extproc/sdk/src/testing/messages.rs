//! Messages as Envoy sends them, and what a processor answers to a list of them.

use bytes::Bytes;
use std::collections::BTreeMap;

use crate::modes::Modes;
use crate::processor::Processor;
use crate::testing::call::{Call, Ended};
use crate::wire::processing_request::Request;
use crate::wire::processing_response::Response;
use crate::wire::{
    HeaderMap, HeaderMutation, HeaderValue, HttpBody, HttpHeaders, HttpTrailers, ProcessingRequest,
    ProcessingResponse, ProtocolConfiguration,
};

fn map<N: AsRef<str>, V: AsRef<[u8]>>(headers: impl IntoIterator<Item = (N, V)>) -> HeaderMap {
    let headers = headers
        .into_iter()
        .map(|(name, value)| HeaderValue {
            key: Bytes::copy_from_slice(name.as_ref().as_bytes()),
            value: Bytes::new(),
            raw_value: Bytes::copy_from_slice(value.as_ref()),
        })
        .collect();
    HeaderMap { headers }
}

fn message(request: Request) -> ProcessingRequest {
    ProcessingRequest {
        request: Some(request),
        ..Default::default()
    }
}

/// The headers of a request, of which more follows.
pub fn request_headers<N: AsRef<str>, V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = (N, V)>,
) -> ProcessingRequest {
    message(Request::RequestHeaders(HttpHeaders {
        headers: Some(map(headers)),
        end_of_stream: false,
    }))
}

/// The headers of a response, of which more follows.
pub fn response_headers<N: AsRef<str>, V: AsRef<[u8]>>(
    headers: impl IntoIterator<Item = (N, V)>,
) -> ProcessingRequest {
    message(Request::ResponseHeaders(HttpHeaders {
        headers: Some(map(headers)),
        end_of_stream: false,
    }))
}

/// A part of a body, of either direction.
pub fn body(content: impl Into<Bytes>, end_of_stream: bool) -> HttpBody {
    HttpBody {
        body: content.into(),
        end_of_stream,
    }
}

/// A chunk of a request's body; `ends` where it is the last and no trailers follow.
pub fn request_body(content: impl Into<Bytes>, ends: bool) -> ProcessingRequest {
    message(Request::RequestBody(body(content, ends)))
}

/// A chunk of a response's body; `ends` where it is the last and no trailers follow.
pub fn response_body(content: impl Into<Bytes>, ends: bool) -> ProcessingRequest {
    message(Request::ResponseBody(body(content, ends)))
}

/// The trailers of a request.
pub fn request_trailers<N: AsRef<str>, V: AsRef<[u8]>>(
    trailers: impl IntoIterator<Item = (N, V)>,
) -> ProcessingRequest {
    message(Request::RequestTrailers(HttpTrailers {
        trailers: Some(map(trailers)),
    }))
}

/// The trailers of a response.
pub fn response_trailers<N: AsRef<str>, V: AsRef<[u8]>>(
    trailers: impl IntoIterator<Item = (N, V)>,
) -> ProcessingRequest {
    message(Request::ResponseTrailers(HttpTrailers {
        trailers: Some(map(trailers)),
    }))
}

/// What a first message says beside its phase.
pub trait Modal {
    /// The last message of its direction: nothing follows these headers.
    #[must_use]
    fn ends(self) -> Self;
}

impl Modal for ProcessingRequest {
    fn ends(mut self) -> Self {
        match &mut self.request {
            Some(Request::RequestHeaders(headers) | Request::ResponseHeaders(headers)) => {
                headers.end_of_stream = true
            }
            Some(Request::RequestBody(body) | Request::ResponseBody(body)) => body.end_of_stream = true,
            Some(Request::RequestTrailers(_) | Request::ResponseTrailers(_)) | None => {}
        }
        self
    }
}

/// The same message, with the body modes that Envoy tells in the first one of a call.
#[must_use]
pub fn with_modes(mut message: ProcessingRequest, modes: Modes) -> ProcessingRequest {
    message.protocol_config = Some(ProtocolConfiguration {
        request_body_mode: modes.request.to_wire().into(),
        response_body_mode: modes.response.to_wire().into(),
        send_body_without_waiting_for_header_response: false,
    });
    message
}

/// What a processor answers to these messages, sent one after the other without waiting, and how the call ended.
pub async fn messages<P: Processor>(
    processor: P,
    messages: impl IntoIterator<Item = ProcessingRequest>,
) -> (Vec<ProcessingResponse>, Ended) {
    let mut call = Call::new(processor);
    for message in messages {
        call.send(message);
    }
    call.close();
    call.rest().await
}

/// The headers that an answer sets, by name; of an immediate response those of it.
#[must_use]
pub fn headers_set(answer: &ProcessingResponse) -> BTreeMap<String, String> {
    let mutation: Option<&HeaderMutation> = match &answer.response {
        Some(Response::RequestHeaders(headers) | Response::ResponseHeaders(headers)) => headers
            .response
            .as_ref()
            .and_then(|common| common.header_mutation.as_ref()),
        Some(Response::RequestBody(body) | Response::ResponseBody(body)) => body
            .response
            .as_ref()
            .and_then(|common| common.header_mutation.as_ref()),
        Some(Response::RequestTrailers(trailers) | Response::ResponseTrailers(trailers)) => {
            trailers.header_mutation.as_ref()
        }
        Some(Response::ImmediateResponse(answer)) => answer.headers.as_ref(),
        None => None,
    };
    mutation
        .into_iter()
        .flat_map(|mutation| &mutation.set_headers)
        .filter_map(|set| set.header.as_ref())
        .map(|header| {
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            (text(&header.key), text(&header.raw_value))
        })
        .collect()
}
