//! `scan`: lets no body pass that has one of a list of patterns in it, wherever it is cut.

use std::borrow::Cow;

use extproc::{
    Body, BodyReply, Direction, Exchange, Headers, HeadersReply, Immediate, Processor, Reply, Stop,
};

use super::{Directions, HeadersAfterBody, is_encoded, is_shown};
use crate::algorithms::scan::{Match, Patterns, Scanner};

/// Refuses bodies with a pattern in them: 403, or what [`status`](Self::status) says. Holds back the longest pattern less one
/// byte, so that no byte of a match goes on. The answer is a whole one as long as nothing of the body has gone on (in BUFFERED
/// always; in FULL_DUPLEX_STREAMED the headers wait for the body's first bytes); after that the stream is reset, and never ended
/// as if it were whole.
///
/// Packed bodies cannot be looked into: they are refused with 415 (502 in a response) unless
/// [`pass_encoded`](Self::pass_encoded) says otherwise. Upstreams are not offered packed answers where responses are scanned.
/// In BUFFERED_PARTIAL a body that Envoy shows only a part of is refused.
#[derive(Clone, Debug)]
pub struct Scan {
    patterns: Patterns,
    directions: Directions,
    status: u16,
    passes_encoded: bool,
}

impl Scan {
    /// Searches both directions.
    #[must_use]
    pub fn new(patterns: Patterns) -> Self {
        Self {
            patterns,
            directions: Directions::default(),
            status: 403,
            passes_encoded: false,
        }
    }

    /// Which bodies to search.
    #[must_use]
    pub fn directions(mut self, directions: Directions) -> Self {
        self.directions = directions;
        self
    }

    /// What a match is answered with.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Lets packed bodies pass unsearched.
    #[must_use]
    pub fn pass_encoded(mut self) -> Self {
        self.passes_encoded = true;
        self
    }

    /// Decides by the headers in front of a body.
    fn decide(
        &self,
        exchange: &Exchange<()>,
        direction: Direction,
        headers: &Headers,
        encoded: u16,
    ) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        if headers.end_of_stream() || !self.is_searched(direction) {
            return Ok(reply);
        }
        if !is_shown(exchange, direction, headers) {
            let direction = direction.name();
            return Err(Stop::fail(format!(
                "the {direction}'s body is not shown, so it cannot be searched: set {direction}_body_mode"
            )));
        }
        if is_encoded(headers) && !self.passes_encoded {
            return Err(Immediate::new(encoded)
                .body("The body is packed, so it cannot be searched.\n")
                .details("extproc_scan_encoded")
                .into());
        }
        Ok(match HeadersAfterBody::of(exchange, direction, headers) {
            HeadersAfterBody::Withheld => reply.after_body(),
            HeadersAfterBody::Buffered | HeadersAfterBody::Never => reply,
        })
    }

    fn is_searched(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.directions.request,
            Direction::Response => self.directions.response,
        }
    }

    async fn search(&self, direction: Direction, body: Body) -> Reply<BodyReply> {
        if !self.is_searched(direction) {
            return Ok(BodyReply::unchanged());
        }
        let mut body = body;
        if body.mode() == extproc::BodyMode::BufferedPartial {
            // Collected first: whether it is the whole body is known then.
            body.collect().await?;
            if !body.is_complete() {
                return Err(Immediate::new(413)
                    .body("The body is longer than can be searched.\n")
                    .details("extproc_scan_partial")
                    .into());
            }
        }
        let mut scanner = Scanner::new(self.patterns.clone());
        if body.mode() == extproc::BodyMode::BufferedPartial {
            let whole = body.collect().await?;
            scanner.push(whole).map_err(|found| self.refusal(found))?;
            return Ok(BodyReply::unchanged());
        }
        let (mut input, mut output) = body.split();
        while let Some(chunk) = input.next().await? {
            for piece in scanner.push(chunk).map_err(|found| self.refusal(found))? {
                output.send(piece).await?;
            }
        }
        let rest = scanner.finish().map_err(|found| self.refusal(found))?;
        output.send(rest).await?;
        Ok(BodyReply::written())
    }

    /// The client learns that something was found, not what.
    fn refusal(&self, found: Match) -> Stop {
        tracing::warn!("scan: {found}");
        Immediate::new(self.status)
            .body("The body has something in it that must not pass.\n")
            .details("extproc_scan_match")
            .into()
    }
}

impl Processor for Scan {
    type State = ();

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("scan")
    }

    async fn request_headers(&self, exchange: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        let reply = self.decide(exchange, Direction::Request, headers, 415)?;
        let is_offered = self.directions.response && headers.contains("accept-encoding");
        Ok(if is_offered && !self.passes_encoded {
            reply.remove("accept-encoding")
        } else {
            reply
        })
    }

    async fn request_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.search(Direction::Request, body).await
    }

    async fn response_headers(&self, exchange: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        self.decide(exchange, Direction::Response, headers, 502)
    }

    async fn response_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.search(Direction::Response, body).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, NONE, PARTIAL, STREAMED, Talk};

    #[tokio::test]
    async fn bodies_without_a_match_pass_as_they_are() {
        let body = "no secre, no secrecy: secre";
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            for chunk in [1, 2, 5, 100] {
                let talk = mk(mode).chunk(chunk).put("/a", body).reply(200, body).await;
                assert_eq!(
                    (talk.upstream_body(), talk.client_body()),
                    (body.into(), body.into()),
                    "{mode:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn no_byte_of_a_match_goes_on_however_it_is_cut() {
        let body = "all of it is secret, they say";
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            for chunk in 1..=body.len() {
                let talk = mk(mode).chunk(chunk).put("/a", body).reply(200, "").await;
                assert_eq!(
                    talk.immediate().map(|answer| answer.status),
                    Some(403),
                    "{mode:?} {chunk}"
                );
                assert!(
                    "all of it is ".starts_with(&talk.upstream_body()),
                    "{mode:?} {chunk}"
                );
                assert!(!talk.upstream_ended(), "{mode:?}: must not look like an end");
                let talk = mk(mode).chunk(chunk).get("/a").reply(200, body).await;
                assert_eq!(
                    talk.immediate().map(|answer| answer.status),
                    Some(403),
                    "{mode:?} {chunk}"
                );
                assert!(
                    "all of it is ".starts_with(&talk.client_body()),
                    "{mode:?} {chunk}"
                );
            }
        }
    }

    #[tokio::test]
    async fn in_full_duplex_the_headers_wait_for_the_first_bytes() {
        let talk = mk(FULL_DUPLEX).put("/a", "secret").reply(200, "").await;
        assert_eq!(talk.immediate().map(|answer| answer.status), Some(403));
        assert!(!talk.upstream_began(), "the upstream must see nothing");
    }

    #[tokio::test]
    async fn what_cannot_be_searched_does_not_pass() {
        let packed = mk(BUFFERED)
            .header("content-encoding", "gzip")
            .put("/a", "x")
            .reply(200, "")
            .await;
        assert_eq!(packed.immediate().map(|answer| answer.status), Some(415));
        let packed = mk(BUFFERED)
            .response_header("content-encoding", "br")
            .get("/a")
            .reply(200, "x")
            .await;
        assert_eq!(packed.immediate().map(|answer| answer.status), Some(502));
        let hidden = mk(NONE).put("/a", "x").reply(200, "").await;
        assert_eq!(hidden.status(), tonic::Code::Internal, "must not pass unseen");
        let partial = mk(PARTIAL).partial().put("/a", "x").reply(200, "").await;
        assert_eq!(partial.immediate().map(|answer| answer.status), Some(413));
        let whole = mk(PARTIAL).put("/a", "a secret").reply(200, "").await;
        assert_eq!(whole.immediate().map(|answer| answer.status), Some(403));
    }

    #[tokio::test]
    async fn packed_bodies_pass_where_told_and_one_direction_may_be_left_alone() {
        let patterns = Patterns::try_new(&["secret"], false).unwrap();
        let scan = Scan::new(patterns).pass_encoded().directions(Directions {
            request: true,
            response: false,
        });
        let talk = Talk::new(scan)
            .modes(BUFFERED)
            .header("content-encoding", "gzip")
            .put("/a", "x");
        let talk = talk.reply(200, "a secret").await;
        assert_eq!(
            (talk.upstream_body(), talk.client_body()),
            ("x".into(), "a secret".into())
        );
    }

    fn mk(mode: extproc::Modes) -> Talk {
        let patterns = Patterns::try_new(&["secret", "top"], false).unwrap();
        Talk::new(Scan::new(patterns)).modes(mode)
    }
}
