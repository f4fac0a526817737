//! `echo`: answers a request itself, with its own headers and body, where `x-echo-only` says so.

use std::borrow::Cow;

use extproc::{Body, BodyReply, Exchange, Immediate, Processor, Reply};

use super::is_truthy;

const ECHO_ONLY: &str = "x-echo-only";

/// What belongs to the request's own connection or length, and so not into an answer.
const KEPT_BACK: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Echoes. As in the Python SDK the answer is given when the body has come: a request without a body goes to the upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Processor for Echo {
    type State = ();

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("EchoExtProcService")
    }

    async fn request_body(&self, exchange: &Exchange<()>, mut body: Body) -> Reply<BodyReply> {
        let Some(headers) = exchange.request_headers() else {
            return Ok(BodyReply::unchanged());
        };
        if !headers.get(ECHO_ONLY).is_some_and(is_truthy) {
            return Ok(BodyReply::unchanged());
        }
        let answer = headers
            .iter()
            .filter(|(name, _)| !name.starts_with(':') && !KEPT_BACK.contains(name))
            .fold(Immediate::new(200), |answer, (name, value)| {
                answer.append_header(name, value)
            });
        Err(answer.body(body.collect().await?).details("extproc_echo").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, STREAMED, Talk};

    #[tokio::test]
    async fn answers_with_what_came() {
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            let talk = Talk::new(Echo)
                .modes(mode)
                .header(ECHO_ONLY, "true")
                .header("x-twice", "1")
                .header("x-twice", "2")
                .header("content-length", "4")
                .put("/a", "body")
                .reply(200, "not reached")
                .await;
            let answer = talk.immediate().expect("must answer");
            assert_eq!((answer.status, answer.body.as_str()), (200, "body"), "{mode:?}");
            let header = |name: &str| answer.header(name);
            assert_eq!(header(ECHO_ONLY), ["true"]);
            assert_eq!(header("x-twice"), ["1", "2"]);
            assert_eq!(header("content-length"), [""; 0], "Envoy knows the length");
            assert_eq!(header(":path"), [""; 0]);
            assert_eq!(header("x-ext-procs-applied"), ["EchoExtProcService"]);
        }
    }

    #[tokio::test]
    async fn lets_pass_what_does_not_ask() {
        for value in [None, Some("false"), Some("TRUE")] {
            let talk = Talk::new(Echo).modes(BUFFERED);
            let talk = value
                .into_iter()
                .fold(talk, |talk, value| talk.header(ECHO_ONLY, value));
            let talk = talk.put("/a", "body").reply(200, "answer").await;
            assert_eq!(talk.client_body(), "answer", "{value:?}");
        }
    }
}
