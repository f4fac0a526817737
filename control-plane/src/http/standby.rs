//! Turns away what a replica that does not lead cannot answer: 503, and the connection ends, so that the caller's next
//! one goes to the replica that leads.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::{Error, Kind};
use fleet_actor::active::Active;

/// Marks an answer after which its connection must end. [`super::server`] sees to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastAnswer;

/// Lets a call through to the fleet that answers, and its answer out only if that fleet may still answer then: a
/// process that was stopped and goes on must not tell what it knew before.
pub(super) async fn check(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let version = request.version();
    let Some(active) = app.handle.active() else {
        return turned_away(version);
    };
    request.extensions_mut().insert(active.clone());
    let response = next.run(request).await;
    if active.is_open() {
        response
    } else {
        turned_away(version)
    }
}

fn turned_away(version: Version) -> Response {
    let mut response = Error::from(Kind::Standby).into_response();
    response.extensions_mut().insert(LastAnswer);
    // HTTP/2 forbids the header; its connections end with a GOAWAY.
    if version < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// The fleet that a handler answers from: the one that its call was let through to.
pub(super) struct Answering(pub(super) Active);

impl FromRequestParts<Arc<App>> for Answering {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        // The one that the call was let through to: its answer is judged by it.
        let active = parts.extensions.get().cloned().or_else(|| app.handle.active());
        active.map(Self).ok_or_else(|| turned_away(parts.version))
    }
}
