//! `digest`: SHA-256 of tenant, method, path and body in hex, as `x-request-digest`, to the upstream and back to the client.

use std::borrow::Cow;

use extproc::{Body, BodyMode, BodyReply, Direction, Exchange, Headers, HeadersReply, Processor, Reply};

use super::HeadersAfterBody;
use crate::algorithms::request_digest::RequestDigest;

/// The header that carries the digest.
pub(super) const DIGEST: &str = "x-request-digest";
const TENANT: &str = "x-tenant-id";

/// Digests requests. In STREAMED the upstream's headers have gone on before the body is known: only the client gets the digest
/// there. In BUFFERED and FULL_DUPLEX_STREAMED both do, and the body is collected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digest;

/// What is known of one request's digest.
#[derive(Debug, Default)]
pub struct State {
    under_way: Option<RequestDigest>,
    finished: Option<String>,
}

impl Processor for Digest {
    type State = State;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("DigestExtProcService")
    }

    async fn request_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        Ok(begin(exchange, headers))
    }

    async fn request_body(&self, exchange: &Exchange<State>, body: Body) -> Reply<BodyReply> {
        complete(exchange, body).await
    }

    async fn response_headers(&self, exchange: &Exchange<State>, _: &Headers) -> Reply<HeadersReply> {
        Ok(give_back(exchange))
    }
}

/// Begins with the headers; without a body to come the digest is finished with them.
pub(super) fn begin(exchange: &Exchange<State>, headers: &Headers) -> HeadersReply {
    let part = |name| headers.get(name).unwrap_or_default();
    let digest = RequestDigest::new(headers.get(TENANT), part(":method"), part(":path"));
    let reply = HeadersReply::unchanged();
    if headers.end_of_stream() {
        let hex = digest.hex();
        exchange.state().finished = Some(hex.clone());
        return reply.set(DIGEST, hex);
    }
    exchange.state().under_way = Some(digest);
    match HeadersAfterBody::of(exchange, Direction::Request, headers) {
        HeadersAfterBody::Withheld => reply.after_body(),
        HeadersAfterBody::Buffered | HeadersAfterBody::Never => reply,
    }
}

/// Adds the body.
pub(super) async fn complete(exchange: &Exchange<State>, mut body: Body) -> Reply<BodyReply> {
    let reply = BodyReply::unchanged();
    let Some(mut digest) = exchange.state().under_way.take() else {
        return Ok(reply);
    };
    if body.mode() == BodyMode::Streamed {
        while let Some(chunk) = body.inspect().await? {
            digest.update(&chunk);
        }
        exchange.state().finished = Some(digest.hex());
        return Ok(reply);
    }
    digest.update(&body.collect().await?);
    let hex = digest.hex();
    exchange.state().finished = Some(hex.clone());
    Ok(reply.set(DIGEST, hex))
}

/// Shows the client the digest, where the request was read to its end.
pub(super) fn give_back(exchange: &Exchange<State>) -> HeadersReply {
    let reply = HeadersReply::unchanged();
    match &exchange.state().finished {
        Some(hex) => reply.set(DIGEST, hex),
        None => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, NONE, STREAMED, Talk};

    /// From the transcripts in the Python SDK's README.
    const GET: &str = "860d64d6465b9e9886050295087e8a547b3e7a3c40e79d26147b50a97b9ac2c6";
    const PUT: &str = "a794dbc467285567e4c2604c991938386366f6ab94b0b0e4fab5e27e0a932e60";

    #[tokio::test]
    async fn a_request_without_a_body_is_digested_with_its_headers() {
        for mode in [BUFFERED, FULL_DUPLEX, NONE, STREAMED] {
            let talk = Talk::new(Digest)
                .modes(mode)
                .get("/something")
                .reply(200, "x")
                .await;
            assert_eq!(talk.upstream_header(DIGEST).as_deref(), Some(GET), "{mode:?}");
            assert_eq!(talk.client_header(DIGEST).as_deref(), Some(GET), "{mode:?}");
        }
    }

    #[tokio::test]
    async fn a_body_is_digested_where_the_headers_can_wait_for_it() {
        for mode in [BUFFERED, FULL_DUPLEX] {
            let talk = Talk::new(Digest)
                .modes(mode)
                .put("/something", "{\"hello\":\"hi\"}")
                .reply(200, "x")
                .await;
            assert_eq!(talk.upstream_header(DIGEST).as_deref(), Some(PUT), "{mode:?}");
            assert_eq!(talk.upstream_body(), "{\"hello\":\"hi\"}", "{mode:?}");
            assert_eq!(talk.client_header(DIGEST).as_deref(), Some(PUT), "{mode:?}");
        }
    }

    #[tokio::test]
    async fn in_streamed_the_client_alone_gets_it() {
        let talk = Talk::new(Digest)
            .modes(STREAMED)
            .put("/something", "{\"hello\":\"hi\"}")
            .reply(200, "x")
            .await;
        assert_eq!(talk.upstream_header(DIGEST), None);
        assert_eq!(talk.upstream_body(), "{\"hello\":\"hi\"}");
        assert_eq!(talk.client_header(DIGEST).as_deref(), Some(PUT));
    }

    #[tokio::test]
    async fn a_tenant_changes_it() {
        let talk = Talk::new(Digest)
            .header(TENANT, "acme")
            .get("/something")
            .reply(200, "")
            .await;
        assert_ne!(talk.client_header(DIGEST).as_deref(), Some(GET));
    }
}
