//! `data`: keeps a value of its own from the request's headers to the response's, as the Go SDK's example does.

use std::borrow::Cow;

use extproc::{Exchange, Headers, HeadersReply, Processor, Reply};

const DATA: &str = "x-extproc-custom-data";

/// Gives each request a random id, and shows it in the response as `x-extproc-custom-data`. Not secret: it can be guessed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Data;

impl Processor for Data {
    type State = Option<String>;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("data")
    }

    async fn request_headers(&self, exchange: &Exchange<Self::State>, _: &Headers) -> Reply<HeadersReply> {
        *exchange.state() = Some(uuid(fastrand::u128(..)));
        Ok(HeadersReply::unchanged())
    }

    async fn response_headers(&self, exchange: &Exchange<Self::State>, _: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        Ok(match &*exchange.state() {
            Some(id) => reply.set(DATA, id),
            None => reply,
        })
    }
}

/// `bits` as a UUID of version 4 (RFC 9562).
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76 | 0b11 << 62) | 4 << 76 | 0b10 << 62;
    let field = |shift: u32, width: u32| bits >> shift & ((1 << width) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        field(96, 32),
        field(80, 16),
        field(64, 16),
        field(48, 16),
        field(0, 48)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Talk;

    #[tokio::test]
    async fn the_response_shows_what_the_request_got() {
        let talk = Talk::new(Data).get("/a").reply(200, "").await;
        let id = talk.client_header(DATA).unwrap();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(talk.upstream_header(DATA), None);
    }

    #[test]
    fn an_id_is_a_uuid_of_version_4() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
