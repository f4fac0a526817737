//! One processor that does with a body what the request asks for, and says what it saw: the same handler in every body mode.

use std::str::FromStr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use extproc::{
    Body, BodyReply, Direction, End, Exchange, Headers, HeadersReply, Limits, Needs, Processor, Reply,
};

use super::sha256;

/// What is done with a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Act {
    /// The default handler: it passes unread.
    #[default]
    Pass,
    /// It is looked at, piece by piece, and passes.
    Inspect,
    /// It is taken as a whole, and passes.
    Collect,
    /// It is taken as a whole, and another takes its place.
    Replace,
    /// It is read and written in pieces.
    Upper,
    /// Nothing of it is read, and nothing passes.
    Clear,
    /// Its first piece is looked at; all of it passes.
    Glance,
    /// Its first piece is written again; the rest is dropped.
    First,
    /// Nothing is read, and something else is written.
    Instead,
    /// Every byte is written eight times.
    Eightfold,
}

impl Act {
    pub(crate) const ALL: [Self; 10] = [
        Self::Pass,
        Self::Inspect,
        Self::Collect,
        Self::Replace,
        Self::Upper,
        Self::Clear,
        Self::Glance,
        Self::First,
        Self::Instead,
        Self::Eightfold,
    ];

    /// What passes of `body` when the handler runs. [`Act::First`] passes a part of it that depends on how it is cut.
    pub(crate) fn of(self, body: &Bytes) -> Bytes {
        match self {
            Self::Pass | Self::Inspect | Self::Collect | Self::Glance | Self::First => body.clone(),
            Self::Replace => Bytes::from(format!("{} bytes, {}", body.len(), sha256(body))),
            Self::Upper => body.to_ascii_uppercase().into(),
            Self::Clear => Bytes::new(),
            Self::Instead => Bytes::from_static(b"something else"),
            Self::Eightfold => body.iter().flat_map(|byte| [*byte; 8]).collect(),
        }
    }
}

impl FromStr for Act {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|act| format!("{act:?}") == word)
            .ok_or_else(|| format!("no act is called {word}"))
    }
}

/// What the processor of one exchange was asked for.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    request: Act,
    response: Act,
}

/// What a [`Worker`] has seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Ends of exchanges.
    pub(crate) ends: Vec<End>,
    /// Hashes of bodies that were inspected, under the request's id and the direction.
    pub(crate) hashes: Vec<(String, Direction, String)>,
}

/// The processor. `x-request-act` and `x-response-act` say what to do.
#[derive(Clone, Default)]
pub(crate) struct Worker {
    pub(crate) log: Arc<Mutex<Log>>,
}

impl Worker {
    async fn body(&self, act: Act, direction: Direction, id: &str, mut body: Body) -> Reply<BodyReply> {
        match act {
            Act::Pass => Ok(BodyReply::unchanged()),
            Act::Clear => Ok(BodyReply::clear()),
            Act::Glance => {
                body.inspect().await?;
                Ok(BodyReply::unchanged())
            }
            Act::Inspect => {
                let mut seen = Vec::new();
                while let Some(chunk) = body.inspect().await? {
                    seen.extend_from_slice(&chunk);
                }
                let hash = (id.to_owned(), direction, sha256(&seen));
                self.log.lock().unwrap().hashes.push(hash);
                Ok(BodyReply::unchanged())
            }
            Act::Collect => {
                body.collect().await?;
                Ok(BodyReply::unchanged())
            }
            Act::Replace => {
                let whole = body.collect().await?;
                Ok(BodyReply::replace(act.of(&whole)))
            }
            Act::Upper | Act::Eightfold => {
                let (mut input, mut output) = body.split();
                while let Some(chunk) = input.next().await? {
                    output.send(act.of(&chunk)).await?;
                }
                Ok(BodyReply::written())
            }
            Act::First => {
                let (mut input, mut output) = body.split();
                if let Some(chunk) = input.next().await? {
                    output.send(chunk).await?;
                }
                Ok(BodyReply::written())
            }
            Act::Instead => {
                let (_, mut output) = body.split();
                output.send(act.of(&Bytes::new())).await?;
                Ok(BodyReply::written())
            }
        }
    }
}

impl Processor for Worker {
    type State = Acts;

    fn needs(&self) -> Needs {
        Needs {
            limits: Limits {
                collect: 64 << 20,
                written: 64 << 20,
                ..Limits::default()
            },
            ..Needs::default()
        }
    }

    async fn request_headers(&self, exchange: &Exchange<Acts>, headers: &Headers) -> Reply<HeadersReply> {
        let act = |name| headers.text(name).map_or(Ok(Act::Pass), str::parse);
        let acts = Acts {
            request: act("x-request-act").map_err(extproc::Stop::fail)?,
            response: act("x-response-act").map_err(extproc::Stop::fail)?,
        };
        *exchange.state() = acts;
        Ok(HeadersReply::unchanged())
    }

    async fn request_body(&self, exchange: &Exchange<Acts>, body: Body) -> Reply<BodyReply> {
        let (act, id) = (exchange.state().request, id(exchange));
        self.body(act, Direction::Request, &id, body).await
    }

    async fn response_body(&self, exchange: &Exchange<Acts>, body: Body) -> Reply<BodyReply> {
        let (act, id) = (exchange.state().response, id(exchange));
        self.body(act, Direction::Response, &id, body).await
    }

    fn ended(&self, _: &Exchange<Acts>, end: End) {
        self.log.lock().unwrap().ends.push(end);
    }
}

fn id(exchange: &Exchange<Acts>) -> String {
    let headers = exchange.request_headers();
    headers
        .and_then(|headers| headers.text("x-test-id"))
        .unwrap_or_default()
        .to_owned()
}
