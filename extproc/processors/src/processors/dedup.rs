//! `dedup`: refuses a request with 409 while another like it is in flight.

use std::{borrow::Cow, num::NonZeroUsize};

use extproc::{Body, BodyReply, Direction, Exchange, Headers, HeadersReply, Immediate, Processor, Reply};
use sha2::{Digest as _, Sha256};

use super::{HeadersAfterBody, is_shown};
use crate::algorithms::{
    checksum::hex,
    in_flight::{Entry, Guard, InFlight},
};

const DIGEST: &str = "x-extproc-request-digest";
const TENANT: &str = "x-tenant-id";

/// How many requests are known at once, unless said otherwise.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// What is done with a request when as many are in flight as can be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WhenFull {
    /// It passes.
    #[default]
    Pass,
    /// It gets 503.
    Refuse,
}

/// Refuses duplicates among requests that write: PUT, POST and PATCH of the same tenant (`x-tenant-id`), authority, path and
/// body. Two that differ in other headers only are the same.
///
/// A request is in flight until its exchange ends, so Envoy must show the response: with `response_header_mode: SEND` until its
/// headers have come, with `response_trailer_mode: SEND` until its end. What is known is known to this process only.
#[derive(Clone, Debug)]
pub struct Dedup {
    in_flight: InFlight<[u8; 32]>,
    when_full: WhenFull,
}

/// What is known of one request.
#[derive(Debug, Default)]
pub struct State {
    under_way: Option<Sha256>,
    entered: Option<(String, Guard<[u8; 32]>)>,
}

impl Default for Dedup {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Dedup {
    /// Knows at most so many requests at once; those beyond pass.
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            in_flight: InFlight::new(capacity),
            when_full: WhenFull::default(),
        }
    }

    /// Requests beyond the capacity get 503 instead.
    #[must_use]
    pub fn refuse_when_full(mut self) -> Self {
        self.when_full = WhenFull::Refuse;
        self
    }

    /// How many requests are known at present.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Enters a request whose whole key is known.
    fn enter(&self, exchange: &Exchange<State>, key: Sha256) -> Reply<String> {
        let key: [u8; 32] = key.finalize().into();
        let digest = hex(&key);
        match self.in_flight.enter(key) {
            Entry::Entered(guard) => exchange.state().entered = Some((digest.clone(), guard)),
            Entry::Duplicate => {
                return Err(Immediate::new(409)
                    .header(DIGEST, digest)
                    .body("The same request is under way already.\n")
                    .details("extproc_duplicate")
                    .into());
            }
            Entry::Full if self.when_full == WhenFull::Refuse => {
                return Err(Immediate::new(503)
                    .body("Too many requests are under way.\n")
                    .details("extproc_dedup_full")
                    .into());
            }
            Entry::Full => {}
        }
        Ok(digest)
    }
}

impl Processor for Dedup {
    type State = State;

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("dedup")
    }

    async fn request_headers(&self, exchange: &Exchange<State>, headers: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        let method = headers.get(":method").unwrap_or_default();
        if !matches!(method, b"PUT" | b"POST" | b"PATCH") {
            return Ok(reply);
        }
        let mut key = Sha256::new();
        for name in [TENANT, ":authority", ":method", ":path"] {
            let part = headers.get(name).unwrap_or_default();
            // With its length in front, no part can pass for the end of another.
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        if headers.end_of_stream() {
            return Ok(reply.set(DIGEST, self.enter(exchange, key)?));
        }
        if !is_shown(exchange, Direction::Request, headers) {
            // Without the body two requests only look the same.
            return Ok(reply);
        }
        exchange.state().under_way = Some(key);
        Ok(
            match HeadersAfterBody::of(exchange, Direction::Request, headers) {
                HeadersAfterBody::Withheld => reply.after_body(),
                HeadersAfterBody::Buffered | HeadersAfterBody::Never => reply,
            },
        )
    }

    /// The whole body is collected: the upstream must not see the beginning of a duplicate.
    async fn request_body(&self, exchange: &Exchange<State>, mut body: Body) -> Reply<BodyReply> {
        let reply = BodyReply::unchanged();
        let Some(mut key) = exchange.state().under_way.take() else {
            return Ok(reply);
        };
        key.update(&body.collect().await?);
        let digest = self.enter(exchange, key)?;
        Ok(match body.mode() {
            extproc::BodyMode::Streamed | extproc::BodyMode::None => reply,
            _ => reply.set(DIGEST, digest),
        })
    }

    async fn response_headers(&self, exchange: &Exchange<State>, _: &Headers) -> Reply<HeadersReply> {
        let reply = HeadersReply::unchanged();
        Ok(match &exchange.state().entered {
            Some((digest, _)) => reply.set(DIGEST, digest),
            None => reply,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUFFERED, FULL_DUPLEX, NONE, Open, STREAMED, Talk};

    #[tokio::test]
    async fn refuses_the_same_request_until_the_first_has_ended() {
        for mode in [BUFFERED, FULL_DUPLEX, STREAMED] {
            let dedup = Dedup::default();
            let first = put(&dedup, mode, "/a", "body").await;
            assert_eq!(dedup.in_flight(), 1, "{mode:?}");
            let second = Talk::new(dedup.clone())
                .modes(mode)
                .put("/a", "body")
                .reply(200, "x")
                .await;
            let refused = second.immediate().expect("must be refused");
            assert_eq!(refused.status, 409, "{mode:?}");
            assert_eq!(refused.header(DIGEST)[0].len(), 64);
            drop(first);
            crate::testing::eventually(|| dedup.in_flight() == 0).await;
            let third = Talk::new(dedup.clone())
                .modes(mode)
                .put("/a", "body")
                .reply(200, "x")
                .await;
            assert_eq!(third.client_body(), "x", "{mode:?}");
            assert!(third.client_header(DIGEST).is_some());
        }
    }

    #[tokio::test]
    async fn requests_that_differ_pass_together() {
        let dedup = Dedup::default();
        let _first = put(&dedup, BUFFERED, "/a", "body").await;
        let _other_body = put(&dedup, BUFFERED, "/a", "bod").await;
        let _other_path = put(&dedup, BUFFERED, "/ab", "ody").await;
        let _not_shown = put(&dedup, NONE, "/a", "body").await;
        assert_eq!(dedup.in_flight(), 3);
        for _ in 0..2 {
            let get = Talk::new(dedup.clone()).get("/a").reply(200, "x").await;
            assert_eq!(get.immediate(), None, "what only reads may come twice");
        }
    }

    #[tokio::test]
    async fn those_beyond_the_capacity_pass_or_are_refused_as_told() {
        let one = NonZeroUsize::MIN;
        let dedup = Dedup::new(one);
        let _first = put(&dedup, BUFFERED, "/a", "body").await;
        let passes = Talk::new(dedup)
            .modes(BUFFERED)
            .put("/b", "body")
            .reply(200, "x")
            .await;
        assert_eq!(passes.client_body(), "x");
        let dedup = Dedup::new(one).refuse_when_full();
        let _first = put(&dedup, BUFFERED, "/a", "body").await;
        let refused = Talk::new(dedup)
            .modes(BUFFERED)
            .put("/b", "body")
            .reply(200, "x")
            .await;
        assert_eq!(refused.immediate().map(|answer| answer.status), Some(503));
    }

    /// A request that has been let through and whose response has not come.
    async fn put(dedup: &Dedup, mode: extproc::Modes, path: &str, body: &'static str) -> Open {
        Talk::new(dedup.clone()).modes(mode).put(path, body).open().await
    }
}
