//! Tools to test a processor without a network and without Envoy.

mod call;
mod envoy;
mod messages;

pub use call::{Call, Ended};
pub use envoy::{Envoy, Got, Outgoing, Seen, Violation, ViolationKind, get, post, reply, request};
pub use messages::{
    Modal, body, headers_set, messages, request_body, request_headers, request_trailers, response_body,
    response_headers, response_trailers, with_modes,
};
