//! One request and its response, as a processor's handlers share it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use prost_types::Struct;
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::attributes::{struct_to_json, to_json};
use crate::body::BodyMemory;
use crate::driver::Link;
use crate::headers::Headers;
use crate::modes::{Direction, Modes};
use crate::sync::lock;

/// The key under which Envoy sends attributes.
const ATTRIBUTES: &str = "envoy.filters.http.ext_proc";

/// What is kept of the headers where a server keeps only what the accessors need.
const KEPT: [&str; 7] = [
    ":method",
    ":scheme",
    ":authority",
    ":path",
    "x-request-id",
    "content-type",
    "content-length",
];

/// A request and its response: what is known of them, and the processor's state. Cheap to clone.
///
/// What Envoy was not configured to send is absent: a processor of responses only has no method and no path.
#[derive(Debug)]
pub struct Exchange<S> {
    pub(crate) core: Arc<Core>,
    /// Of a processor in a chain: what it is shown. Without it: what Envoy showed.
    view: Option<Arc<View>>,
    state: Arc<Mutex<S>>,
}

impl<S> Clone for Exchange<S> {
    fn clone(&self) -> Self {
        Self {
            core: self.core.clone(),
            view: self.view.clone(),
            state: self.state.clone(),
        }
    }
}

/// What does not depend on the processor.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) link: Link,
    /// What bodies may take, with those of all other exchanges.
    pub(crate) memory: Arc<BodyMemory>,
    call: Call,
    started: Instant,
    started_at: SystemTime,
    view: View,
    context: Mutex<Context>,
    cancelled: AtomicBool,
    on_cancel: Notify,
}

/// What one processor is shown of an exchange, and the time that its handlers took.
#[derive(Debug, Default)]
pub(crate) struct View {
    request: OnceLock<Headers>,
    response: OnceLock<Headers>,
    processing: AtomicU64,
}

#[derive(Debug, Default)]
struct Context {
    attributes: Vec<Struct>,
    metadata: Option<crate::wire::Metadata>,
}

/// What is known of the gRPC call.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) metadata: HeaderMap,
    pub(crate) keep_headers: bool,
}

impl<S: Default> Exchange<S> {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            view: None,
            state: Arc::new(Mutex::new(S::default())),
        }
    }

    /// The same exchange for one processor of a chain: with headers and a state of its own.
    pub(crate) fn member<T>(of: &Exchange<T>) -> Self {
        Self {
            core: of.core.clone(),
            view: Some(Arc::default()),
            state: Arc::new(Mutex::new(S::default())),
        }
    }
}

impl<S> Exchange<S> {
    /// The same exchange with a state of another type.
    pub(crate) fn with_state<T>(&self, state: Arc<Mutex<T>>) -> Exchange<T> {
        Exchange {
            core: self.core.clone(),
            view: self.view.clone(),
            state,
        }
    }

    fn view(&self) -> &View {
        self.view.as_deref().unwrap_or(&self.core.view)
    }

    /// Shows this processor the headers of one direction.
    pub(crate) fn show(&self, direction: Direction, headers: &Headers) {
        self.view().show(direction, headers, self.core.call.keep_headers);
    }

    /// Adds the time that a handler of this processor took.
    pub(crate) fn add_processing(&self, time: Duration) {
        self.view().add_processing(time);
    }

    /// The processor's state of this exchange. The guard is for a few instructions: it cannot be held across an await, and the
    /// handlers of the other direction may run at the same time.
    pub fn state(&self) -> MutexGuard<'_, S> {
        lock(&self.state)
    }

    /// `:method`.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.request_text(":method")
    }

    /// `:scheme`.
    #[must_use]
    pub fn scheme(&self) -> Option<&str> {
        self.request_text(":scheme")
    }

    /// `:authority`, which HTTP/1 calls `host`.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.request_text(":authority")
    }

    /// `:path` without its query.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.path_and_query()
            .map(|path| path.split_once('?').map_or(path, |(path, _)| path))
    }

    /// `:path` as it came.
    #[must_use]
    pub fn path_and_query(&self) -> Option<&str> {
        self.request_text(":path")
    }

    /// The pairs of the query, in their order, not decoded. A name without `=` has an empty value.
    pub fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        self.path_and_query()
            .and_then(|path| path.split_once('?'))
            .map_or("", |(_, query)| query)
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// `x-request-id`.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_text("x-request-id")
    }

    /// `content-type` of the request.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.request_text("content-type")
    }

    /// `content-length` of the request, in bytes.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.request_text("content-length")
            .and_then(|text| text.parse().ok())
    }

    /// `:status` of the response, once its headers have come.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.view().response.get()?.text(":status")?.parse().ok()
    }

    /// `content-type` of the response.
    #[must_use]
    pub fn response_content_type(&self) -> Option<&str> {
        self.view().response.get()?.text("content-type")
    }

    /// `content-length` of the response, in bytes.
    #[must_use]
    pub fn response_content_length(&self) -> Option<u64> {
        self.view().response.get()?.text("content-length")?.parse().ok()
    }

    /// The headers of the request as Envoy showed them; all of them unless the server keeps only a few.
    #[must_use]
    pub fn request_headers(&self) -> Option<&Headers> {
        self.view().request.get()
    }

    /// The headers of the response as Envoy showed them; all of them unless the server keeps only a few.
    #[must_use]
    pub fn response_headers(&self) -> Option<&Headers> {
        self.view().response.get()
    }

    /// An attribute that the filter lists in `request_attributes` or `response_attributes`, such as `xds.cluster_name`. Never list
    /// `xds.node`: it is the whole node, some 90 KB for each request.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Value> {
        lock(&self.core.context)
            .attributes
            .iter()
            .rev()
            .find_map(|set| set.fields.get(name))
            .map(to_json)
    }

    /// The filter metadata of one namespace that the filter forwards (`metadata_options.forwarding_namespaces`).
    #[must_use]
    pub fn metadata(&self, namespace: &str) -> Option<Map<String, Value>> {
        let context = lock(&self.core.context);
        context
            .metadata
            .as_ref()?
            .filter_metadata
            .get(namespace)
            .map(struct_to_json)
    }

    /// The address from which Envoy called; none over a unix socket.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.core.call.peer
    }

    /// The metadata of the gRPC call (`initial_metadata` in Envoy's `grpc_service`, `traceparent`).
    #[must_use]
    pub fn call_metadata(&self) -> &HeaderMap {
        &self.core.call.metadata
    }

    /// When the exchange began, for durations.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.core.started
    }

    /// When the exchange began, by the clock on the wall.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.core.started_at
    }

    /// The time that this processor's handlers of headers and trailers took so far, waiting included.
    #[must_use]
    pub fn processing(&self) -> Duration {
        Duration::from_nanos(self.view().processing.load(Ordering::Relaxed))
    }

    /// The body modes, as far as they are known: by Envoy's first message, and by what this processor asked for since.
    #[must_use]
    pub fn modes(&self) -> Modes {
        self.core.link.modes()
    }

    /// Whether Envoy only shows the exchange (`observability_mode`): answers are dropped.
    #[must_use]
    pub fn observing(&self) -> bool {
        self.core.link.is_observing()
    }

    /// Asks Envoy for so much more time than its `message_timeout` for the phase of the handler that asks. Envoy takes it once for each phase,
    /// and only up to the filter's `max_message_timeout`; in FULL_DUPLEX_STREAMED it has no such time-out.
    pub fn more_time(&self, direction: Direction, time: Duration) {
        self.core.link.ask_for_time(direction, time);
    }

    /// Ends when the exchange is over before its handlers are: Envoy reset it, or the server stops. For what handlers spawned.
    pub async fn cancelled(&self) {
        let notified = self.core.on_cancel.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.core.cancelled.load(Ordering::Acquire) {
            notified.await;
        }
    }

    fn request_text(&self, name: &str) -> Option<&str> {
        self.view().request.get()?.text(name)
    }
}

impl Core {
    pub(crate) fn new(link: Link, memory: Arc<BodyMemory>, call: Call) -> Arc<Self> {
        Arc::new(Self {
            link,
            memory,
            call,
            started: Instant::now(),
            started_at: SystemTime::now(),
            view: View::default(),
            context: Mutex::default(),
            cancelled: AtomicBool::new(false),
            on_cancel: Notify::new(),
        })
    }

    pub(crate) fn call(&self) -> &Call {
        &self.call
    }

    /// Keeps what came beside a message.
    pub(crate) fn add_context(
        &self,
        attributes: impl IntoIterator<Item = (String, Struct)>,
        metadata: Option<crate::wire::Metadata>,
    ) {
        let mut context = lock(&self.context);
        context.attributes.extend(
            attributes
                .into_iter()
                .filter(|(key, _)| key == ATTRIBUTES)
                .map(|(_, set)| set),
        );
        if metadata.is_some() {
            context.metadata = metadata;
        }
    }

    /// Nanoseconds that handlers of headers and trailers took so far.
    pub(crate) fn processing(&self) -> u64 {
        self.view.processing.load(Ordering::Relaxed)
    }

    /// The headers that Envoy showed.
    pub(crate) fn headers(&self, direction: Direction) -> Option<&Headers> {
        match direction {
            Direction::Request => self.view.request.get(),
            Direction::Response => self.view.response.get(),
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.on_cancel.notify_waiters();
    }
}

impl View {
    /// Keeps the headers of one direction. Those that come first stay.
    fn show(&self, direction: Direction, headers: &Headers, keep_all: bool) {
        let place = match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        };
        let kept = if keep_all {
            headers.clone()
        } else {
            headers.copied(|name| name == ":status" || KEPT.contains(&name))
        };
        // Only one message of a direction is taken for its headers: the driver refuses a second.
        let _ = place.set(kept);
    }

    fn add_processing(&self, time: Duration) {
        self.processing.fetch_add(
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }
}
