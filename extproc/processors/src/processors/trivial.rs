//! `trivial`: the request's id once more, as `x-extra-request-id`, to the upstream and back to the client.

use std::borrow::Cow;

use extproc::{Exchange, Headers, HeadersReply, Processor, Reply};

const EXTRA: &str = "x-extra-request-id";

/// Repeats `x-request-id`. Where there is none, it adds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trivial;

impl Processor for Trivial {
    type State = ();

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("TrivialExtProcService")
    }

    async fn request_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(repeated(exchange))
    }

    async fn response_headers(&self, exchange: &Exchange<()>, _: &Headers) -> Reply<HeadersReply> {
        Ok(repeated(exchange))
    }
}

fn repeated(exchange: &Exchange<()>) -> HeadersReply {
    let reply = HeadersReply::unchanged();
    match exchange.request_id() {
        Some(id) => reply.set(EXTRA, id),
        None => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NONE, Talk};

    #[tokio::test]
    async fn repeats_the_id_both_ways() {
        let talk = Talk::new(Trivial)
            .header("x-request-id", "1-2")
            .get("/a")
            .reply(200, "")
            .await;
        assert_eq!(talk.upstream_header(EXTRA).as_deref(), Some("1-2"));
        assert_eq!(talk.client_header(EXTRA).as_deref(), Some("1-2"));
    }

    #[tokio::test]
    async fn adds_nothing_where_there_is_no_id() {
        let talk = Talk::new(Trivial).modes(NONE).get("/a").reply(200, "").await;
        assert_eq!(talk.upstream_header(EXTRA), None, "must not be empty");
        assert_eq!(talk.client_header(EXTRA), None, "must not be empty");
    }
}
