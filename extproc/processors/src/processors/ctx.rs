//! `ctx`: checks that what one phase stores is what the later ones of the same request find, by `x-context-id`.

use std::borrow::Cow;

use extproc::{
    Body, BodyMode, BodyReply, Direction, Exchange, Headers, HeadersReply, Processor, Reply, Stop,
};
use serde::Deserialize;

use super::HeadersAfterBody;

const CONTEXT: &str = "x-context-id";

/// Where a request has `x-context-id`: its body must be that id, the `path` in the response's JSON must be the request's, and
/// the response gets the id as well. Whatever differs fails the request. Without the header it does nothing.
///
/// In STREAMED the response's headers have gone on before its body is checked, so they do not get the id there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ctx;

#[derive(Deserialize)]
struct Answer {
    path: String,
}

impl Processor for Ctx {
    type State = Option<Vec<u8>>;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("CtxExtProcService")
    }

    async fn request_headers(
        &self,
        exchange: &Exchange<Self::State>,
        headers: &Headers,
    ) -> Reply<HeadersReply> {
        let Some(id) = headers.get(CONTEXT).filter(|id| !id.is_empty()) else {
            return Ok(HeadersReply::unchanged());
        };
        *exchange.state() = Some(id.to_vec());
        Ok(HeadersReply::unchanged().set(CONTEXT, id))
    }

    async fn request_body(&self, exchange: &Exchange<Self::State>, mut body: Body) -> Reply<BodyReply> {
        let id = exchange.state().clone();
        if let Some(id) = id
            && body.collect().await? != id
        {
            return Err(Stop::fail("the body of the request is not its context id"));
        }
        Ok(BodyReply::unchanged())
    }

    async fn response_headers(
        &self,
        exchange: &Exchange<Self::State>,
        headers: &Headers,
    ) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        if exchange.state().is_none() {
            return Ok(reply);
        }
        Ok(
            match HeadersAfterBody::of(exchange, Direction::Response, headers) {
                HeadersAfterBody::Withheld => reply.after_body(),
                HeadersAfterBody::Buffered | HeadersAfterBody::Never => reply,
            },
        )
    }

    async fn response_body(&self, exchange: &Exchange<Self::State>, mut body: Body) -> Reply<BodyReply> {
        let reply = BodyReply::unchanged();
        let Some(id) = exchange.state().clone() else {
            return Ok(reply);
        };
        let answer: Answer = serde_json::from_slice(&body.collect().await?)?;
        if exchange.path_and_query() != Some(&answer.path) {
            return Err(Stop::fail("the path in the response is not that of its request"));
        }
        Ok(match body.mode() {
            BodyMode::Streamed | BodyMode::None => reply,
            BodyMode::Buffered | BodyMode::BufferedPartial | BodyMode::FullDuplex => reply.set(CONTEXT, id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, STREAMED, Talk};

    const JSON: &str = "{\"path\": \"/a?b=c\", \"more\": 1}";

    #[tokio::test]
    async fn gives_the_id_back_where_all_is_as_it_was() {
        for (mode, expected) in [
            (BUFFERED, Some("id-7")),
            (FULL_DUPLEX, Some("id-7")),
            (STREAMED, None),
        ] {
            let talk = Talk::new(Ctx).modes(mode).header(CONTEXT, "id-7");
            let talk = talk.put("/a?b=c", "id-7").reply(200, JSON).await;
            assert_eq!(talk.upstream_header(CONTEXT).as_deref(), Some("id-7"), "{mode:?}");
            assert_eq!(talk.client_header(CONTEXT).as_deref(), expected, "{mode:?}");
            assert_eq!(talk.client_body(), JSON, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn fails_where_something_differs() {
        for (id, body, answer) in [
            ("id-7", "id-8", JSON),
            ("id-7", "", JSON),
            ("id-7", "id-7", "{\"path\": \"/b\"}"),
            ("id-7", "id-7", "no JSON"),
            ("id-7", "id-7", "{}"),
        ] {
            let talk = Talk::new(Ctx).modes(BUFFERED).header(CONTEXT, id);
            let talk = talk.put("/a?b=c", body).reply(200, answer).await;
            assert_eq!(talk.status(), tonic::Code::Internal, "{body:?} {answer:?}");
        }
    }

    #[tokio::test]
    async fn does_nothing_without_the_header() {
        let talk = Talk::new(Ctx)
            .modes(BUFFERED)
            .put("/a", "anything")
            .reply(200, "no JSON")
            .await;
        assert_eq!(talk.status(), tonic::Code::Ok);
        assert_eq!(talk.upstream_header(CONTEXT), None, "must not be empty");
        assert_eq!(talk.client_header(CONTEXT), None);
    }
}
