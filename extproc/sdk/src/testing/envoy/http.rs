//! Requests and responses, as tests write them and as the two ends of the simulated Envoy see them.

use bytes::Bytes;
use serde::Serialize;

use super::fields::Fields;

/// A request or a response that a test writes: [`get`], [`post`], [`request`], [`reply`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Outgoing {
    pub(super) headers: Fields,
    pub(super) body: Bytes,
    pub(super) trailers: Fields,
}

/// A request with this method and path, to the authority `example.com`.
pub fn request(method: &str, path: &str) -> Outgoing {
    Outgoing::new([
        (":method", method),
        (":scheme", "http"),
        (":authority", "example.com"),
        (":path", path),
    ])
}

/// A GET request.
pub fn get(path: &str) -> Outgoing {
    request("GET", path)
}

/// A POST request.
pub fn post(path: &str) -> Outgoing {
    request("POST", path)
}

/// A response with this status.
pub fn reply(status: u16) -> Outgoing {
    Outgoing::new([(":status", status.to_string().as_str())])
}

impl Outgoing {
    fn new<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut fields = Fields::default();
        for (name, value) in headers {
            fields.append(name, value.as_bytes());
        }
        Self {
            headers: fields,
            body: Bytes::new(),
            trailers: Fields::default(),
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(name, value.as_ref());
        self
    }

    /// Sets the body, and `content-length` unless there is one.
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = body.len().to_string();
        let mut message = self.chunked(body);
        if message.headers.get("content-length").is_none() {
            message.headers.append("content-length", length.as_bytes());
        }
        message
    }

    /// Sets the body, without `content-length`.
    pub fn chunked(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a body of JSON, `content-type` and `content-length`. What cannot be written as JSON is an empty body.
    pub fn json(self, value: impl Serialize) -> Self {
        self.header("content-type", "application/json")
            .body(serde_json::to_vec(&value).unwrap_or_default())
    }

    /// Adds a trailer. A message with trailers should be [`chunked`](Self::chunked).
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.append(name, value.as_ref());
        self
    }

    /// Whether neither a body nor trailers follow its headers.
    pub(super) fn is_bare(&self) -> bool {
        self.body.is_empty() && self.trailers.is_empty()
    }
}

/// A request as the upstream got it, or a response as the client got it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub(super) headers: Fields,
    pub(super) body: Bytes,
    pub(super) trailers: Fields,
    pub(super) is_reset: bool,
}

impl Seen {
    /// The first value under this name, as text; none where there is none, or where it is not UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.text(name)
    }

    /// Every value under this name, in their order.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.get_all(name)
    }

    /// Every header, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter()
    }

    /// The first value of a trailer, as text.
    #[must_use]
    pub fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.text(name)
    }

    /// The status of a response; 0 for a request.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.header(":status")
            .and_then(|status| status.parse().ok())
            .unwrap_or_default()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// Where it is not JSON.
    pub fn json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Whether its stream was reset before it was whole.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.is_reset
    }
}
