//! An answer to the client by the processor itself.

use bytes::Bytes;
use serde::Serialize;
use tonic::Code;

use crate::edits::Edits;
use crate::headers::Headers;
use crate::stop::Stop;
use crate::wire::{GrpcStatus, HttpStatus, ImmediateResponse};

/// An answer that Envoy gives in the place of the upstream's. It ends the exchange.
///
/// Before the response's headers have gone to the client it is the whole answer. After that Envoy can only reset the stream.
#[derive(Clone, Debug)]
pub struct Immediate {
    status: u16,
    edits: Edits,
    body: Bytes,
    grpc_status: Option<u32>,
    details: Box<str>,
    /// The processors of a chain up to the one that answers, for the chain header.
    pub(crate) names: Option<Box<str>>,
    /// The limit that was reached, where it is one of the SDK's own that answers.
    pub(crate) limit: Option<&'static str>,
}

impl Immediate {
    /// An answer with this status and no body. Statuses outside 200 to 599 are sent as 500: Envoy would refuse them.
    #[must_use]
    pub fn new(status: u16) -> Self {
        let status = if (200..600).contains(&status) { status } else { 500 };
        Self {
            status,
            edits: Edits::default(),
            body: Bytes::new(),
            grpc_status: None,
            details: Box::default(),
            names: None,
            limit: None,
        }
    }

    /// An answer to a gRPC call: HTTP 200 with this status and message in its trailers.
    #[must_use]
    pub fn grpc(code: Code, message: impl Into<String>) -> Self {
        let mut answer = Self::new(200);
        answer.grpc_status = Some(u32::try_from(i32::from(code)).unwrap_or(2));
        answer.body = Bytes::from(message.into());
        answer
    }

    /// A redirect: a 3xx with `location`. Another status is sent as 302.
    #[must_use]
    pub fn redirect(status: u16, location: impl AsRef<str>) -> Self {
        let status = if (300..400).contains(&status) { status } else { 302 };
        Self::new(status).header("location", location.as_ref())
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        self.edits.set(name.as_ref(), value.as_ref());
        self
    }

    /// Adds a value beside those that the name has.
    #[must_use]
    pub fn append_header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        self.edits.append(name.as_ref(), value.as_ref());
        self
    }

    /// The body. Envoy sets `content-length`, and `content-type: text/plain` where no header says otherwise.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A body of JSON with its `content-type`.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(value)?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// A word for Envoy's access log (`%RESPONSE_CODE_DETAILS%`); blanks become underscores there.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into().into_boxed_str();
        self
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    #[must_use]
    pub fn content(&self) -> &Bytes {
        &self.body
    }

    /// Sets a header unless the answer says something about it already.
    pub(crate) fn header_unless_set(&mut self, name: &str, value: &[u8]) {
        if !self.edits.touches(name) {
            self.edits.set(name, value);
        }
    }

    pub(crate) fn into_wire(self, limit: usize) -> Result<ImmediateResponse, Stop> {
        Ok(ImmediateResponse {
            status: Some(HttpStatus {
                code: i32::from(self.status),
            }),
            headers: self.edits.resolve(&Headers::default(), limit)?,
            body: self.body,
            grpc_status: self.grpc_status.map(|status| GrpcStatus { status }),
            details: self.details.into(),
        })
    }
}
