//! The span of one exchange, at the level DEBUG: a subscriber that does not want it costs an exchange nothing.

use tracing::Span;
use tracing::field::Empty;

use crate::exchange::Call;
use crate::headers::Headers;
use crate::processor::Processor;
use crate::wire::ProcessingRequest;
use crate::wire::processing_request::Request;

/// The span of the exchange that begins with this message. The call's `traceparent` stands in a field: a subscriber of
/// OpenTelemetry makes it the parent. The query of the path is left out: it may have secrets.
pub(super) fn span(processor: &impl Processor, call: &Call, first: &ProcessingRequest) -> Span {
    let span = tracing::debug_span!(
        "exchange",
        processor = %processor.name(),
        request_id = Empty,
        method = Empty,
        path = Empty,
        traceparent = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Some(Request::RequestHeaders(message)) = &first.request {
        let headers = Headers::from_wire(message.headers.clone(), message.end_of_stream);
        let path = headers.text(":path");
        let path = path.map(|path| path.split_once('?').map_or(path, |(path, _)| path));
        let fields = [
            ("request_id", headers.text("x-request-id")),
            ("method", headers.text(":method")),
            ("path", path),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                span.record(name, value);
            }
        }
    }
    if let Some(parent) = call
        .metadata
        .get("traceparent")
        .and_then(|parent| parent.to_str().ok())
    {
        span.record("traceparent", parent);
    }
    span
}
