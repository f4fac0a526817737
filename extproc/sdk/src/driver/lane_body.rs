//! The body phase of a lane: one handler, whatever the mode in which Envoy sends the body.
//!
//! While the handler runs, the lane gives it chunks when it asks for them and gives Envoy what has to be said: in STREAMED the
//! answer of the chunk before, in full duplex what was written. When the handler has returned, [`Rest`] says what becomes of the
//! input that it did not read. Full duplex is never ended before Envoy has sent the end: the peer would get a truncated body.

mod ends;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use tonic::{Code, Status};

use crate::attributes;
use crate::body::{Answer, Body, PIECE, Pipe, Used};
use crate::driver::handler::{Times, poll_guarded};
use crate::driver::lane::{Finish, Lane, body_or_clear};
use crate::driver::link::{Message, Part};
use crate::driver::stats::Phase;
use crate::edits::Edits;
use crate::modes::{BodyMode, Direction};
use crate::processor::Processor;
use crate::reply::{BodyReply, Content, Metadata};
use crate::stop::{Reply, Stop};
use crate::wire::processing_response::Response;
use crate::wire::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HttpBody, HttpHeaders, ProcessingResponse,
    StreamedBodyResponse, body_mutation::Mutation,
};

/// What becomes of the input that the handler has not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Pass,
    Drop,
}

/// How the body of a lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// More may come.
    Open,
    /// A chunk said that it is the last.
    Ended,
    /// Trailers came, and wait.
    Trailers,
}

/// Closes the pipe for whoever still has the other end, also where the exchange is dropped.
struct Closing<'a>(&'a Pipe);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<P: Processor> Lane<'_, P> {
    /// The body from its first chunk to its end.
    pub(super) async fn body(&mut self, first: HttpBody) -> Result<(), Finish> {
        let mode = self.mode();
        if mode == BodyMode::None {
            return Err(self.out_of_order(&Message::Body(first)));
        }
        self.body_mode = Some(mode);
        let pipe = Pipe::new(mode, self.needs.limits, self.settings.memory.clone());
        let _closing = Closing(&pipe);
        let mut input = self.feed(&pipe, first);
        let reply = self.handle_body(&pipe, &mut input).await?;
        pipe.end_handler();
        match mode {
            BodyMode::None | BodyMode::Buffered | BodyMode::BufferedPartial => {
                self.end_buffered(&pipe, reply).await
            }
            BodyMode::Streamed => self.end_streamed(&pipe, reply, input).await,
            BodyMode::FullDuplex => self.end_full_duplex(&pipe, reply, input).await,
        }?;
        self.link.set_truncatable(self.direction, false);
        Ok(())
    }

    /// A body message after the body's end. One without bytes is answered where every message is; in full duplex some versions of
    /// Envoy send the end twice (envoy#46237), and only the first counts. Bytes that come then would pass unprocessed.
    pub(super) async fn body_again(&mut self, again: HttpBody) -> Result<(), Finish> {
        if !again.body.is_empty() {
            let (direction, mode) = (self.direction.name(), self.mode().name());
            return Err(Finish::Refuse(Status::failed_precondition(format!(
                "more of the {direction}'s body came after its end in {mode}: does the filter honour mode overrides (allow_mode_override)?"
            ))));
        }
        if self.mode() == BodyMode::FullDuplex {
            self.settings.stats.duplicate_end();
        } else {
            self.answer_body(None, None, Metadata::new()).await;
        }
        Ok(())
    }

    /// Gives the handler a chunk.
    fn feed(&self, pipe: &Pipe, message: HttpBody) -> Input {
        self.settings.stats.body(self.direction, message.body.len());
        let ends = message.end_of_stream;
        if self.mode().is_buffered() {
            pipe.feed(message.body, false);
            // Without the flag, either trailers follow, or (BUFFERED_PARTIAL) the rest passes unseen.
            pipe.end_input(ends || self.mode() == BodyMode::Buffered);
            return Input::Ended;
        }
        pipe.feed(message.body, ends);
        if ends { Input::Ended } else { Input::Open }
    }

    /// Runs the handler, and serves its pipe meanwhile.
    async fn handle_body(
        &mut self,
        pipe: &std::sync::Arc<Pipe>,
        input: &mut Input,
    ) -> Result<BodyReply, Finish> {
        if self.passing {
            return Ok(BodyReply::unchanged());
        }
        let phase = Phase::body(self.direction);
        let hint = self
            .shown
            .text("content-length")
            .and_then(|text| text.parse().ok());
        let body = Body::new(pipe.clone(), self.mode(), hint);
        let began = Instant::now();
        let deadlines = &self.needs.deadlines;
        let prolong = self.prolong();
        let timers = (pin!(None), pin!(None));
        let mut times = Times::new(
            self.link,
            self.direction,
            deadlines.body_progress,
            prolong,
            timers,
        );
        let (processor, exchange, direction) = (self.processor, self.exchange, self.direction);
        let handler = async move {
            match direction {
                Direction::Request => processor.request_body(exchange, body).await,
                Direction::Response => processor.response_body(exchange, body).await,
            }
        };
        let mut handler = pin!(handler);
        let replied: Result<Reply<BodyReply>, Finish> = poll_fn(|cx| {
            pipe.set_lane(cx.waker());
            loop {
                if let Poll::Ready(reply) = poll_guarded(handler.as_mut(), cx) {
                    return Poll::Ready(Ok(reply));
                }
                if self.serve_output(pipe)? || self.serve_input(pipe, input)? {
                    times.restart();
                    continue;
                }
                let progress = (!pipe.waits_for_envoy()).then(|| pipe.progress());
                return match times.poll(progress, pipe.has_unanswered(), cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(_late) => {
                        self.late(phase)?;
                        if !pipe.is_untouched() {
                            return Poll::Ready(Err(Stop::misuse(
                                "OnDeadline::Continue: the body's handler is over its time and has read some of it already",
                            )
                            .into()));
                        }
                        Poll::Ready(Ok(Ok(BodyReply::unchanged())))
                    }
                };
            }
        })
        .await;
        let took = began.elapsed();
        self.settings.stats.handler(phase, took);
        tracing::debug!(phase = phase.name(), ?took, "handled");
        Ok(replied??)
    }

    /// Gives Envoy what the handler's reads and writes call for. True if it did.
    fn serve_output(&mut self, pipe: &Pipe) -> Result<bool, Finish> {
        match self.mode() {
            BodyMode::Streamed if pipe.owes_answer() && self.link.is_free() => {
                let answer = match pipe.answer() {
                    Answer::Unchanged => None,
                    Answer::Replaced(body) => Some(body_or_clear(body)),
                };
                self.link.answer(self.body_answer(None, answer, Metadata::new()));
                Ok(true)
            }
            BodyMode::FullDuplex if pipe.has_output() && self.link.is_free() => {
                if let Some(reply) = self.withheld.take() {
                    let answer = self.headers_answer(reply)?;
                    self.link.answer(answer);
                    return Ok(true);
                }
                let Some(piece) = pipe.take_piece(PIECE) else {
                    return Ok(false);
                };
                self.link
                    .answer(self.body_answer(None, Some(streamed(piece, false)), Metadata::new()));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Gives the handler the chunk that it waits for. True if there was one, or the end.
    fn serve_input(&self, pipe: &Pipe, input: &mut Input) -> Result<bool, Finish> {
        if *input != Input::Open || !pipe.wants_chunk() {
            return Ok(false);
        }
        match self.link.poll_part(self.direction) {
            Poll::Pending => Ok(false),
            Poll::Ready(Part::Chunk(chunk)) => {
                *input = self.feed(pipe, chunk);
                Ok(true)
            }
            Poll::Ready(Part::Trailers) => {
                *input = Input::Trailers;
                pipe.end_input(true);
                Ok(true)
            }
            Poll::Ready(Part::Headers) => Err(self.headers_in_body()),
            Poll::Ready(Part::Ended) => Err(self.cut_short()),
        }
    }

    async fn next_part(&self) -> Result<Part, Finish> {
        Ok(poll_fn(|_| self.link.poll_part(self.direction)).await)
    }

    /// Gives Envoy the answer to the headers that waited for the body's handler.
    async fn release_headers(&mut self) -> Result<(), Finish> {
        match self.withheld.take() {
            Some(reply) => self.answer_headers(reply).await,
            None => Ok(()),
        }
    }

    fn refuse_edits(&self, edits: &Edits) -> Result<(), Finish> {
        if edits.is_empty() {
            return Ok(());
        }
        let hint = match self.mode() {
            BodyMode::FullDuplex => {
                "answer the headers with after_body(), and write nothing before the handler returns"
            }
            _ => "use BUFFERED, or FULL_DUPLEX_STREAMED with after_body()",
        };
        let mode = self.mode().name();
        Err(Stop::misuse(format!(
            "the body's reply changes headers that have gone on already in {mode}: {hint}"
        ))
        .into())
    }

    /// What replaces a body, or a chunk of it, is bounded as what is written.
    pub(super) fn check_written(&self, body: Option<&Bytes>) -> Result<(), Finish> {
        let (bytes, limit) = (body.map_or(0, Bytes::len), self.needs.limits.written);
        if bytes <= limit {
            return Ok(());
        }
        let mode = self.mode().name();
        let text = format!("{bytes} bytes replace a body in {mode}, the limit is {limit}");
        Err(Stop::limit("written", text).into())
    }

    fn headers_in_body(&self) -> Finish {
        self.out_of_order(&Message::Headers(HttpHeaders::default()))
    }

    pub(super) fn cut_short(&self) -> Finish {
        let direction = self.direction.name();
        Finish::CutShort(Status::new(
            Code::Cancelled,
            format!("the body of the {direction} was not sent to its end"),
        ))
    }

    async fn answer_body(
        &self,
        edits: Option<HeaderMutation>,
        mutation: Option<Mutation>,
        metadata: Metadata,
    ) {
        self.answer(self.body_answer(edits, mutation, metadata)).await;
    }

    fn body_answer(
        &self,
        edits: Option<HeaderMutation>,
        mutation: Option<Mutation>,
        metadata: Metadata,
    ) -> ProcessingResponse {
        let common = CommonResponse {
            header_mutation: edits,
            body_mutation: mutation.map(|mutation| BodyMutation {
                mutation: Some(mutation),
            }),
            ..Default::default()
        };
        let answer = BodyResponse {
            response: (common != CommonResponse::default()).then_some(common),
        };
        ProcessingResponse {
            response: Some(match self.direction {
                Direction::Request => Response::RequestBody(answer),
                Direction::Response => Response::ResponseBody(answer),
            }),
            dynamic_metadata: attributes::dynamic_metadata(metadata),
            ..Default::default()
        }
    }
}

fn streamed(body: Bytes, end_of_stream: bool) -> Mutation {
    Mutation::StreamedResponse(StreamedBodyResponse { body, end_of_stream })
}

/// A reply that does not fit what the handler did with the body would lose bytes, or send some twice.
pub(crate) fn check_use(reply: &BodyReply, used: &Used) -> Result<(), Stop> {
    let problem = match reply.content {
        Content::Unchanged if used.owned => {
            "unchanged() after reading from split(): what was read is gone; return written()"
        }
        Content::Unchanged | Content::Replaced(_) if used.wrote => {
            "unchanged() or replace() after writing: return written()"
        }
        Content::Replaced(_) if used.inspected => {
            "replace() after inspect(): what was inspected has passed; use collect()"
        }
        _ => return Ok(()),
    };
    Err(Stop::misuse(problem))
}
