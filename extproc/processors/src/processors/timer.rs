//! `timer`: when the request began, as `x-request-started` to the upstream and to the client, and how long it took, as
//! `x-duration-ns`.

use std::borrow::Cow;

use extproc::{Body, BodyMode, BodyReply, Direction, Exchange, Headers, HeadersReply, Processor, Reply};

use super::HeadersAfterBody;
use crate::algorithms::rfc3339::rfc3339;

const STARTED: &str = "x-request-started";
const DURATION: &str = "x-duration-ns";

/// Times requests. The duration is until the response's body has come where Envoy buffers it, and until its headers have come
/// in every other mode: they go on before the body there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

impl Processor for Timer {
    type State = ();

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("TimerExtProcService")
    }

    async fn request_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(HeadersReply::unchanged().set(STARTED, rfc3339(exchange.started_at())))
    }

    async fn response_headers(&self, exchange: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        Ok(
            match HeadersAfterBody::of(exchange, Direction::Response, headers) {
                HeadersAfterBody::Buffered => reply,
                HeadersAfterBody::Withheld | HeadersAfterBody::Never => reply.headers(times(exchange)),
            },
        )
    }

    async fn response_body(&self, exchange: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        let reply = BodyReply::unchanged();
        Ok(
            if matches!(body.mode(), BodyMode::Buffered | BodyMode::BufferedPartial) {
                reply.headers(times(exchange))
            } else {
                reply
            },
        )
    }
}

fn times(exchange: &Exchange<()>) -> [(&'static str, String); 2] {
    let duration = exchange.started().elapsed().as_nanos();
    [
        (STARTED, rfc3339(exchange.started_at())),
        (DURATION, duration.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, NONE, STREAMED, Talk};

    #[tokio::test]
    async fn says_the_same_start_both_ways_and_a_duration_in_every_mode() {
        for mode in [BUFFERED, FULL_DUPLEX, NONE, STREAMED] {
            let talk = Talk::new(Timer)
                .modes(mode)
                .put("/a", "body")
                .reply(200, "answer")
                .await;
            let started = talk.upstream_header(STARTED).unwrap();
            assert!(started.ends_with('Z') && started.len() == 30, "{started}");
            assert_eq!(talk.client_header(STARTED), Some(started), "{mode:?}");
            let duration: u64 = talk.client_header(DURATION).unwrap().parse().unwrap();
            assert!(duration > 0, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn times_a_response_without_a_body() {
        let talk = Talk::new(Timer).modes(BUFFERED).get("/a").reply(204, "").await;
        assert!(talk.client_header(DURATION).is_some());
    }
}
