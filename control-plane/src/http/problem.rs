//! Errors of the API, each an `application/problem+json` body (RFC 9457) with a status, a title and a type of its own.

use axum::body::to_bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::{Problem, TargetId};

use super::slow;
use fleet::WishRefusal;
use fleet::proxies::{MAX_TERM_RISE, Misfit};
use fleet_actor::Gone;

/// What can go wrong, each with its status and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The body or the query is not what it should be.
    BadRequest,
    /// No token, or not the right one.
    Unauthorized,
    /// A token that is good for other calls, or a page that may not call.
    Forbidden,
    /// No such route.
    NoRoute,
    /// No such target, or no target for the host.
    NoTarget,
    /// The route has another method.
    MethodNotAllowed,
    /// Not in the target's present state.
    Conflict,
    /// A later relay, or a later poll, speaks for this proxy.
    Superseded,
    /// The term is much higher than it was.
    TermJump,
    /// The body is larger than allowed.
    TooLarge,
    /// The body is none of JSON.
    NotJson,
    /// The body did not end in time.
    TooSlow,
    /// Something that should not happen.
    Internal,
    /// There are as many proxies as may be.
    TooManyProxies,
    /// There are as many open polls as may be.
    TooManyPolls,
    /// Not everything that is watched has been read yet.
    NotReady,
    /// Another replica leads.
    Standby,
    /// The control plane ends.
    ShuttingDown,
}

impl Kind {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "urn:holdfast:bad-request", "Bad request"),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "urn:holdfast:unauthorized",
                "Unauthorized",
            ),
            Self::Forbidden => (StatusCode::FORBIDDEN, "urn:holdfast:forbidden", "Forbidden"),
            Self::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "urn:holdfast:not-json",
                "Not JSON",
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "urn:holdfast:too-slow",
                "Body too slow",
            ),
            Self::NoRoute => (StatusCode::NOT_FOUND, "urn:holdfast:no-route", "No such route"),
            Self::NoTarget => (StatusCode::NOT_FOUND, "urn:holdfast:no-target", "No such target"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "urn:holdfast:method-not-allowed",
                "Method not allowed",
            ),
            Self::Conflict => (StatusCode::CONFLICT, "urn:holdfast:conflict", "Not now"),
            Self::Superseded => (StatusCode::CONFLICT, "urn:holdfast:superseded", "Superseded"),
            Self::TermJump => (
                StatusCode::CONFLICT,
                "urn:holdfast:term-jump",
                "The term is out of step",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "urn:holdfast:too-large",
                "Body too large",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "urn:holdfast:internal",
                "Internal error",
            ),
            Self::TooManyProxies => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:holdfast:too-many-proxies",
                "Too many proxies",
            ),
            Self::TooManyPolls => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:holdfast:too-many-polls",
                "Too many polls",
            ),
            Self::NotReady => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:holdfast:not-ready",
                "Not ready yet",
            ),
            Self::Standby => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:holdfast:standby",
                "This replica does not lead",
            ),
            Self::ShuttingDown => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:holdfast:shutting-down",
                "Shutting down",
            ),
        }
    }
}

/// An answer of `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    kind: Kind,
    detail: Option<String>,
    target: Option<TargetId>,
    field: Option<String>,
}

impl Error {
    /// With what happened this time.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::from(kind)
        }
    }

    /// Names the target it is about.
    pub(super) fn about(self, target: TargetId) -> Self {
        Self {
            target: Some(target),
            ..self
        }
    }

    /// Names the field that was wrong.
    pub(super) fn in_field(self, field: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..self
        }
    }

    /// What is wrong, in a few words.
    pub(super) fn title(&self) -> &'static str {
        self.kind.parts().2
    }

    /// Why a wish about `target` is not carried out.
    pub(super) fn refused(refusal: WishRefusal, target: TargetId) -> Self {
        let kind = match refusal {
            WishRefusal::Unknown => Kind::NoTarget,
            WishRefusal::Refused(_) => Kind::Conflict,
        };
        Self::new(kind, refusal.to_string()).about(target)
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            detail: None,
            target: None,
            field: None,
        }
    }
}

impl From<Misfit> for Error {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Superseded => Self::new(
                Kind::Superseded,
                "a relay of a later term speaks for this proxy; it is heard again once that one has been silent for three heartbeats",
            ),
            Misfit::TermJump { from } => Self::new(
                Kind::TermJump,
                format!("the term was {from}, and rises by at most {MAX_TERM_RISE} at once while a proxy speaks"),
            ),
        }
        .in_field("proxy.term")
    }
}

impl From<Gone> for Error {
    fn from(Gone: Gone) -> Self {
        Kind::ShuttingDown.into()
    }
}

impl From<BytesRejection> for Error {
    fn from(rejection: BytesRejection) -> Self {
        match rejection {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => Self::new(
                Kind::TooLarge,
                format!("the body is larger than {} bytes", super::MAX_BODY),
            ),
            other if slow::is_too_slow(&other) => Self::new(Kind::TooSlow, slow::TooSlow.to_string()),
            other => Self::new(Kind::BadRequest, other.body_text()),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, kind, title) = self.kind.parts();
        let problem = Problem {
            kind: kind.to_owned(),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            target: self.target.map(|id| id.to_string()),
            field: self.field,
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(Problem::CONTENT_TYPE),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Longest text of an answer that becomes a problem's detail, in bytes.
const MAX_DETAIL: usize = 4096;

/// Makes a problem of every refusal that is none yet: axum's own are plain text.
pub(super) async fn always(response: Response) -> Response {
    let status = response.status();
    let told = response.headers().get(header::CONTENT_TYPE);
    let is_problem = told.is_some_and(|told| told == Problem::CONTENT_TYPE);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, MAX_DETAIL).await.unwrap_or_default();
    let problem = Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        detail: Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty()),
        target: None,
        field: None,
    };
    let mut response = (status, serde_json::to_vec(&problem).unwrap_or_default()).into_response();
    response.extensions_mut().extend(parts.extensions);
    // Those that say something of the body are no longer true.
    for name in [header::ALLOW, header::CONNECTION, header::RETRY_AFTER] {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(Problem::CONTENT_TYPE),
    );
    response
}
