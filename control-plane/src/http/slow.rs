//! Bounds how long a request's body may take: a caller that is let through and sends half a body would be waited for for ever.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// From a request's headers to the end of its body.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// The body did not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the body did not end within {} s", BODY_PATIENCE.as_secs())
    }
}

impl std::error::Error for TooSlow {}

/// Gives each body its time.
pub(super) async fn bound(request: Request, next: Next) -> Response {
    let bounded = request.map(|body| Body::new(Bounded { body, late: None }));
    next.run(bounded).await
}

struct Bounded {
    body: Body,
    /// Started when it first has to be waited for: most bodies are there already.
    late: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(BODY_PATIENCE)));
        ready!(late.as_mut().poll(context));
        Poll::Ready(Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// True if `error` comes of it.
pub(super) fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(this) = error {
        if this.is::<TooSlow>() {
            return true;
        }
        error = this.source();
    }
    false
}
