//! Our values as theirs, name by name: a field that stands under another number than theirs, or has another type, is seen here.

use std::collections::HashMap;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as their_core;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3 as their_filter;
use envoy_types::pb::envoy::service::ext_proc::v3 as their;
use envoy_types::pb::envoy::r#type::v3 as their_type;
use envoy_types::pb::google::protobuf as their_google;
use extproc::wire;
use prost::Message;

/// A value of ours that they have as a `T`.
pub(crate) trait As<T> {
    /// The same value, as theirs.
    fn theirs(&self) -> T;
}

/// Converts a struct field by field; what they have beside these is left as it is by default.
macro_rules! same_fields {
    ($($ours:ty => $theirs:ty { $($field:ident),* })*) => {$(
        impl As<$theirs> for $ours {
            #[allow(deprecated, reason = "so is one field of the interface that Envoy still reads")]
            fn theirs(&self) -> $theirs {
                // A field of ours that is forgotten here does not compile.
                let Self { $($field),* } = self;
                let mut theirs = <$theirs>::default();
                $(theirs.$field = $field.theirs();)*
                theirs
            }
        }
    )*};
}

/// Converts an enum case by case.
macro_rules! same_cases {
    ($($ours:ty => $theirs:ty { $($case:ident),* })*) => {$(
        impl As<$theirs> for $ours {
            fn theirs(&self) -> $theirs {
                match self {
                    $(Self::$case(inner) => <$theirs>::$case(inner.theirs()),)*
                }
            }
        }
    )*};
}

macro_rules! the_same {
    ($($type:ty),*) => {$(
        impl As<$type> for $type {
            fn theirs(&self) -> $type {
                self.clone()
            }
        }
    )*};
}

/// Google's own messages, which both have from elsewhere.
macro_rules! the_same_bytes {
    ($($ours:ty => $theirs:ty),*) => {$(
        impl As<$theirs> for $ours {
            fn theirs(&self) -> $theirs {
                Message::decode(&self.encode_to_vec()[..]).unwrap()
            }
        }
    )*};
}

same_fields! {
    wire::ProcessingRequest => their::ProcessingRequest {
        metadata_context, attributes, observability_mode, protocol_config, request
    }
    wire::ProtocolConfiguration => their::ProtocolConfiguration {
        request_body_mode, response_body_mode, send_body_without_waiting_for_header_response
    }
    wire::HttpHeaders => their::HttpHeaders { headers, end_of_stream }
    wire::HttpBody => their::HttpBody { body, end_of_stream }
    wire::HttpTrailers => their::HttpTrailers { trailers }
    wire::HeaderMap => their_core::HeaderMap { headers }
    wire::HeaderValue => their_core::HeaderValue { key, value, raw_value }
    wire::Metadata => their_core::Metadata { filter_metadata, typed_filter_metadata }
    wire::ProcessingResponse => their::ProcessingResponse {
        dynamic_metadata, mode_override, override_message_timeout, response
    }
    wire::HeadersResponse => their::HeadersResponse { response }
    wire::BodyResponse => their::BodyResponse { response }
    wire::TrailersResponse => their::TrailersResponse { header_mutation }
    wire::CommonResponse => their::CommonResponse {
        status, header_mutation, body_mutation, trailers, clear_route_cache
    }
    wire::ImmediateResponse => their::ImmediateResponse { status, headers, body, grpc_status, details }
    wire::GrpcStatus => their::GrpcStatus { status }
    wire::HttpStatus => their_type::HttpStatus { code }
    wire::HeaderMutation => their::HeaderMutation { set_headers, remove_headers }
    wire::HeaderValueOption => their_core::HeaderValueOption { header, append, append_action, keep_empty_value }
    wire::BodyMutation => their::BodyMutation { mutation }
    wire::StreamedBodyResponse => their::StreamedBodyResponse { body, end_of_stream }
    wire::ProcessingMode => their_filter::ProcessingMode {
        request_header_mode, response_header_mode, request_body_mode, response_body_mode, request_trailer_mode,
        response_trailer_mode
    }
}

same_cases! {
    wire::processing_request::Request => their::processing_request::Request {
        RequestHeaders, ResponseHeaders, RequestBody, ResponseBody, RequestTrailers, ResponseTrailers
    }
    wire::processing_response::Response => their::processing_response::Response {
        RequestHeaders, ResponseHeaders, RequestBody, ResponseBody, RequestTrailers, ResponseTrailers, ImmediateResponse
    }
    wire::body_mutation::Mutation => their::body_mutation::Mutation { Body, ClearBody, StreamedResponse }
}

the_same!(i32, u32, bool, String);

the_same_bytes!(
    prost_types::Struct => their_google::Struct,
    prost_types::Any => their_google::Any,
    prost_types::Duration => their_google::Duration
);

/// A field that they have as bytes.
impl As<Vec<u8>> for Bytes {
    fn theirs(&self) -> Vec<u8> {
        self.to_vec()
    }
}

/// A field that they have as text: the same on the wire.
impl As<String> for Bytes {
    fn theirs(&self) -> String {
        String::from_utf8(self.to_vec()).unwrap()
    }
}

/// A flag that may be absent: the wrapper is a message of its own on the wire.
impl As<their_google::BoolValue> for bool {
    fn theirs(&self) -> their_google::BoolValue {
        their_google::BoolValue { value: *self }
    }
}

impl<T, O: As<T>> As<Option<T>> for Option<O> {
    fn theirs(&self) -> Option<T> {
        self.as_ref().map(As::theirs)
    }
}

impl<T, O: As<T>> As<Vec<T>> for Vec<O> {
    fn theirs(&self) -> Vec<T> {
        self.iter().map(As::theirs).collect()
    }
}

impl<T, O: As<T>> As<HashMap<String, T>> for HashMap<String, O> {
    fn theirs(&self) -> HashMap<String, T> {
        self.iter()
            .map(|(key, value)| (key.clone(), value.theirs()))
            .collect()
    }
}

/// With everything set that they have in a request and we do not.
#[allow(deprecated, reason = "deprecated fields are skipped as well")]
pub(crate) fn with_what_we_lack_in_request(
    mut request: their::ProcessingRequest,
) -> their::ProcessingRequest {
    request.flow_control_init = Some(their::processing_request::FlowControlInit {
        initial_window_downstream_to_sidestream: 1,
        ..Default::default()
    });
    request.client_window_update = Some(their::processing_request::ClientWindowUpdate {
        window_increment_sidestream_to_upstream: -1,
        ..Default::default()
    });
    match &mut request.request {
        Some(
            their::processing_request::Request::RequestHeaders(headers)
            | their::processing_request::Request::ResponseHeaders(headers),
        ) => {
            headers.attributes.insert("key".to_owned(), Default::default());
        }
        Some(
            their::processing_request::Request::RequestBody(body)
            | their::processing_request::Request::ResponseBody(body),
        ) => {
            body.end_of_stream_without_message = true;
            body.grpc_message_compressed = true;
            body.drain_complete = true;
        }
        _ => {}
    }
    request
}

/// With everything set that they have in a response and we do not.
#[allow(deprecated, reason = "deprecated fields are skipped as well")]
pub(crate) fn with_what_we_lack_in_response(
    mut response: their::ProcessingResponse,
) -> their::ProcessingResponse {
    response
        .typed_dynamic_metadata
        .insert("key".to_owned(), Default::default());
    response.request_drain = true;
    response.request_drain_requests = true;
    response.request_drain_responses = true;
    response.server_window_update = Some(their::processing_response::ServerWindowUpdate {
        window_increment_downstream_to_sidestream: 1,
        window_increment_upstream_to_sidestream: 2,
    });
    response
}
