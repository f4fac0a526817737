//! One message, a request or a response, on its way through the filter: which of its parts are shown, and what the answers do to
//! it, mode by mode.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::fields::{Fields, Invalid};
use super::got::ViolationKind;
use super::http::{Outgoing, Seen};
use super::side::{Answer, Halt, Phase, Side};
use crate::modes::{BodyMode, Direction};
use crate::wire::body_mutation::Mutation;
use crate::wire::common_response::ResponseStatus;
use crate::wire::{BodyMutation, CommonResponse, HeaderMutation, HttpBody};

/// Chunks in 1:1 that are sent before the first of them is answered.
const AHEAD: usize = 3;

impl Side {
    /// Passes a message through the filter. What is left of it is what the peer gets.
    pub(super) async fn pass(&mut self, direction: Direction, message: Outgoing) -> Result<Seen, Halt> {
        let is_bare = message.is_bare();
        let mut seen = Seen {
            headers: message.headers,
            body: message.body,
            trailers: message.trailers,
            is_reset: false,
        };
        if !self.is_there().await? {
            return Ok(seen);
        }
        let had_body = self.shows.bodies.of(direction);
        if had_body == BodyMode::FullDuplex && !is_bare {
            self.duplex(direction, &mut seen, self.shows.headers(direction))
                .await?;
            seen.headers.remove("content-length");
            return Ok(seen);
        }
        if self.shows.headers(direction) {
            let body = HttpBody {
                body: Bytes::new(),
                end_of_stream: is_bare,
            };
            self.send(direction, Phase::Headers, &seen.headers, body).await;
            if let Some(Answer::Common(Some(answer))) = self.answer(direction, Phase::Headers).await?
                && self.apply_headers(&answer, &mut seen)?
            {
                return Ok(seen);
            }
        }
        if is_bare || !self.is_there().await? {
            return Ok(seen);
        }
        let mode = self.shows.bodies.of(direction);
        match mode {
            BodyMode::None => {}
            BodyMode::Buffered => self.buffered(direction, &mut seen).await?,
            BodyMode::BufferedPartial => self.partial(direction, &mut seen).await?,
            BodyMode::Streamed => self.streamed(direction, &mut seen).await?,
            BodyMode::FullDuplex => self.duplex(direction, &mut seen, false).await?,
        }
        // Seen with 1.40: the length is taken away where the filter's own mode may change it, and stays where an override asked
        // for the mode.
        if mode != BodyMode::None && mode != BodyMode::Buffered {
            if had_body == mode {
                seen.headers.remove("content-length");
            } else {
                self.cut_to_length(&mut seen);
            }
        }
        if mode != BodyMode::FullDuplex
            && !seen.trailers.is_empty()
            && self.shows.trailers(direction)
            && self.is_there().await?
        {
            self.send(
                direction,
                Phase::Trailers,
                &seen.trailers.clone(),
                HttpBody::default(),
            )
            .await;
            if let Some(Answer::Trailers(Some(mutation))) = self.answer(direction, Phase::Trailers).await? {
                self.mutate(&mut seen.trailers, &mutation)?;
            }
        }
        Ok(seen)
    }

    /// Applies an answer to headers. True where it replaced the body: nothing more of this message is shown.
    pub(super) fn apply_headers(&mut self, answer: &CommonResponse, seen: &mut Seen) -> Result<bool, Halt> {
        if let Some(mutation) = &answer.header_mutation {
            self.mutate(&mut seen.headers, mutation)?;
        }
        self.got.routes_cleared += u32::from(answer.clear_route_cache);
        if answer.status != i32::from(ResponseStatus::ContinueAndReplace) {
            return Ok(false);
        }
        if let Some(mutation) = &answer.body_mutation {
            seen.headers.remove("content-length");
            seen.body = self.mutated(&seen.body, Some(mutation))?;
        }
        Ok(true)
    }

    pub(super) fn mutate(&mut self, fields: &mut Fields, mutation: &HeaderMutation) -> Result<(), Halt> {
        let mut rejected = Vec::new();
        let applied = fields.apply(mutation, &mut rejected);
        self.got.rejected.extend(rejected);
        match applied {
            Ok(()) => Ok(()),
            Err(Invalid(text)) => self.refused(text),
        }
    }

    /// What an answer outside of full duplex makes of a chunk.
    fn mutated(&mut self, chunk: &Bytes, mutation: Option<&BodyMutation>) -> Result<Bytes, Halt> {
        Ok(match mutation.and_then(|mutation| mutation.mutation.as_ref()) {
            None | Some(Mutation::ClearBody(false)) => chunk.clone(),
            Some(Mutation::ClearBody(true)) => Bytes::new(),
            Some(Mutation::Body(body)) => body.clone(),
            Some(Mutation::StreamedResponse(_)) => {
                self.violates(ViolationKind::Order, "a streamed answer outside of full duplex");
                self.give_up("ext_proc_error_streamed_response", false)?;
                chunk.clone()
            }
        })
    }

    /// The whole body in one message. Envoy holds the headers until it is answered.
    async fn buffered(&mut self, direction: Direction, seen: &mut Seen) -> Result<(), Halt> {
        if seen.body.len() > self.filter.buffer_limit {
            return Err(match direction {
                Direction::Request => self.local_reply(413, "request_payload_too_large"),
                Direction::Response => self.local_reply(500, "response_payload_too_large"),
            });
        }
        let body = HttpBody {
            body: seen.body.clone(),
            end_of_stream: seen.trailers.is_empty(),
        };
        self.send(direction, Phase::Body, &Fields::default(), body).await;
        let Some(Answer::Common(Some(answer))) = self.answer(direction, Phase::Body).await? else {
            return Ok(());
        };
        if let Some(mutation) = &answer.header_mutation {
            self.mutate(&mut seen.headers, mutation)?;
        }
        if let Some(mutation) = &answer.body_mutation {
            seen.body = self.mutated(&seen.body, Some(mutation))?;
            // Seen with 1.40: a body of another length than `content-length` says is a 500.
            if seen
                .headers
                .length()
                .is_some_and(|length| length != seen.body.len())
            {
                self.refused("the new body has another length than content-length".to_owned())?;
            }
        }
        Ok(())
    }

    /// As much of the body as the buffer takes, in one message; the rest passes unseen.
    async fn partial(&mut self, direction: Direction, seen: &mut Seen) -> Result<(), Halt> {
        let limit = self.filter.buffer_limit.min(seen.body.len());
        let rest = seen.body.split_off(limit);
        let body = HttpBody {
            body: seen.body.clone(),
            end_of_stream: rest.is_empty() && seen.trailers.is_empty(),
        };
        self.send(direction, Phase::Body, &Fields::default(), body).await;
        let mut whole = BytesMut::new();
        match self.answer(direction, Phase::Body).await? {
            Some(Answer::Common(Some(answer))) => {
                if let Some(mutation) = &answer.header_mutation {
                    self.mutate(&mut seen.headers, mutation)?;
                }
                whole.extend_from_slice(&self.mutated(&seen.body, answer.body_mutation.as_ref())?);
            }
            _ => whole.extend_from_slice(&seen.body),
        }
        whole.extend_from_slice(&rest);
        seen.body = whole.freeze();
        Ok(())
    }

    /// The chunks of a body, and whether each is the last message of its direction.
    pub(super) fn chunks(&self, seen: &Seen) -> VecDeque<(Bytes, bool)> {
        let mut chunks = VecDeque::new();
        let mut rest = seen.body.clone();
        while !rest.is_empty() {
            let chunk = rest.split_to(self.filter.chunk.max(1).min(rest.len()));
            chunks.push_back((chunk, false));
        }
        if seen.trailers.is_empty() {
            match chunks.back_mut().filter(|_| !self.filter.ends_with_empty_chunk) {
                Some(last) => last.1 = true,
                None => chunks.push_back((Bytes::new(), true)),
            }
        }
        chunks
    }

    /// Chunk by chunk; each answer is that of the oldest chunk without one.
    async fn streamed(&mut self, direction: Direction, seen: &mut Seen) -> Result<(), Halt> {
        let mut unsent = self.chunks(seen);
        let mut unanswered: VecDeque<Bytes> = VecDeque::new();
        let mut whole = BytesMut::new();
        while !self.is_over {
            while unanswered.len() < AHEAD
                && let Some((chunk, end_of_stream)) = unsent.pop_front()
            {
                unanswered.push_back(chunk.clone());
                let body = HttpBody {
                    body: chunk,
                    end_of_stream,
                };
                self.send(direction, Phase::Body, &Fields::default(), body).await;
            }
            if unanswered.is_empty() {
                break;
            }
            let answer = match self.answer(direction, Phase::Body).await {
                Ok(answer) => answer,
                // The client has the headers, and a part of the body perhaps: all that is left is to reset it.
                Err(halt) => return self.halt_in_body(direction, halt, seen, whole),
            };
            let Some(answer) = answer else { break };
            let chunk = unanswered.pop_front().unwrap_or_default();
            match answer {
                Answer::Common(Some(answer)) => {
                    if answer.header_mutation.is_some() {
                        self.violates(
                            ViolationKind::LostHeaders,
                            "an answer to a chunk changes headers that have gone on",
                        );
                    }
                    whole.extend_from_slice(&self.mutated(&chunk, answer.body_mutation.as_ref())?);
                }
                _ => whole.extend_from_slice(&chunk),
            }
        }
        // What is not answered passes as it is: the processor is gone.
        for chunk in unanswered
            .into_iter()
            .chain(unsent.into_iter().map(|(chunk, _)| chunk))
        {
            whole.extend_from_slice(&chunk);
        }
        seen.body = whole.freeze();
        Ok(())
    }

    /// After the headers of a response have gone to the client, it cannot get another answer.
    pub(super) fn halt_in_body(
        &mut self,
        direction: Direction,
        halt: Halt,
        seen: &mut Seen,
        sent: BytesMut,
    ) -> Result<(), Halt> {
        if direction == Direction::Request {
            return Err(halt);
        }
        self.is_over = true;
        seen.body = sent.freeze();
        seen.is_reset = true;
        Ok(())
    }

    /// A body in which an override asked for the mode keeps its `content-length`: the peer gets no byte beyond it.
    fn cut_to_length(&mut self, seen: &mut Seen) {
        let Some(length) = seen.headers.length() else {
            return;
        };
        if length == seen.body.len() {
            return;
        }
        let text = format!(
            "content-length says {length}, the body has {} bytes",
            seen.body.len()
        );
        self.violates(ViolationKind::LostBytes, text);
        seen.body.truncate(length);
    }
}
