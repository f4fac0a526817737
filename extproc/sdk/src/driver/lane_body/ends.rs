//! The end of a body whose handler has returned, mode by mode: what is left of its output, and of the input that it did not read.

use std::collections::VecDeque;
use std::mem::take;

use bytes::Bytes;

use super::{Input, Rest, check_use, streamed};
use crate::body::{Answer, PIECE, Pipe, joined};
use crate::driver::lane::{Finish, Lane, body_or_clear, keeps_length, set_length};
use crate::driver::link::Part;
use crate::processor::Processor;
use crate::reply::{BodyReply, Content};
use crate::stop::Stop;
use crate::wire::body_mutation::Mutation;

impl<P: Processor> Lane<'_, P> {
    pub(super) async fn end_buffered(&mut self, pipe: &Pipe, reply: BodyReply) -> Result<(), Finish> {
        let used = pipe.used();
        check_use(&reply, &used)?;
        let replacement = match reply.content {
            Content::Unchanged => None,
            Content::Replaced(body) => Some(body),
            Content::Written => match pipe.answer() {
                Answer::Unchanged => None,
                Answer::Replaced(body) => Some(body),
            },
        };
        self.check_written(replacement.as_ref())?;
        let mut edits = reply.edits;
        if let Some(body) = &replacement
            && keeps_length(self.mode())
            && self.shown.contains("content-length")
            && !edits.touches("content-length")
        {
            set_length(&mut edits, body.len());
        }
        let edits = edits.resolve(&self.shown, self.needs.limits.header_bytes)?;
        self.answer_body(edits, replacement.map(body_or_clear), reply.metadata)
            .await;
        Ok(())
    }

    pub(super) async fn end_streamed(
        &mut self,
        pipe: &Pipe,
        reply: BodyReply,
        mut input: Input,
    ) -> Result<(), Finish> {
        self.refuse_edits(&reply.edits)?;
        let used = pipe.used();
        check_use(&reply, &used)?;
        let mut metadata = reply.metadata;
        let waiting = pipe.has_unanswered();
        // What goes out with the next answer, where it is not the chunk itself.
        let (mut carry, rest) = match reply.content {
            Content::Unchanged => (used.collected, Rest::Pass),
            Content::Replaced(body) => (Some(body), Rest::Drop),
            Content::Written => match pipe.answer() {
                Answer::Unchanged => (None, Rest::Drop),
                Answer::Replaced(body) => (Some(body), Rest::Drop),
            },
        };
        if rest == Rest::Drop {
            self.check_written(carry.as_ref())?;
        }
        if waiting {
            let passing = if rest == Rest::Pass {
                pipe.passing_chunk()
            } else {
                Bytes::new()
            };
            let answer = carry.take().map(|carry| body_or_clear(joined([carry, passing])));
            self.answer_body(None, answer, take(&mut metadata)).await;
        }
        while input == Input::Open {
            match self.next_part().await? {
                Part::Chunk(chunk) => {
                    self.settings.stats.body(self.direction, chunk.body.len());
                    if chunk.end_of_stream {
                        input = Input::Ended;
                    }
                    let answer = match (carry.take(), rest) {
                        (Some(carry), Rest::Pass) => Some(body_or_clear(joined([carry, chunk.body]))),
                        (Some(body), Rest::Drop) => Some(body_or_clear(body)),
                        (None, Rest::Pass) => None,
                        (None, Rest::Drop) => Some(Mutation::ClearBody(true)),
                    };
                    self.answer_body(None, answer, take(&mut metadata)).await;
                }
                Part::Trailers => input = Input::Trailers,
                Part::Headers => return Err(self.headers_in_body()),
                Part::Ended => return Err(self.cut_short()),
            }
        }
        if carry.is_some_and(|body| !body.is_empty()) {
            return Err(Stop::misuse(
                "trailers ended the body, and in STREAMED there is no chunk left to put the handler's output into: use FULL_DUPLEX_STREAMED or BUFFERED for bodies with trailers",
            )
            .into());
        }
        self.late_metadata = metadata;
        Ok(())
    }

    pub(super) async fn end_full_duplex(
        &mut self,
        pipe: &Pipe,
        reply: BodyReply,
        mut input: Input,
    ) -> Result<(), Finish> {
        let used = pipe.used();
        check_use(&reply, &used)?;
        match &mut self.withheld {
            Some(withheld) => withheld.edits.extend(reply.edits),
            None => self.refuse_edits(&reply.edits)?,
        }
        let mut metadata = reply.metadata;
        self.release_headers().await?;
        let rest = if reply.content == Content::Unchanged {
            Rest::Pass
        } else {
            Rest::Drop
        };
        pipe.pass_last();
        let mut pieces: VecDeque<Bytes> = VecDeque::new();
        while let Some(piece) = pipe.take_piece(PIECE) {
            pieces.push_back(piece);
        }
        match reply.content {
            Content::Unchanged => pieces.extend(used.collected),
            Content::Replaced(body) => pieces.push_back(body),
            Content::Written => {}
        }
        if let Some(unread) = pipe.take_unread()
            && rest == Rest::Pass
        {
            pieces.push_back(unread);
        }
        loop {
            let is_last = input == Input::Ended;
            let mut said_end = false;
            while let Some(mut piece) = pieces.pop_front() {
                while !piece.is_empty() {
                    let part = piece.split_to(piece.len().min(PIECE));
                    said_end = is_last && piece.is_empty() && pieces.iter().all(Bytes::is_empty);
                    self.answer_body(None, Some(streamed(part, said_end)), take(&mut metadata))
                        .await;
                }
            }
            match input {
                Input::Open => {}
                Input::Ended if said_end => return Ok(()),
                Input::Ended => {
                    self.answer_body(None, Some(streamed(Bytes::new(), true)), take(&mut metadata))
                        .await;
                    return Ok(());
                }
                Input::Trailers => {
                    self.late_metadata = metadata;
                    return Ok(());
                }
            }
            match self.next_part().await? {
                Part::Chunk(chunk) => {
                    self.settings.stats.body(self.direction, chunk.body.len());
                    if chunk.end_of_stream {
                        input = Input::Ended;
                    }
                    if rest == Rest::Pass {
                        pieces.push_back(chunk.body);
                    }
                }
                Part::Trailers => input = Input::Trailers,
                Part::Headers => return Err(self.headers_in_body()),
                Part::Ended => return Err(self.cut_short()),
            }
        }
    }
}
