//! `checksum`: checks that a request's body is what its header promised, and tells the client what the response's body is.

use std::borrow::Cow;

use extproc::{
    Body, BodyMode, BodyReply, Direction, Exchange, Headers, HeadersReply, Immediate, Processor, Reply, Stop,
    TrailersReply,
};

use super::{HeadersAfterBody, is_encoded};
use crate::algorithms::checksum::{
    Algorithm, Checksum as UnderWay, Mismatch, Promise, PromiseError, Verifier,
};

const CONTENT_DIGEST: &str = "content-digest";
const REPR_DIGEST: &str = "repr-digest";
/// The namespace of dynamic metadata that gets the response's digest as `response`.
const NAMESPACE: &str = "extproc.checksum";

/// A header that carries one sum in hex, in both directions.
#[derive(Clone, Debug)]
pub struct HexHeader {
    /// In lower case.
    pub name: String,
    /// What the sum is computed with.
    pub algorithm: Algorithm,
}

/// Checks requests against `content-digest` and `repr-digest` (RFC 9530), or against a [`HexHeader`]: what differs, or cannot be
/// read, gets 400 and never reaches the upstream as a whole request. Bodies pass as they come and are not kept.
///
/// Responses get `content-digest` (or the hex header): among the headers in BUFFERED, among the trailers in other modes, where a
/// response has any, and as dynamic metadata `extproc.checksum` / `response` for Envoy's access log in FULL_DUPLEX_STREAMED and
/// STREAMED.
#[derive(Clone, Debug, Default)]
pub struct Checksum {
    hex: Option<HexHeader>,
    is_required: bool,
}

/// What is under way.
#[derive(Debug, Default)]
pub struct State {
    request: Option<Verifier>,
    response: Option<String>,
}

impl Checksum {
    /// Uses this header in the place of those of RFC 9530.
    #[must_use]
    pub fn hex_header(mut self, header: HexHeader) -> Self {
        self.hex = Some(header);
        self
    }

    /// Requests with a body must promise something: others get 400.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    fn promise(&self, headers: &Headers) -> Result<Option<Promise>, PromiseError> {
        if let Some(HexHeader { name, algorithm }) = &self.hex {
            let text = headers.get(name).map(String::from_utf8_lossy);
            return text
                .map(|text| Promise::from_hex(*algorithm, text.trim()))
                .transpose();
        }
        // The representation is the content where it is sent as a whole, which a request does.
        let name = [CONTENT_DIGEST, REPR_DIGEST]
            .into_iter()
            .find(|name| headers.contains(name));
        let Some(name) = name else { return Ok(None) };
        let fields: Vec<_> = headers.get_all(name).map(String::from_utf8_lossy).collect();
        match Promise::from_digest_field(&fields.join(", ")) {
            // Only algorithms that nothing can be proved with: as good as no promise.
            Err(PromiseError::Unknown) => Ok(None),
            read => read.map(Some),
        }
    }

    fn algorithm(&self) -> Algorithm {
        self.hex.as_ref().map_or(Algorithm::Sha256, |hex| hex.algorithm)
    }

    fn name(&self) -> &str {
        self.hex.as_ref().map_or(CONTENT_DIGEST, |hex| &hex.name)
    }

    fn value(&self, sum: UnderWay) -> String {
        let sum = sum.finish();
        let field = if self.hex.is_some() {
            None
        } else {
            sum.digest_field()
        };
        field.unwrap_or_else(|| sum.hex())
    }
}

fn bad_request(text: String) -> Stop {
    Immediate::new(400)
        .body(text + "\n")
        .details("extproc_checksum")
        .into()
}

fn differs(mismatch: &Mismatch) -> Stop {
    bad_request(mismatch.to_string())
}

impl Processor for Checksum {
    type State = State;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("checksum")
    }

    async fn request_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        let promise = self
            .promise(headers)
            .map_err(|error| bad_request(error.to_string()))?;
        let Some(promise) = promise else {
            return if self.is_required && !headers.end_of_stream() {
                Err(bad_request(format!("The header {} is missing.", self.name())))
            } else {
                Ok(reply)
            };
        };
        let verifier = promise.verify();
        if headers.end_of_stream() {
            verifier.finish().map_err(|mismatch| differs(&mismatch))?;
        } else if exchange.modes().request == BodyMode::None {
            return Err(Stop::fail(
                "the request's body is not shown, so its checksum cannot be checked: set request_body_mode",
            ));
        } else {
            exchange.state().request = Some(verifier);
        }
        Ok(
            match HeadersAfterBody::of(exchange, Direction::Request, headers) {
                // Then the refusal of a body of one chunk reaches the client before the upstream has seen anything.
                HeadersAfterBody::Withheld => reply.after_body(),
                HeadersAfterBody::Buffered | HeadersAfterBody::Never => reply,
            },
        )
    }

    async fn request_body(&self, exchange: &Exchange<State>, mut body: Body) -> Reply<BodyReply> {
        let verifier = exchange.state().request.take();
        let Some(mut verifier) = verifier else {
            return Ok(BodyReply::unchanged());
        };
        // The last chunk passes when this returns: a body that differs never comes to its end.
        while let Some(chunk) = body.inspect().await? {
            verifier.update(&chunk);
        }
        verifier.finish().map_err(|mismatch| differs(&mismatch))?;
        Ok(BodyReply::unchanged())
    }

    async fn response_headers(&self, _: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        // An upstream's own may be of a body that others change still: it stays, unless this one can be set.
        Ok(
            if headers.end_of_stream() && !is_encoded(headers) && !headers.contains(self.name()) {
                reply.set(self.name(), self.value(UnderWay::new(self.algorithm())))
            } else {
                reply
            },
        )
    }

    async fn response_body(&self, exchange: &Exchange<State>, mut body: Body) -> Reply<BodyReply> {
        let mut sum = UnderWay::new(self.algorithm());
        while let Some(chunk) = body.inspect().await? {
            sum.update(&chunk);
        }
        let reply = BodyReply::unchanged();
        if body.mode() == BodyMode::BufferedPartial && !body.is_complete() {
            return Ok(reply);
        }
        let value = self.value(sum);
        exchange.state().response = Some(value.clone());
        Ok(match body.mode() {
            BodyMode::Buffered | BodyMode::BufferedPartial => reply.set(self.name(), value),
            BodyMode::Streamed | BodyMode::FullDuplex | BodyMode::None => {
                reply.metadata(NAMESPACE, "response", value)
            }
        })
    }

    async fn response_trailers(&self, exchange: &Exchange<State>, _: &Headers) -> Reply<TrailersReply> {
        let reply = TrailersReply::unchanged();
        let is_among_headers = matches!(
            exchange.modes().response,
            BodyMode::Buffered | BodyMode::BufferedPartial
        );
        Ok(match &exchange.state().response {
            Some(value) if !is_among_headers => reply.set(self.name(), value),
            Some(_) | None => reply,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, STREAMED, Talk};

    /// Of `{"hello": "world"}` and a line's end: RFC 9530, appendix D.
    const DIGEST: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
    const BODY: &str = "{\"hello\": \"world\"}\n";

    #[tokio::test]
    async fn a_body_that_is_what_was_promised_passes() {
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            for name in [CONTENT_DIGEST, REPR_DIGEST] {
                let talk = mk(mode)
                    .header(name, DIGEST)
                    .put("/a", BODY)
                    .reply(200, BODY)
                    .await;
                assert_eq!(talk.upstream_body(), BODY, "{mode:?}");
                assert!(talk.upstream_ended(), "{mode:?}");
            }
        }
    }

    #[tokio::test]
    async fn another_body_never_comes_to_its_end() {
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            for body in ["", "{\"hello\": \"worlt\"}\n", "{\"hello\": \"world\"}\n\n"] {
                let talk = mk(mode)
                    .header(CONTENT_DIGEST, DIGEST)
                    .put("/a", body)
                    .reply(200, "")
                    .await;
                assert_eq!(
                    talk.immediate().map(|answer| answer.status),
                    Some(400),
                    "{mode:?}"
                );
                assert!(!talk.upstream_ended(), "{mode:?}: must not look like an end");
            }
            let talk = mk(mode)
                .header(CONTENT_DIGEST, DIGEST)
                .get("/a")
                .reply(200, "")
                .await;
            assert_eq!(
                talk.immediate().map(|answer| answer.status),
                Some(400),
                "no body at all"
            );
        }
    }

    #[tokio::test]
    async fn a_promise_may_be_required_and_must_be_readable() {
        let status = async |talk: Talk| {
            let talk = talk.put("/a", "x").reply(200, "").await;
            talk.immediate().map(|answer| answer.status)
        };
        assert_eq!(status(mk(BUFFERED)).await, None);
        assert_eq!(
            status(mk(BUFFERED).header(CONTENT_DIGEST, "sha-256=abc")).await,
            Some(400)
        );
        let required = || Talk::new(Checksum::default().required()).modes(BUFFERED);
        assert_eq!(status(required()).await, Some(400));
        let weak = required().header(CONTENT_DIGEST, "md5=:nQHnYzBmZzF6lTk+zcsTgg==:");
        assert_eq!(status(weak).await, Some(400), "md5 proves nothing");
        let get = required().get("/a").reply(200, "").await;
        assert_eq!(get.immediate(), None, "no body, nothing to promise");
    }

    #[tokio::test]
    async fn one_sum_in_hex_may_be_used_instead() {
        let checksum = Checksum::default().hex_header(HexHeader {
            name: "x-crc32".into(),
            algorithm: Algorithm::Crc32,
        });
        let talk = |value| {
            Talk::new(checksum.clone())
                .modes(BUFFERED)
                .header("x-crc32", value)
        };
        let passes = talk("CBF43926")
            .put("/a", "123456789")
            .reply(200, "123456789")
            .await;
        assert_eq!(passes.client_header("x-crc32").as_deref(), Some("cbf43926"));
        let refused = talk("cbf43927").put("/a", "123456789").reply(200, "").await;
        assert_eq!(refused.immediate().map(|answer| answer.status), Some(400));
    }

    #[tokio::test]
    async fn the_response_tells_its_own_where_it_still_can() {
        let talk = mk(BUFFERED).get("/a").reply(200, BODY).await;
        assert_eq!(talk.client_header(CONTENT_DIGEST).as_deref(), Some(DIGEST));
        for mode in [FULL_DUPLEX, STREAMED] {
            let talk = mk(mode)
                .chunk(5)
                .response_trailer("grpc-status", "0")
                .get("/a")
                .reply(200, BODY)
                .await;
            assert_eq!(
                talk.client_header(CONTENT_DIGEST),
                None,
                "{mode:?}: the headers have gone on"
            );
            assert_eq!(
                talk.client_trailer(CONTENT_DIGEST).as_deref(),
                Some(DIGEST),
                "{mode:?}"
            );
            assert_eq!(talk.client_body(), BODY, "{mode:?}");
        }
        let empty = mk(BUFFERED).get("/a").reply(204, "").await;
        let of_nothing = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        assert_eq!(empty.client_header(CONTENT_DIGEST).as_deref(), Some(of_nothing));
    }

    fn mk(mode: extproc::Modes) -> Talk {
        Talk::new(Checksum::default()).modes(mode)
    }
}
