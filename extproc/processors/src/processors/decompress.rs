//! `decompress`: unpacks gzip: requests for upstreams that cannot, responses for clients that do not take it.

use std::borrow::Cow;

use bytes::Bytes;
use extproc::{
    Body, BodyReply, BodyWriter, Direction, Exchange, Headers, HeadersReply, Immediate, Processor, Reply,
    Stop,
};

use super::{Directions, is_shown};
use crate::algorithms::{
    accept_encoding::{Choice, choose},
    gzip::{DecodeError, Decoder, Limits, PIECE},
};

/// Unpacks bodies whose only coding is gzip, in constant memory and within [`Limits`]: by default 100 bytes for each one, so
/// that a small body cannot become an endless one. What breaks them gets 413, what is no whole gzip 400 (502 in a response); where
/// the headers have gone on already the stream is reset, and never ended as if it were whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decompress {
    directions: Directions,
    limits: Limits,
}

/// Which bodies of an exchange are unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    request: bool,
    response: bool,
}

impl Decompress {
    /// Which bodies to unpack: those of both directions unless said otherwise.
    #[must_use]
    pub fn directions(mut self, directions: Directions) -> Self {
        self.directions = directions;
        self
    }

    /// How much may come out.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Whether gzip is the only coding.
fn is_gzip(headers: &Headers) -> bool {
    let mut codings = headers.get_all("content-encoding");
    let only = codings.next().filter(|_| codings.next().is_none());
    only.is_some_and(|coding| coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip"))
}

/// Headers without what was said of the packed body.
fn unpacked() -> HeadersReply {
    HeadersReply::unchanged()
        .remove("content-encoding")
        .remove("content-length")
        .remove("content-digest")
        .remove("repr-digest")
}

fn refusal(error: DecodeError, malformed: u16) -> Stop {
    let status = match error {
        DecodeError::TooDense(_) | DecodeError::TooLong(_) => 413,
        DecodeError::NotGzip
        | DecodeError::HeaderTooLong
        | DecodeError::Corrupt
        | DecodeError::Truncated
        | DecodeError::TrailingGarbage => malformed,
    };
    // An upstream that misbehaves is no fault of the client's.
    let status = if malformed == 502 { 502 } else { status };
    Immediate::new(status)
        .body(format!("{error}\n"))
        .details("extproc_gzip")
        .into()
}

async fn unpack(body: Body, limits: Limits, malformed: u16) -> Reply<BodyReply> {
    let (mut input, mut output) = body.split();
    let mut gzip = Decoder::new(limits);
    while let Some(mut chunk) = input.next().await? {
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(PIECE));
            unpack_part(&mut gzip, part, &mut output, malformed).await?;
        }
    }
    gzip.finish().map_err(|error| refusal(error, malformed))?;
    Ok(BodyReply::written())
}

/// Unpacks one part, and lets others run after each piece: it takes some milliseconds.
async fn unpack_part(
    gzip: &mut Decoder,
    mut part: Bytes,
    output: &mut BodyWriter,
    malformed: u16,
) -> Reply<()> {
    while let Some(piece) = gzip
        .decode(&mut part)
        .map_err(|error| refusal(error, malformed))?
    {
        output.send(piece).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

impl Processor for Decompress {
    type State = State;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("decompress")
    }

    async fn request_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        let is_wanted =
            self.directions.request && is_shown(exchange, Direction::Request, headers) && is_gzip(headers);
        exchange.state().request = is_wanted;
        Ok(if is_wanted {
            unpacked()
        } else {
            HeadersReply::unchanged()
        })
    }

    async fn request_body(&self, exchange: &Exchange<State>, body: Body) -> Reply<BodyReply> {
        if exchange.state().request {
            return unpack(body, self.limits, 400).await;
        }
        Ok(BodyReply::unchanged())
    }

    async fn response_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        let accepts = exchange.request_headers().map_or(Choice::Identity, |headers| {
            choose(headers.get_all("accept-encoding"))
        });
        let is_wanted = self.directions.response
            && accepts == Choice::Identity
            && exchange.method() != Some("HEAD")
            && !matches!(exchange.status(), Some(204 | 206 | 304))
            && is_shown(exchange, Direction::Response, headers)
            && is_gzip(headers);
        exchange.state().response = is_wanted;
        Ok(if is_wanted {
            unpacked()
        } else {
            HeadersReply::unchanged()
        })
    }

    async fn response_body(&self, exchange: &Exchange<State>, body: Body) -> Reply<BodyReply> {
        if exchange.state().response {
            return unpack(body, self.limits, 502).await;
        }
        Ok(BodyReply::unchanged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        algorithms::gzip::{Encoder, Level},
        testing::{BUFFERED, FULL_DUPLEX, NONE, STREAMED, Talk},
    };

    #[tokio::test]
    async fn unpacks_both_ways_in_every_mode() {
        let long = "hold fast, ".repeat(10_000);
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            let packed = pack(&long);
            let talk = mk()
                .modes(mode)
                .chunk(100)
                .header("content-length", &packed.len().to_string())
                .put_bytes("/a", packed.clone())
                .reply_bytes(200, packed)
                .await;
            assert_eq!(talk.upstream_header("content-encoding"), None, "{mode:?}");
            assert_eq!(talk.upstream_body(), long, "{mode:?}");
            let expected = (mode == BUFFERED).then(|| long.len().to_string());
            assert_eq!(talk.upstream_header("content-length"), expected, "{mode:?}");
            assert_eq!(talk.client_body(), long, "{mode:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_whole_is_never_passed_for_it() {
        let packed = pack("hold fast");
        let cut = packed.slice(..packed.len() - 1);
        for body in [cut, Bytes::from("plain"), [&packed[..], b"x"].concat().into()] {
            for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
                let talk = mk()
                    .modes(mode)
                    .put_bytes("/a", body.clone())
                    .reply(200, "")
                    .await;
                assert_eq!(
                    talk.immediate().map(|answer| answer.status),
                    Some(400),
                    "{mode:?}"
                );
                assert!(!talk.upstream_ended(), "{mode:?}: must not look like an end");
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_is_refused() {
        let bomb = pack(&"\0".repeat(8 << 20));
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            let talk = mk()
                .modes(mode)
                .put_bytes("/a", bomb.clone())
                .reply(200, "")
                .await;
            assert_eq!(
                talk.immediate().map(|answer| answer.status),
                Some(413),
                "{mode:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_gzip_gets_it() {
        let packed = pack("text");
        let talk = mk().modes(BUFFERED).header("accept-encoding", "gzip").get("/a");
        let talk = talk.reply_bytes(200, packed.clone()).await;
        assert_eq!(talk.client_bytes(), packed);
        assert_eq!(talk.client_header("content-encoding").as_deref(), Some("gzip"));
    }

    #[tokio::test]
    async fn other_codings_and_bodies_that_are_not_shown_stay() {
        let talk = Talk::new(Decompress::default())
            .modes(BUFFERED)
            .header("content-encoding", "gzip, br");
        let talk = talk.put("/a", "body").reply(200, "").await;
        assert_eq!(talk.upstream_body(), "body");
        assert_eq!(
            talk.upstream_header("content-encoding").as_deref(),
            Some("gzip, br")
        );
        let talk = mk().modes(NONE).put("/a", "body").reply(200, "").await;
        assert_eq!(talk.upstream_header("content-encoding").as_deref(), Some("gzip"));
    }

    fn mk() -> Talk {
        Talk::new(Decompress::default())
            .header("content-encoding", "gzip")
            .response_header("content-encoding", "gzip")
    }

    fn pack(text: &str) -> Bytes {
        let mut gzip = Encoder::new(Level::DEFAULT);
        let (mut text, mut packed) = (Bytes::copy_from_slice(text.as_bytes()), Vec::new());
        while let Some(piece) = gzip.encode(&mut text).unwrap() {
            packed.extend_from_slice(&piece);
        }
        while let Some(piece) = gzip.finish().unwrap() {
            packed.extend_from_slice(&piece);
        }
        packed.into()
    }
}
