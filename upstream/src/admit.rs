//! Lets requests in: writes each down as it arrives, refuses beyond the bound, and knows which have not ended.
//!
//! One layer for both ports. A request is in from its head to the end of its answer's body, or, once upgraded, until
//! its WebSocket ends. It never waits: there is no queue in front of the bound.

use std::{
    num::NonZeroU32,
    pin::Pin,
    process,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    extract::{Query, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::{
    body::{Frame, SizeHint},
    ext::Protocol,
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::Status;

use crate::{app::App, journal::Arrival, record::Kind};

/// Paths that only look at the backend.
pub(crate) const LOOKS: [&str; 2] = ["/count", "/journal"];

const PID: HeaderName = HeaderName::from_static("x-upstream-pid");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters kept of anything a client sent, so that a hostile header does not fill the journal.
const KEPT_CHARS: usize = 256;

/// How many requests are in, and how many may be.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    free: Option<Arc<Semaphore>>,
    inside: TaskTracker,
}

/// The place of one request; free again when the last clone of its `Arc` is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: Option<OwnedSemaphorePermit>,
    _token: TaskTrackerToken,
}

impl Admission {
    pub(crate) fn new(max: Option<NonZeroU32>) -> Self {
        // Saturates only where `usize` has 16 bits.
        let permits = |max: NonZeroU32| usize::try_from(max.get()).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            free: max.map(|max| Arc::new(Semaphore::new(permits(max)))),
            inside: TaskTracker::new(),
        }
    }

    /// Requests that are in.
    pub(crate) fn in_flight(&self) -> usize {
        self.inside.len()
    }

    /// Ends when nothing is in any more. To be called when nothing new arrives.
    pub(crate) async fn emptied(&self) {
        self.inside.close();
        self.inside.wait().await;
    }

    fn enter(&self) -> Option<Arc<Slot>> {
        let permit = match &self.free {
            Some(free) => Some(Arc::clone(free).try_acquire_owned().ok()?),
            None => None,
        };
        Some(Arc::new(Slot {
            _permit: permit,
            _token: self.inside.token(),
        }))
    }
}

/// The layer. Handlers find their [`Slot`] among the request's extensions.
pub(crate) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let kind = kind_of(&request);
    let slot = if kind == Kind::Look {
        None
    } else {
        app.admission.enter()
    };
    let refused = slot.is_none() && kind != Kind::Look;
    app.journal.arrive(Arrival {
        kind,
        method: request.method().to_string(),
        path: shorten(request.uri().path().as_bytes()),
        id: id_of(&request),
        agent: text_of(request.headers(), &header::USER_AGENT),
        refused,
    });
    if refused {
        return refusal(kind);
    }
    if let Some(slot) = &slot {
        request.extensions_mut().insert(Arc::clone(slot));
    }
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(PID, HeaderValue::from(process::id()));
    response.map(|body| Body::new(Tracked { body, _slot: slot }))
}

fn kind_of(request: &Request) -> Kind {
    let headers = request.headers();
    let starts = |name: &HeaderName, prefix: &[u8]| {
        headers
            .get(name)
            .and_then(|value| value.as_bytes().get(..prefix.len()))
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_extended_connect = request
        .extensions()
        .get::<Protocol>()
        .is_some_and(|protocol| protocol.as_str() == "websocket");
    if LOOKS.contains(&request.uri().path()) {
        Kind::Look
    } else if starts(&header::CONTENT_TYPE, b"application/grpc") {
        Kind::Grpc
    } else if starts(&header::UPGRADE, b"websocket") || is_extended_connect {
        Kind::Websocket
    } else {
        Kind::Http
    }
}

/// The query's `id` goes first: Envoy gives an `x-request-id` to every request that has none.
fn id_of(request: &Request) -> Option<String> {
    #[derive(Deserialize)]
    struct Id {
        id: Option<String>,
    }
    let query = Query::<Id>::try_from_uri(request.uri())
        .ok()
        .and_then(|Query(query)| query.id);
    match query {
        Some(id) => Some(shorten(id.as_bytes())),
        None => text_of(request.headers(), &REQUEST_ID),
    }
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| shorten(value.as_bytes()))
}

/// Header values are bytes: what is not UTF-8 is written down as U+FFFD.
fn shorten(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(KEPT_CHARS).collect()
}

fn refusal(kind: Kind) -> Response {
    const WHY: &str = "as many requests as --max-concurrency allows are being served";
    match kind {
        Kind::Grpc => Status::unavailable(WHY).into_http::<Body>(),
        Kind::Http | Kind::Websocket | Kind::Look => (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            format!("{WHY}\n"),
        )
            .into_response(),
    }
}

/// An answer's body that keeps the request's slot until it has been sent or dropped.
struct Tracked {
    body: Body,
    _slot: Option<Arc<Slot>>,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
