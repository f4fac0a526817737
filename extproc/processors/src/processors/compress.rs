//! `compress`: packs responses with gzip for clients that take it: M chunks in, N pieces out, in constant memory.

use std::borrow::Cow;

use bytes::Bytes;
use extproc::{Body, BodyReply, BodyWriter, Direction, Exchange, Headers, HeadersReply, Processor, Reply};

use super::{is_encoded, is_shown, media_type};
use crate::algorithms::{
    accept_encoding::{Choice, choose},
    gzip::{Encoder, Level, PIECE},
};

/// Responses shorter than this are not packed, unless said otherwise: in bytes of `content-length`.
const SHORTEST: u64 = 256;

/// Packs responses whose type is text in some way, which are not packed yet, and whose client accepts gzip. Server-sent events
/// are flushed after each chunk. A strong `etag` becomes a weak one, digests of the unpacked body are removed, and
/// `vary: accept-encoding` says that the answer depends on the client.
#[derive(Clone, Copy, Debug)]
pub struct Compress {
    level: Level,
    shortest: u64,
}

/// What is done with the response's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It passes.
    #[default]
    Plain,
    /// It is packed; `flushes` after each chunk.
    Packed {
        /// Whether the client waits for each part.
        flushes: bool,
    },
}

impl Default for Compress {
    fn default() -> Self {
        Self {
            level: Level::DEFAULT,
            shortest: SHORTEST,
        }
    }
}

impl Compress {
    /// How hard to compress.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Leaves responses alone whose `content-length` is less than this.
    #[must_use]
    pub fn shortest(mut self, bytes: u64) -> Self {
        self.shortest = bytes;
        self
    }

    /// Whether a response may be packed for a client that wants it.
    fn is_eligible(self, exchange: &Exchange<State>, headers: &Headers) -> bool {
        let status = exchange.status().unwrap_or_default();
        let is_long = exchange
            .response_content_length()
            .is_none_or(|length| length >= self.shortest);
        let may_be_changed = !headers
            .get_all("cache-control")
            .any(|value| contains_word(value, "no-transform"));
        is_shown(exchange, Direction::Response, headers)
            && exchange.method() != Some("HEAD")
            // A part of a body, and answers without one.
            && !matches!(status, ..200 | 204 | 205 | 206 | 304)
            && is_long
            && may_be_changed
            && !is_encoded(headers)
            && media_type(headers).is_some_and(|kind| is_text(&kind))
    }
}

/// Whether a comma-separated list has this word.
fn contains_word(list: &[u8], word: &str) -> bool {
    list.split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether bodies of this type get smaller.
fn is_text(kind: &str) -> bool {
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || [
            "application/javascript",
            "application/json",
            "application/wasm",
            "application/x-ndjson",
            "application/xml",
            "font/otf",
            "font/ttf",
            "image/bmp",
        ]
        .contains(&kind)
}

impl Processor for Compress {
    type State = State;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("compress")
    }

    async fn response_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        if !self.is_eligible(exchange, headers) {
            return Ok(reply);
        }
        let is_said = headers
            .get_all("vary")
            .any(|value| contains_word(value, "accept-encoding") || contains_word(value, "*"));
        let reply = if is_said {
            reply
        } else {
            reply.append("vary", "accept-encoding")
        };
        let wanted = exchange.request_headers().map_or(Choice::Identity, |headers| {
            choose(headers.get_all("accept-encoding"))
        });
        if wanted == Choice::Identity {
            return Ok(reply);
        }
        let flushes = media_type(headers).as_deref() == Some("text/event-stream");
        *exchange.state() = State::Packed { flushes };
        let reply = match headers.get("etag") {
            Some(etag) if !etag.starts_with(b"W/") => reply.set("etag", [b"W/", etag].concat()),
            Some(_) | None => reply,
        };
        Ok(reply
            .set("content-encoding", "gzip")
            .remove("content-length")
            .remove("accept-ranges")
            .remove("content-digest")
            .remove("repr-digest"))
    }

    async fn response_body(&self, exchange: &Exchange<State>, body: Body) -> Reply<BodyReply> {
        let state = *exchange.state();
        let State::Packed { flushes } = state else {
            return Ok(BodyReply::unchanged());
        };
        let (mut input, mut output) = body.split();
        let mut gzip = Encoder::new(self.level);
        while let Some(mut chunk) = input.next().await? {
            while !chunk.is_empty() {
                let part = chunk.split_to(chunk.len().min(PIECE));
                pack(&mut gzip, part, &mut output).await?;
            }
            while flushes && let Some(piece) = gzip.flush()? {
                output.send(piece).await?;
            }
        }
        while let Some(piece) = gzip.finish()? {
            output.send(piece).await?;
        }
        Ok(BodyReply::written())
    }
}

/// Packs one part, and lets others run: it takes some milliseconds.
async fn pack(gzip: &mut Encoder, mut part: Bytes, output: &mut BodyWriter) -> Reply<()> {
    while let Some(piece) = gzip.encode(&mut part)? {
        output.send(piece).await?;
    }
    tokio::task::yield_now().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, NONE, STREAMED, Talk};

    #[tokio::test]
    async fn packs_in_every_mode_and_says_so() {
        let long = "hold fast, ".repeat(100_000);
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            let talk = mk()
                .modes(mode)
                .chunk(10_000)
                .response_header("content-length", &long.len().to_string());
            let talk = talk.get("/a").reply(200, &long).await;
            assert_eq!(
                talk.client_header("content-encoding").as_deref(),
                Some("gzip"),
                "{mode:?}"
            );
            let packed = talk.client_bytes();
            assert!(packed.len() < long.len() / 50, "{mode:?}: {} bytes", packed.len());
            assert_eq!(unpacked(&packed), long, "{mode:?}");
            let expected = (mode == BUFFERED).then(|| packed.len().to_string());
            assert_eq!(talk.client_header("content-length"), expected, "{mode:?}");
            assert_eq!(talk.client_header("etag").as_deref(), Some("W/\"1\""));
            assert_eq!(
                talk.client_header("content-digest"),
                None,
                "it was of other bytes"
            );
            assert_eq!(talk.client_header("vary").as_deref(), Some("accept-encoding"));
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_want_it_is_told_that_others_might() {
        let talk = mk_for("gzip;q=0, *").get("/a").reply(200, "text").await;
        assert_eq!(talk.client_body(), "text");
        assert_eq!(talk.client_header("content-encoding"), None);
        assert_eq!(talk.client_header("vary").as_deref(), Some("accept-encoding"));
    }

    #[tokio::test]
    async fn leaves_alone_what_is_packed_partial_short_or_no_text() {
        for (status, name, value) in [
            (200, "content-encoding", "br"),
            (200, "content-type", "image/png"),
            (200, "content-length", "255"),
            (200, "cache-control", "public, No-Transform"),
            (206, "x", "y"),
            (304, "x", "y"),
        ] {
            let talk = mk()
                .response_header(name, value)
                .get("/a")
                .reply(status, "text")
                .await;
            assert_eq!(talk.client_body(), "text", "{status} {name}: {value}");
            assert_eq!(talk.client_header("vary"), None, "{status} {name}: {value}");
        }
        let talk = mk().modes(NONE).get("/a").reply(200, "text").await;
        assert_eq!(
            talk.client_header("content-encoding"),
            None,
            "a body that is not shown stays"
        );
    }

    #[tokio::test]
    async fn each_event_can_be_read_when_it_has_come() {
        let talk = mk()
            .modes(FULL_DUPLEX)
            .response_header("content-type", "text/event-stream")
            .chunk(8)
            .get("/events")
            .reply(200, "data: 1\ndata: 2\ndata: 3\n")
            .await;
        let pieces = talk.client_pieces();
        assert_eq!(pieces.len(), 4, "one for each event, and the end");
        assert_eq!(unpacked(&pieces[..2].concat()), "data: 1\ndata: 2\n");
    }

    fn mk() -> Talk {
        mk_for("gzip, br")
    }

    fn mk_for(accepted: &str) -> Talk {
        Talk::new(Compress::default())
            .modes(BUFFERED)
            .header("accept-encoding", accepted)
            .response_header("content-type", "text/plain; charset=utf-8")
            .response_header("etag", "\"1\"")
            .response_header("content-digest", "sha-256=:AAAA:")
    }

    /// As far as it can be read.
    fn unpacked(packed: &[u8]) -> String {
        let mut text = Vec::new();
        let mut gzip = flate2::read::GzDecoder::new(packed);
        let mut byte = [0];
        while let Ok(1) = gzip.read(&mut byte) {
            text.push(byte[0]);
        }
        String::from_utf8(text).unwrap()
    }
}
