//! One direction of an exchange: its headers, its body, its trailers, each given to the handler and answered as Envoy expects.
//!
//! The lanes are straight-line code that is polled by the exchange's one future (`driver.rs`). They take messages from the
//! [`Link`] one at a time, and give answers to it one at a time.

mod answer;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::attributes;
use crate::driver::handler::{self, Late, Times};
use crate::driver::link::{Link, Message};
use crate::driver::settings::Settings;
use crate::driver::stats::Phase;
use crate::edits::Edits;
use crate::exchange::Exchange;
use crate::headers::Headers;
use crate::immediate::Immediate;
use crate::modes::{BodyMode, Direction};
use crate::needs::{Needs, OnDeadline, Prolong};
use crate::processor::{End, Processor};
use crate::reply::{HeadersReply, Metadata, TrailersReply};
use crate::stop::{Failure, FailureKind, Reply, Stop};
use crate::wire::processing_response::Response;
use crate::wire::{HttpHeaders, HttpTrailers, ProcessingResponse, TrailersResponse, body_mutation::Mutation};

/// How a lane ends the exchange for both.
#[derive(Debug)]
pub(super) enum Finish {
    /// Cleanly: nothing more is wanted of it.
    Done,
    /// With an answer to the client.
    Respond(Box<Immediate>),
    /// As failed; the failure is for the log.
    Fail(Failure),
    /// With this status, for a reason that is Envoy's configuration or Envoy itself.
    Refuse(Status),
    /// As cancelled: Envoy sends nothing more in the middle of a body (the client left). The call must not end as if all were well.
    CutShort(Status),
}

impl From<Stop> for Finish {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Respond(answer) => Self::Respond(answer),
            Stop::Fail(failure) => Self::Fail(failure),
        }
    }
}

impl Finish {
    pub(super) fn end(&self) -> End {
        match self {
            Self::Done => End::Completed,
            Self::Respond(_) => End::Responded,
            Self::Fail(_) | Self::Refuse(_) => End::Failed,
            Self::CutShort(_) => End::Cancelled,
        }
    }
}

/// How far a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    /// Nothing came yet.
    Start,
    /// Headers were answered, or are held back for the body.
    Headers,
    /// The body is through.
    Body,
    /// Trailers were answered.
    Trailers,
}

pub(super) struct Lane<'a, P: Processor> {
    pub(super) processor: &'a P,
    pub(super) exchange: &'a Exchange<P::State>,
    pub(super) settings: &'a Settings,
    pub(super) needs: &'a Needs,
    pub(super) direction: Direction,
    pub(super) link: &'a Link,
    stage: Stage,
    /// The headers as they were shown: what changes are resolved against.
    pub(super) shown: Headers,
    /// An answer to headers that waits for the body's handler.
    pub(super) withheld: Option<HeadersReply>,
    /// The mode of the body that has begun: a later override does not change how it is answered.
    pub(super) body_mode: Option<BodyMode>,
    /// The processor wants nothing more of this direction, and the call cannot end yet: what comes passes unchanged.
    pub(super) passing: bool,
    /// Metadata of a body's reply that came when every part of the body was answered: it goes with the trailers.
    pub(super) late_metadata: Metadata,
}

impl<'a, P: Processor> Lane<'a, P> {
    pub(super) fn new(
        processor: &'a P,
        exchange: &'a Exchange<P::State>,
        settings: &'a Settings,
        needs: &'a Needs,
        direction: Direction,
    ) -> Self {
        Self {
            processor,
            exchange,
            settings,
            needs,
            direction,
            link: &exchange.core.link,
            stage: Stage::Start,
            shown: Headers::default(),
            withheld: None,
            body_mode: None,
            passing: false,
            late_metadata: Metadata::new(),
        }
    }

    /// Until Envoy sends nothing more, or the exchange is to end.
    pub(super) async fn run(mut self) -> Result<(), Finish> {
        loop {
            match poll_fn(|_| self.link.poll_next(self.direction)).await {
                None if self.link.is_truncatable(self.direction) => return Err(self.cut_short()),
                None => return Ok(()),
                Some(Message::Headers(headers)) if self.stage == Stage::Start => {
                    self.headers(headers).await?
                }
                Some(Message::Body(first)) if self.stage < Stage::Body => {
                    self.stage = Stage::Body;
                    self.body(first).await?;
                }
                Some(Message::Body(again)) if self.stage == Stage::Body => self.body_again(again).await?,
                Some(Message::Trailers(trailers)) if self.stage < Stage::Trailers => {
                    self.trailers(trailers).await?
                }
                Some(message) => return Err(self.out_of_order(&message)),
            }
        }
    }

    pub(super) fn mode(&self) -> BodyMode {
        self.body_mode
            .unwrap_or_else(|| self.link.modes().of(self.direction))
    }

    pub(super) fn out_of_order(&self, message: &Message) -> Finish {
        let kind = match message {
            Message::Headers(_) => "headers",
            Message::Body(_) => "a body",
            Message::Trailers(_) => "trailers",
        };
        let direction = self.direction.name();
        Finish::Refuse(Status::new(
            Code::InvalidArgument,
            format!("{kind} of the {direction} came out of order"),
        ))
    }

    /// Gives an answer when there is room for it.
    pub(super) async fn answer(&self, answer: ProcessingResponse) {
        let mut waiting = Some(answer);
        poll_fn(|_| self.link.poll_answer(&mut waiting)).await;
    }

    async fn headers(&mut self, message: HttpHeaders) -> Result<(), Finish> {
        self.stage = Stage::Headers;
        let headers = Headers::from_wire(message.headers, message.end_of_stream);
        self.exchange.show(self.direction, &headers);
        let is_body_to_come = self.mode() == BodyMode::FullDuplex && !headers.end_of_stream();
        self.link.set_truncatable(self.direction, is_body_to_come);
        self.shown = headers;
        let reply = self.handle_headers().await?;
        let ends = self.shown.end_of_stream();
        if reply.after_body && !ends {
            let asked = match self.direction {
                Direction::Request => reply.mode.request_body,
                Direction::Response => reply.mode.response_body,
            };
            match asked.unwrap_or(self.mode()) {
                // An override goes with the answer to the headers, and the body comes only then.
                BodyMode::FullDuplex if self.mode() != BodyMode::FullDuplex => {
                    return Err(Stop::misuse("after_body() cannot be kept where the same answer asks for FULL_DUPLEX_STREAMED: the body comes only after it").into());
                }
                BodyMode::FullDuplex => {
                    self.withheld = Some(reply);
                    return Ok(());
                }
                BodyMode::Streamed => {
                    return Err(Stop::misuse("after_body() cannot be kept in STREAMED: Envoy sends no body before the headers are answered").into());
                }
                BodyMode::None | BodyMode::Buffered | BodyMode::BufferedPartial => {}
            }
        }
        self.answer_headers(reply).await
    }

    async fn handle_headers(&self) -> Result<HeadersReply, Finish> {
        let (phase, limit) = (Phase::headers(self.direction), self.needs.deadlines.headers);
        let (exchange, shown) = (self.exchange, &self.shown);
        match self.direction {
            Direction::Request => {
                let handler = async { self.processor.request_headers(exchange, shown).await };
                self.handle(phase, limit, handler).await
            }
            Direction::Response => {
                let handler = async { self.processor.response_headers(exchange, shown).await };
                self.handle(phase, limit, handler).await
            }
        }
    }

    /// Runs a handler of headers or trailers. One that is over its time may leave its phase unchanged.
    async fn handle<T: Default>(
        &self,
        phase: Phase,
        limit: Duration,
        handler: impl Future<Output = Reply<T>>,
    ) -> Result<T, Finish> {
        let began = Instant::now();
        let timers = (pin!(None), pin!(None));
        let times = Times::new(self.link, self.direction, limit, self.prolong(), timers);
        let replied = handler::run(handler, times).await;
        let took = began.elapsed();
        self.exchange.add_processing(took);
        self.settings.stats.handler(phase, took);
        tracing::debug!(phase = phase.name(), ?took, "handled");
        match replied {
            Ok(reply) => Ok(reply?),
            Err(Late) => self.late(phase).map(|()| T::default()),
        }
    }

    /// Envoy has no time-out for a message where it streams in full duplex.
    pub(super) fn prolong(&self) -> Option<Prolong> {
        let prolong = self.needs.deadlines.prolong;
        prolong.filter(|_| self.mode() != BodyMode::FullDuplex)
    }

    /// A handler is over its time: Ok if its phase is to go on unchanged.
    pub(super) fn late(&self, phase: Phase) -> Result<(), Finish> {
        self.settings.stats.deadline(phase);
        let text = format!("the handler of {} is over its time", phase.name());
        let failure = Failure::new(FailureKind::Deadline, text);
        match &self.needs.deadlines.then {
            OnDeadline::Fail => Err(Finish::Fail(failure)),
            OnDeadline::Respond(answer) => Err(Finish::Respond(answer.clone())),
            OnDeadline::Continue => {
                tracing::warn!(processor = %self.processor.name(), request_id = self.exchange.request_id(), "{failure}: it goes on unchanged");
                Ok(())
            }
        }
    }

    async fn trailers(&mut self, message: HttpTrailers) -> Result<(), Finish> {
        // There was no body, and the body's handler has a say in the headers.
        if let Some(reply) = self.withheld.take() {
            self.answer_headers(reply).await?;
        }
        self.stage = Stage::Trailers;
        self.link.set_truncatable(self.direction, false);
        let trailers = Headers::from_wire(message.trailers, true);
        let reply = self.handle_trailers(&trailers).await?;
        let answer = TrailersResponse {
            header_mutation: reply.edits.resolve(&trailers, self.needs.limits.header_bytes)?,
        };
        let mut metadata = std::mem::take(&mut self.late_metadata);
        metadata.extend(reply.metadata);
        self.answer(ProcessingResponse {
            response: Some(match self.direction {
                Direction::Request => Response::RequestTrailers(answer),
                Direction::Response => Response::ResponseTrailers(answer),
            }),
            dynamic_metadata: attributes::dynamic_metadata(metadata),
            ..Default::default()
        })
        .await;
        Ok(())
    }

    async fn handle_trailers(&self, trailers: &Headers) -> Result<TrailersReply, Finish> {
        if self.passing {
            return Ok(TrailersReply::unchanged());
        }
        let (phase, limit) = (Phase::trailers(self.direction), self.needs.deadlines.trailers);
        match self.direction {
            Direction::Request => {
                let handler = async { self.processor.request_trailers(self.exchange, trailers).await };
                self.handle(phase, limit, handler).await
            }
            Direction::Response => {
                let handler = async { self.processor.response_trailers(self.exchange, trailers).await };
                self.handle(phase, limit, handler).await
            }
        }
    }
}

/// `name`, before what the processors behind it said.
pub(super) fn chain(name: &str, existing: Option<&str>) -> String {
    match existing {
        Some(existing) if !existing.is_empty() => format!("{name},{existing}"),
        _ => name.to_owned(),
    }
}

/// Whether Envoy lets `content-length` stand in this mode. In the others it removes it, and ignores one that is set.
pub(super) fn keeps_length(mode: BodyMode) -> bool {
    matches!(mode, BodyMode::None | BodyMode::Buffered)
}

pub(super) fn set_length(edits: &mut Edits, bytes: usize) {
    edits.set("content-length", bytes.to_string().as_bytes());
}

/// The mutation that makes a body these bytes.
pub(super) fn body_or_clear(body: bytes::Bytes) -> Mutation {
    if body.is_empty() {
        Mutation::ClearBody(true)
    } else {
        Mutation::Body(body)
    }
}
