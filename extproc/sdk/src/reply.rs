//! What handlers answer: changes of headers, a body, and what Envoy should do next.

use bytes::Bytes;

use crate::edits::Edits;
use crate::modes::ModeOverride;

/// Dynamic metadata: namespace, key, value.
pub(crate) type Metadata = Vec<(String, String, serde_json::Value)>;

macro_rules! header_edits {
    () => {
        /// Sets a header: overwrites what stands under the name, or adds it.
        pub fn set(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
            self.edits.set(name.as_ref(), value.as_ref());
            self
        }

        /// Adds a value beside those that the name has.
        pub fn append(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
            self.edits.append(name.as_ref(), value.as_ref());
            self
        }

        /// Sets a header if there is none of this name. Decided here, against the headers shown: Envoy up to 1.40 ignores
        /// `append_action`.
        pub fn set_if_absent(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
            self.edits.set_if_absent(name.as_ref(), value.as_ref());
            self
        }

        /// Sets a header if there is one of this name. Decided here, against the headers shown.
        pub fn set_if_present(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
            self.edits.set_if_present(name.as_ref(), value.as_ref());
            self
        }

        /// Removes every value under this name.
        pub fn remove(mut self, name: impl AsRef<str>) -> Self {
            self.edits.remove(name.as_ref());
            self
        }

        /// Sets several headers, as [`set`](Self::set) does.
        pub fn headers<N: AsRef<str>, V: AsRef<[u8]>>(
            mut self,
            headers: impl IntoIterator<Item = (N, V)>,
        ) -> Self {
            for (name, value) in headers {
                self.edits.set(name.as_ref(), value.as_ref());
            }
            self
        }
    };
}

macro_rules! dynamic_metadata {
    () => {
        /// Sets dynamic metadata of the request. Envoy drops namespaces that its filter does not list in
        /// `metadata_options.receiving_namespaces`.
        pub fn metadata(
            mut self,
            namespace: impl Into<String>,
            key: impl Into<String>,
            value: impl Into<serde_json::Value>,
        ) -> Self {
            self.metadata
                .push((namespace.into(), key.into(), value.into()));
            self
        }
    };
}

/// The answer to headers. Names and values are checked: one that Envoy would refuse makes the reply fail, with the name in the log.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct HeadersReply {
    pub(crate) edits: Edits,
    pub(crate) clear_route_cache: bool,
    pub(crate) mode: ModeOverride,
    pub(crate) metadata: Metadata,
    pub(crate) replace: Option<Bytes>,
    pub(crate) done: bool,
    pub(crate) after_body: bool,
}

impl HeadersReply {
    /// The headers go on as they are.
    pub fn unchanged() -> Self {
        Self::default()
    }

    header_edits!();
    dynamic_metadata!();

    /// Envoy matches the route again, with the headers as they are after this answer. Works for the request's headers only.
    pub fn clear_route_cache(mut self) -> Self {
        self.clear_route_cache = true;
        self
    }

    /// Asks for other modes in the rest of this exchange. See [`ModeOverride`] for what Envoy requires.
    pub fn mode(mut self, mode: ModeOverride) -> Self {
        self.mode = mode.or(self.mode);
        self
    }

    /// Replaces the body (`CONTINUE_AND_REPLACE`): Envoy does not send the original one to the processor, and the body handler
    /// does not run. `content-length` is set. Fails in FULL_DUPLEX_STREAMED, where Envoy does not take it.
    pub fn replace_body(mut self, body: impl Into<Bytes>) -> Self {
        self.replace = Some(body.into());
        self
    }

    /// Nothing more of this exchange is wanted: the call ends cleanly after this answer, and no later phase runs. Fails where a
    /// body in FULL_DUPLEX_STREAMED is still to come: Envoy would truncate it.
    pub fn done(mut self) -> Self {
        self.done = true;
        self
    }

    /// The body handler has a say in the headers. In FULL_DUPLEX_STREAMED this answer is held back until the body handler
    /// returns or writes, and is merged with what its reply changes; in BUFFERED it goes out at once, because Envoy sends no
    /// body before it, and changes by the body's reply still reach the headers. In STREAMED, where neither is possible, it fails.
    pub fn after_body(mut self) -> Self {
        self.after_body = true;
        self
    }
}

/// The answer to a body.
#[derive(Clone, Debug)]
#[must_use]
pub struct BodyReply {
    pub(crate) content: Content,
    pub(crate) edits: Edits,
    pub(crate) metadata: Metadata,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Unchanged,
    Replaced(Bytes),
    Written,
}

impl BodyReply {
    fn with(content: Content) -> Self {
        Self {
            content,
            edits: Edits::default(),
            metadata: Metadata::new(),
        }
    }

    /// The body goes on as it is: also after [`collect`](crate::Body::collect) and [`inspect`](crate::Body::inspect), and also
    /// what the handler has not looked at. After reading from [`split`](crate::Body::split) it fails: what was read is gone.
    pub fn unchanged() -> Self {
        Self::with(Content::Unchanged)
    }

    /// The body is this one instead. What the handler has not read is dropped.
    pub fn replace(body: impl Into<Bytes>) -> Self {
        Self::with(Content::Replaced(body.into()))
    }

    /// The body is empty instead.
    pub fn clear() -> Self {
        Self::replace(Bytes::new())
    }

    /// The body is what the handler wrote to the [`BodyWriter`](crate::BodyWriter). What it has not read is dropped.
    pub fn written() -> Self {
        Self::with(Content::Written)
    }

    header_edits!();
    dynamic_metadata!();
}

/// The answer to trailers.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TrailersReply {
    pub(crate) edits: Edits,
    pub(crate) metadata: Metadata,
}

impl TrailersReply {
    /// The trailers go on as they are.
    pub fn unchanged() -> Self {
        Self::default()
    }

    header_edits!();
    dynamic_metadata!();
}
