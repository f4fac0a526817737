//! Handlers that do what a plan says, and note what they did: the judge knows by that what must come out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::bytes::own;
use super::plan::{Act, Head, Last, Plan, Then};
use crate::body::{BodyReader, BodyWriter, OnTooLarge};
use crate::modes::{BodyMode, Direction, ModeOverride};
use crate::needs::{Deadlines, Needs, OnDeadline};
use crate::processor::{End, Processor};
use crate::reply::{BodyReply, HeadersReply, TrailersReply};
use crate::sync::lock;
use crate::{Body, Exchange, Headers, Immediate, Reply, Stop};

/// What became of one direction's body, as its handler sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// What was inspected, written or forwarded, in its order.
    pub(super) passed: Vec<u8>,
    pub(super) owned: bool,
    pub(super) inspected: bool,
    pub(super) wrote: bool,
    /// How the handler returned. None: it did not, or there was no body.
    pub(super) last: Option<Last>,
    pub(super) hangs: bool,
}

#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) request: Noted,
    pub(super) response: Noted,
    /// Reasons for which the exchange may fail, or be answered.
    pub(super) reasons: Vec<&'static str>,
    pub(super) done: bool,
    pub(super) ended: Vec<End>,
}

impl Notes {
    pub(super) fn of(&mut self, direction: Direction) -> &mut Noted {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

pub(super) struct Planned {
    pub(super) plan: Plan,
    /// The mode that the request's headers ask for.
    pub(super) asked: Option<BodyMode>,
    pub(super) notes: Arc<Mutex<Notes>>,
}

/// A body, as a whole or in its halves.
enum Held {
    Whole(Body),
    Split(BodyReader, BodyWriter),
}

impl Held {
    fn split(self) -> Self {
        match self {
            Self::Whole(body) => {
                let (reader, writer) = body.split();
                Self::Split(reader, writer)
            }
            split => split,
        }
    }
}

impl Planned {
    fn note(&self, direction: Direction, note: impl FnOnce(&mut Noted)) {
        note(lock(&self.notes).of(direction));
    }

    fn reason(&self, reason: &'static str) {
        lock(&self.notes).reasons.push(reason);
    }

    /// How it returns, but for what the phase adds to it.
    async fn head(&self, (wait, head): (u16, Head)) -> Reply<()> {
        if wait > 0 {
            sleep(Duration::from_millis(wait.into())).await;
        }
        match head {
            Head::Fail => {
                self.reason("fails");
                Err(Stop::fail("as planned"))
            }
            Head::Respond => {
                self.reason("responds");
                Err(Immediate::new(403).into())
            }
            Head::Panic => {
                self.reason("panics");
                panic!("as planned")
            }
            Head::Hang => {
                if self.plan.then != Then::Continue {
                    self.reason("hangs");
                }
                std::future::pending().await
            }
            Head::Unchanged | Head::Set | Head::AfterBody | Head::Done => Ok(()),
        }
    }

    async fn headers(
        &self,
        x: &Exchange<()>,
        direction: Direction,
        headers: &Headers,
    ) -> Reply<HeadersReply> {
        let plan = self.plan.side(direction).headers;
        self.head(plan).await?;
        let mut reply = HeadersReply::unchanged();
        if let (Direction::Request, Some(asked)) = (direction, self.asked) {
            reply = reply.mode(ModeOverride {
                request_body: Some(asked),
                ..ModeOverride::default()
            });
        }
        Ok(match plan.1 {
            Head::Set => reply.set("x-set", "1"),
            Head::AfterBody => {
                let now = x.modes().of(direction);
                let asked = self.asked.filter(|_| direction == Direction::Request);
                let is_too_late = asked == Some(BodyMode::FullDuplex) && now != BodyMode::FullDuplex;
                if (asked.unwrap_or(now) == BodyMode::Streamed || is_too_late) && !headers.end_of_stream() {
                    self.reason("after_body where Envoy sends no body before its answer");
                }
                reply.set("x-set", "2").after_body()
            }
            Head::Done => {
                self.reason("done where a body in full duplex is to come, perhaps");
                lock(&self.notes).done = true;
                reply.done()
            }
            _ => reply,
        })
    }

    async fn trailers(&self, direction: Direction) -> Reply<TrailersReply> {
        let plan = self.plan.side(direction).trailers;
        self.head(plan).await?;
        Ok(TrailersReply::unchanged())
    }

    async fn body(&self, direction: Direction, body: Body) -> Reply<BodyReply> {
        let plan = self.plan.side(direction);
        let mut held = Held::Whole(body);
        for (number, act) in plan.body.iter().enumerate() {
            held = self
                .act(direction, held, *act, number)
                .await
                .inspect_err(|_| self.reason("an act ends it"))?;
        }
        let noted = lock(&self.notes).of(direction).clone();
        match plan.last {
            Last::Unchanged if noted.owned || noted.wrote => self.reason("misuse: unchanged"),
            Last::Replace(_) if noted.wrote || noted.inspected => self.reason("misuse: replace"),
            Last::Hang => {
                self.note(direction, |noted| noted.hangs = true);
                let collects = plan.body.iter().any(|act| matches!(act, Act::Collect(..)));
                if self.plan.then != Then::Continue
                    || noted.owned
                    || noted.wrote
                    || noted.inspected
                    || collects
                {
                    self.reason("hangs");
                }
            }
            _ => {}
        }
        let bad = Head::Fail;
        match plan.last {
            Last::Fail => self.head((0, bad)).await?,
            Last::Respond => self.head((0, Head::Respond)).await?,
            Last::Panic => self.head((0, Head::Panic)).await?,
            Last::Hang => std::future::pending().await,
            Last::Unchanged | Last::Replace(_) | Last::Written => {}
        }
        self.note(direction, |noted| noted.last = Some(plan.last));
        Ok(match plan.last {
            Last::Replace(length) => BodyReply::replace(own(0, length)),
            Last::Written => BodyReply::written(),
            _ => BodyReply::unchanged(),
        })
    }

    async fn act(&self, direction: Direction, mut held: Held, act: Act, number: usize) -> Reply<Held> {
        if matches!(act, Act::Read | Act::Write(_) | Act::Forward | Act::Copy) {
            held = held.split();
        }
        let inspected = |chunk: &Bytes| {
            self.note(direction, |noted| {
                noted.inspected |= !chunk.is_empty();
                noted.passed.extend_from_slice(chunk);
            });
        };
        let owned = |chunk: &[u8]| self.note(direction, |noted| noted.owned |= !chunk.is_empty());
        let wrote = |piece: &[u8]| {
            self.note(direction, |noted| {
                noted.wrote = true;
                noted.passed.extend_from_slice(piece);
            });
        };
        match (act, &mut held) {
            (Act::Await(time), _) => sleep(Duration::from_millis(time.into())).await,
            (Act::Inspect, Held::Whole(body)) => {
                if let Some(chunk) = body.inspect().await? {
                    inspected(&chunk);
                }
            }
            (Act::InspectAll, Held::Whole(body)) => {
                while let Some(chunk) = body.inspect().await? {
                    inspected(&chunk);
                }
            }
            (Act::GiveUp, Held::Whole(body)) => {
                if let Ok(chunk) = tokio::time::timeout(Duration::from_millis(1), body.inspect()).await
                    && let Some(chunk) = chunk?
                {
                    inspected(&chunk);
                }
            }
            (Act::GiveUp, Held::Split(reader, _)) => {
                if let Ok(chunk) = tokio::time::timeout(Duration::from_millis(1), reader.next()).await
                    && let Some(chunk) = chunk?
                {
                    owned(&chunk);
                }
            }
            (Act::Collect(limit, propagate), Held::Whole(body)) => {
                let collected = body.collect_up_to(limit, OnTooLarge::Fail).await;
                if propagate {
                    collected?;
                }
            }
            (Act::Read, Held::Split(reader, _)) => {
                if let Some(chunk) = reader.next().await? {
                    owned(&chunk);
                }
            }
            (Act::Write(length), Held::Split(_, writer)) => {
                let piece = own(number, length);
                writer.send(piece.clone()).await?;
                wrote(&piece);
            }
            (Act::Forward, Held::Split(reader, writer)) => {
                while let Some(chunk) = reader.next().await? {
                    owned(&chunk);
                    writer.send(chunk.clone()).await?;
                    wrote(&chunk);
                }
            }
            (Act::Copy, Held::Split(reader, writer)) => loop {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let mut part = vec![0; 1_000];
                let length = reader.read(&mut part).await?;
                if length == 0 {
                    break;
                }
                owned(&part[..length]);
                writer.write_all(&part[..length]).await?;
                wrote(&part[..length]);
            },
            // Not possible any more.
            _ => {}
        }
        Ok(held)
    }
}

impl Processor for Planned {
    type State = ();

    fn needs(&self) -> Needs {
        let then = match self.plan.then {
            Then::Fail => OnDeadline::Fail,
            Then::Respond => OnDeadline::Respond(Box::new(Immediate::new(504))),
            Then::Continue => OnDeadline::Continue,
        };
        Needs {
            deadlines: Deadlines {
                then,
                ..Deadlines::default()
            },
            ..Needs::default()
        }
    }

    async fn request_headers(&self, x: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        self.headers(x, Direction::Request, headers).await
    }

    async fn request_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.body(Direction::Request, body).await
    }

    async fn request_trailers(&self, _: &Exchange<()>, _: &Headers) -> Reply<TrailersReply> {
        self.trailers(Direction::Request).await
    }

    async fn response_headers(&self, x: &Exchange<()>, headers: &Headers) -> Reply<HeadersReply> {
        self.headers(x, Direction::Response, headers).await
    }

    async fn response_body(&self, _: &Exchange<()>, body: Body) -> Reply<BodyReply> {
        self.body(Direction::Response, body).await
    }

    async fn response_trailers(&self, _: &Exchange<()>, _: &Headers) -> Reply<TrailersReply> {
        self.trailers(Direction::Response).await
    }

    fn ended(&self, _: &Exchange<()>, end: End) {
        lock(&self.notes).ended.push(end);
    }
}
