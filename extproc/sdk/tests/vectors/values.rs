//! Random values of our wire types: every field, set and unset. Maps have at most one entry, so that their order is known.
//! Parts are boxed: the thread of a test has 2 MiB of stack.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use extproc::wire::{self, processing_request::Request, processing_response::Response};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

fn mk_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 120..300)].prop_map(Bytes::from)
}

/// Bytes of a field that is text for others.
fn mk_text() -> impl Strategy<Value = Bytes> {
    mk_string().prop_map(Bytes::from)
}

fn mk_string() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z:-]{1,20}", "\\PC{1,8}"]
}

fn mk_number() -> impl Strategy<Value = i32> {
    prop_oneof![0..8_i32, any::<i32>()]
}

fn mk_struct() -> BoxedStrategy<prost_types::Struct> {
    use prost_types::value::Kind;
    let leaf = prop_oneof![
        Just(Kind::NullValue(0)),
        any::<bool>().prop_map(Kind::BoolValue),
        (-1e9..1e9_f64).prop_map(Kind::NumberValue),
        mk_string().prop_map(Kind::StringValue),
    ];
    let kind = leaf.prop_recursive(3, 12, 3, |inner| {
        let value = inner.prop_map(|kind| prost_types::Value { kind: Some(kind) });
        prop_oneof![
            vec(value.clone(), 0..3).prop_map(|values| Kind::ListValue(prost_types::ListValue { values })),
            of((mk_string(), value)).prop_map(|entry| Kind::StructValue(prost_types::Struct {
                fields: BTreeMap::from_iter(entry)
            })),
        ]
    });
    of((mk_string(), of(kind)))
        .prop_map(|entry| prost_types::Struct {
            fields: BTreeMap::from_iter(entry.map(|(key, kind)| (key, prost_types::Value { kind }))),
        })
        .boxed()
}

/// A map with at most one entry.
fn mk_map<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = HashMap<String, T>> {
    of((mk_string(), value)).prop_map(HashMap::from_iter)
}

fn mk_any() -> impl Strategy<Value = prost_types::Any> {
    (mk_string(), vec(any::<u8>(), 0..20)).prop_map(|(type_url, value)| prost_types::Any { type_url, value })
}

prop_compose! {
    fn mk_header()(key in mk_text(), value in mk_text(), raw_value in mk_bytes()) -> wire::HeaderValue {
        wire::HeaderValue { key, value, raw_value }
    }
}

pub(crate) fn mk_headers() -> impl Strategy<Value = wire::HeaderMap> {
    vec(mk_header().boxed(), 0..4).prop_map(|headers| wire::HeaderMap { headers })
}

prop_compose! {
    fn mk_http_headers()(headers in of(mk_headers()), end_of_stream in any::<bool>()) -> wire::HttpHeaders {
        wire::HttpHeaders { headers, end_of_stream }
    }
}

prop_compose! {
    fn mk_body()(body in mk_bytes(), end_of_stream in any::<bool>()) -> wire::HttpBody {
        wire::HttpBody { body, end_of_stream }
    }
}

fn mk_trailers() -> impl Strategy<Value = wire::HttpTrailers> {
    of(mk_headers()).prop_map(|trailers| wire::HttpTrailers { trailers })
}

prop_compose! {
    fn mk_config()(request_body_mode in mk_number(), response_body_mode in mk_number(), at_once in any::<bool>())
        -> wire::ProtocolConfiguration {
        wire::ProtocolConfiguration {
            request_body_mode,
            response_body_mode,
            send_body_without_waiting_for_header_response: at_once,
        }
    }
}

prop_compose! {
    fn mk_metadata()(filter_metadata in mk_map(mk_struct()), typed_filter_metadata in mk_map(mk_any())) -> wire::Metadata {
        wire::Metadata { filter_metadata, typed_filter_metadata }
    }
}

prop_compose! {
    /// A message of Envoy.
    pub(crate) fn mk_request()(
        metadata_context in of(mk_metadata().boxed()),
        attributes in mk_map(mk_struct()),
        observability_mode in any::<bool>(),
        protocol_config in of(mk_config().boxed()),
        request in of(prop_oneof![
            mk_http_headers().boxed().prop_map(Request::RequestHeaders),
            mk_http_headers().boxed().prop_map(Request::ResponseHeaders),
            mk_body().boxed().prop_map(Request::RequestBody),
            mk_body().boxed().prop_map(Request::ResponseBody),
            mk_trailers().boxed().prop_map(Request::RequestTrailers),
            mk_trailers().boxed().prop_map(Request::ResponseTrailers),
        ]),
    ) -> wire::ProcessingRequest {
        wire::ProcessingRequest { metadata_context, attributes, observability_mode, protocol_config, request }
    }
}

prop_compose! {
    fn mk_option()(
        header in of(mk_header().boxed()), append in of(any::<bool>()), append_action in mk_number(), keep_empty_value in any::<bool>()
    ) -> wire::HeaderValueOption {
        wire::HeaderValueOption { header, append, append_action, keep_empty_value }
    }
}

prop_compose! {
    fn mk_mutation()(set_headers in vec(mk_option().boxed(), 0..3), remove_headers in vec(mk_text(), 0..3)) -> wire::HeaderMutation {
        wire::HeaderMutation { set_headers, remove_headers }
    }
}

fn mk_body_mutation() -> impl Strategy<Value = wire::BodyMutation> {
    use wire::body_mutation::Mutation;
    let streamed = (mk_bytes(), any::<bool>())
        .prop_map(|(body, end_of_stream)| wire::StreamedBodyResponse { body, end_of_stream });
    of(prop_oneof![
        mk_bytes().prop_map(Mutation::Body),
        any::<bool>().prop_map(Mutation::ClearBody),
        streamed.prop_map(Mutation::StreamedResponse),
    ])
    .prop_map(|mutation| wire::BodyMutation { mutation })
}

prop_compose! {
    fn mk_common()(
        status in mk_number(),
        header_mutation in of(mk_mutation().boxed()),
        body_mutation in of(mk_body_mutation().boxed()),
        trailers in of(mk_headers()),
        clear_route_cache in any::<bool>(),
    ) -> wire::CommonResponse {
        wire::CommonResponse { status, header_mutation, body_mutation, trailers, clear_route_cache }
    }
}

prop_compose! {
    fn mk_immediate()(
        status in of(mk_number().prop_map(|code| wire::HttpStatus { code })),
        headers in of(mk_mutation().boxed()),
        body in mk_bytes(),
        grpc_status in of(any::<u32>().prop_map(|status| wire::GrpcStatus { status })),
        details in mk_string(),
    ) -> wire::ImmediateResponse {
        wire::ImmediateResponse { status, headers, body, grpc_status, details }
    }
}

prop_compose! {
    fn mk_mode()(modes in [mk_number(), mk_number(), mk_number(), mk_number(), mk_number(), mk_number()])
        -> wire::ProcessingMode {
        let [request_header_mode, response_header_mode, request_body_mode, response_body_mode, request, response] = modes;
        wire::ProcessingMode {
            request_header_mode,
            response_header_mode,
            request_body_mode,
            response_body_mode,
            request_trailer_mode: request,
            response_trailer_mode: response,
        }
    }
}

fn mk_duration() -> impl Strategy<Value = prost_types::Duration> {
    (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos })
}

prop_compose! {
    /// An answer of a processor.
    pub(crate) fn mk_response()(
        dynamic_metadata in of(mk_struct()),
        mode_override in of(mk_mode().boxed()),
        override_message_timeout in of(mk_duration()),
        response in of(prop_oneof![
            of(mk_common().boxed()).prop_map(|response| Response::RequestHeaders(wire::HeadersResponse { response })),
            of(mk_common().boxed()).prop_map(|response| Response::ResponseHeaders(wire::HeadersResponse { response })),
            of(mk_common().boxed()).prop_map(|response| Response::RequestBody(wire::BodyResponse { response })),
            of(mk_common().boxed()).prop_map(|response| Response::ResponseBody(wire::BodyResponse { response })),
            of(mk_mutation().boxed()).prop_map(|header_mutation| Response::RequestTrailers(wire::TrailersResponse { header_mutation })),
            of(mk_mutation().boxed()).prop_map(|header_mutation| Response::ResponseTrailers(wire::TrailersResponse { header_mutation })),
            mk_immediate().boxed().prop_map(Response::ImmediateResponse),
        ]),
    ) -> wire::ProcessingResponse {
        wire::ProcessingResponse { dynamic_metadata, mode_override, override_message_timeout, response }
    }
}
