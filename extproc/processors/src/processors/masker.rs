//! `masker`: masks values in JSON bodies of requests and responses.

use std::borrow::Cow;

use extproc::{
    Accepts, Body, BodyMode, BodyReply, Exchange, Headers, HeadersReply, Immediate, Needs, Processor, Reply,
    Stop,
};

use super::{is_encoded, media_type};
use crate::algorithms::json;

/// Masks what paths lead to in bodies whose `content-type` is JSON (`application/json`, `..+json`). All other bodies pass.
///
/// A body that says it is JSON and cannot be read, because it is not JSON or is packed, is refused (400, or 502 in a response)
/// unless [`pass_unreadable`](Self::pass_unreadable) says otherwise. Upstreams are not offered packed answers where responses are
/// masked. Works on whole bodies, of 1 MiB at most, and in every mode but BUFFERED_PARTIAL, which shows only a part.
#[derive(Clone, Debug)]
pub struct Masker {
    request: Option<json::Masker>,
    response: Option<json::Masker>,
    passes_unreadable: bool,
}

/// Which bodies of an exchange are masked.
#[derive(Debug, Default)]
pub struct State {
    request: Masked,
    response: Masked,
}

/// What is done with a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Masked {
    /// It passes.
    #[default]
    No,
    Yes,
}

const WHOLE: Accepts = Accepts::Only(&[BodyMode::Streamed, BodyMode::Buffered, BodyMode::FullDuplex]);

impl Masker {
    /// Masks requests with `request` and responses with `response`.
    #[must_use]
    pub fn new(request: Option<json::Masker>, response: Option<json::Masker>) -> Self {
        Self {
            request,
            response,
            passes_unreadable: false,
        }
    }

    /// Lets JSON that cannot be read pass as it is.
    #[must_use]
    pub fn pass_unreadable(mut self) -> Self {
        self.passes_unreadable = true;
        self
    }

    /// Decides by the headers in front of a body.
    fn decide(&self, masker: Option<&json::Masker>, headers: &Headers, status: u16) -> Reply<Masked> {
        if masker.is_none() || headers.end_of_stream() || !is_json(headers) {
            return Ok(Masked::No);
        }
        if is_encoded(headers) {
            return if self.passes_unreadable {
                Ok(Masked::No)
            } else {
                Err(refusal(
                    status,
                    "The body is packed, so nothing in it can be masked.\n",
                ))
            };
        }
        Ok(Masked::Yes)
    }

    async fn mask(&self, masker: Option<&json::Masker>, mut body: Body, status: u16) -> Reply<BodyReply> {
        let Some(masker) = masker else {
            return Ok(BodyReply::unchanged());
        };
        let whole = body.collect().await?;
        match masker.mask(&whole) {
            Ok(Some(masked)) => Ok(BodyReply::replace(masked)),
            Ok(None) => Ok(BodyReply::unchanged()),
            // A response without a byte is that of HEAD, or of 304.
            Err(_) if whole.is_empty() || self.passes_unreadable => Ok(BodyReply::unchanged()),
            Err(_) => Err(refusal(
                status,
                "The body is not the JSON that its content-type says.\n",
            )),
        }
    }
}

const BAD_REQUEST: u16 = 400;
const BAD_GATEWAY: u16 = 502;

fn refusal(status: u16, text: &'static str) -> Stop {
    Immediate::new(status)
        .body(text)
        .details("extproc_not_json")
        .into()
}

fn is_json(headers: &Headers) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

impl Processor for Masker {
    type State = State;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("masker")
    }

    fn needs(&self) -> Needs {
        Needs {
            request: WHOLE,
            response: WHOLE,
            ..Needs::default()
        }
    }

    async fn request_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        exchange.state().request = self.decide(self.request.as_ref(), headers, BAD_REQUEST)?;
        let reply = HeadersReply::unchanged();
        Ok(
            if self.response.is_some() && headers.contains("accept-encoding") {
                reply.remove("accept-encoding")
            } else {
                reply
            },
        )
    }

    async fn request_body(&self, exchange: &Exchange<State>, body: Body) -> Reply<BodyReply> {
        let masked = exchange.state().request;
        match masked {
            Masked::Yes => self.mask(self.request.as_ref(), body, BAD_REQUEST).await,
            Masked::No => Ok(BodyReply::unchanged()),
        }
    }

    async fn response_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        exchange.state().response = self.decide(self.response.as_ref(), headers, BAD_GATEWAY)?;
        Ok(HeadersReply::unchanged())
    }

    async fn response_body(&self, exchange: &Exchange<State>, body: Body) -> Reply<BodyReply> {
        let masked = exchange.state().response;
        match masked {
            Masked::Yes => self.mask(self.response.as_ref(), body, BAD_GATEWAY).await,
            Masked::No => Ok(BodyReply::unchanged()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, PARTIAL, STREAMED, Talk};

    #[tokio::test]
    async fn masks_both_ways_in_every_mode() {
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            let talk = mk(mk_masker(), mode)
                .put("/a", "{\"ssn\": \"1\", \"b\": 2}")
                .reply(200, "{\"pin\":3}")
                .await;
            assert_eq!(talk.upstream_body(), "{\"ssn\": \"****\", \"b\": 2}", "{mode:?}");
            assert_eq!(talk.client_body(), "{\"pin\":\"****\"}", "{mode:?}");
        }
    }

    #[tokio::test]
    async fn a_masked_body_has_its_new_length() {
        let talk = mk(mk_masker(), BUFFERED)
            .header("content-length", "9")
            .put("/a", "{\"ssn\":1}")
            .reply(200, "{}")
            .await;
        assert_eq!(talk.upstream_header("content-length").as_deref(), Some("14"));
    }

    #[tokio::test]
    async fn other_bodies_pass_as_they_are() {
        let talk = Talk::new(mk_masker())
            .modes(BUFFERED)
            .header("content-type", "text/plain")
            .put("/a", "{\"ssn\": 1}")
            .reply(200, "{\"pin\": 1")
            .await;
        assert_eq!(talk.upstream_body(), "{\"ssn\": 1}");
        assert_eq!(talk.client_body(), "{\"pin\": 1");
    }

    #[tokio::test]
    async fn json_that_cannot_be_read_is_refused_or_passes_as_told() {
        let refused = mk(mk_masker(), BUFFERED)
            .put("/a", "{\"ssn\": 1")
            .reply(200, "{}")
            .await;
        assert_eq!(refused.immediate().map(|answer| answer.status), Some(400));
        let refused = mk(mk_masker(), BUFFERED)
            .put("/a", "{}")
            .reply(200, "{\"pin\": 1")
            .await;
        assert_eq!(refused.immediate().map(|answer| answer.status), Some(502));
        let packed = mk(mk_masker(), BUFFERED).header("content-encoding", "gzip");
        let refused = packed.put("/a", "\u{1f}").reply(200, "{}").await;
        assert_eq!(refused.immediate().map(|answer| answer.status), Some(400));
        let passes = mk(mk_masker().pass_unreadable(), BUFFERED);
        let passes = passes.put("/a", "{\"ssn\": 1").reply(200, "{\"pin\": 1").await;
        assert_eq!(
            (passes.upstream_body(), passes.client_body()),
            ("{\"ssn\": 1".into(), "{\"pin\": 1".into())
        );
    }

    #[tokio::test]
    async fn upstreams_are_not_offered_packed_answers() {
        let talk = mk(mk_masker(), BUFFERED)
            .header("accept-encoding", "gzip")
            .get("/a")
            .reply(200, "{}")
            .await;
        assert_eq!(talk.upstream_header("accept-encoding"), None);
    }

    #[tokio::test]
    async fn a_part_of_a_body_is_not_worked_on() {
        let talk = mk(mk_masker(), PARTIAL)
            .put("/a", "{\"ssn\": 1}")
            .reply(200, "{}")
            .await;
        assert_eq!(talk.status(), tonic::Code::FailedPrecondition);
    }

    fn mk_masker() -> Masker {
        let masker = |path: &str| Some(json::Masker::new(vec![path.parse().unwrap()]));
        Masker::new(masker("ssn"), masker("pin"))
    }

    fn mk(masker: Masker, mode: extproc::Modes) -> Talk {
        let talk = Talk::new(masker)
            .modes(mode)
            .header("content-type", "application/json; charset=utf-8");
        talk.response_header("content-type", "application/problem+json")
    }
}
