//! The driver's side of a pipe: chunks in, answers and pieces out. It never waits.

use std::task::Waker;

use bytes::Bytes;

use super::{Answer, Given, Pipe, Used, joined};
use crate::modes::BodyMode;
use crate::sync::lock;

impl Pipe {
    /// Remembers whom to wake when a handler's other task reads or writes.
    pub(crate) fn set_lane(&self, waker: &Waker) {
        let mut state = lock(&self.state);
        if state.lane.as_ref().is_none_or(|lane| !lane.will_wake(waker)) {
            state.lane = Some(waker.clone());
        }
    }

    /// Whether the handler waits for a chunk and may have one.
    pub(crate) fn wants_chunk(&self) -> bool {
        let state = lock(&self.state);
        state.asked && state.given.is_none() && state.chunk.is_none() && !state.ended
    }

    /// Gives the handler a chunk. An empty chunk that ends the body is only its end, where nothing has to be answered for it.
    pub(crate) fn feed(&self, chunk: Bytes, ends: bool) {
        let mut state = lock(&self.state);
        state.ended |= ends;
        if !(chunk.is_empty() && ends && state.mode == BodyMode::FullDuplex) {
            state.chunk = Some(chunk);
        }
        state.wake_reader();
    }

    /// No chunk follows: trailers came, or the one message of a buffered body was given.
    pub(crate) fn end_input(&self, complete: bool) {
        let mut state = lock(&self.state);
        state.ended = true;
        state.complete &= complete;
        state.wake_reader();
    }

    /// Whether the handler asks for more while Envoy has no answer for the chunk before (STREAMED).
    pub(crate) fn owes_answer(&self) -> bool {
        let state = lock(&self.state);
        state.asked && state.given.is_some()
    }

    /// Whether Envoy waits for the answer of a chunk that the handler has, or has not looked at.
    pub(crate) fn has_unanswered(&self) -> bool {
        let state = lock(&self.state);
        state.given.is_some() || state.chunk.is_some()
    }

    /// The chunk that Envoy waits for an answer of and that passes on if nothing else is said: one that was inspected, or that the
    /// handler has not looked at. Empty where the handler took it.
    pub(crate) fn passing_chunk(&self) -> Bytes {
        let state = lock(&self.state);
        match (&state.given, &state.chunk) {
            (Some(Given::Inspected(chunk, _)), _) | (None, Some(chunk)) => chunk.clone(),
            (Some(Given::Taken(_)), _) | (None, None) => Bytes::new(),
        }
    }

    /// The answer of the chunk that the handler has: what was written since, or the chunk itself where it was inspected.
    pub(crate) fn answer(&self) -> Answer {
        let mut state = lock(&self.state);
        let answer = match state.given.take() {
            Some(Given::Inspected(..)) if state.out.is_empty() => Answer::Unchanged,
            Some(Given::Inspected(chunk, place)) => {
                let place = place.min(state.out.len());
                state.out.insert(place, chunk);
                Answer::Replaced(state.take_all())
            }
            // Written back as it is: Envoy need not get it again.
            Some(Given::Taken(chunk)) if state.is_only_output(&chunk) => {
                state.take_all();
                Answer::Unchanged
            }
            Some(Given::Taken(_)) | None => Answer::Replaced(state.take_all()),
        };
        state.wake_reader();
        answer
    }

    /// Whether something was written and not taken.
    pub(crate) fn has_output(&self) -> bool {
        !lock(&self.state).out.is_empty()
    }

    /// A chunk that was fed and that the handler has not taken.
    pub(crate) fn take_unread(&self) -> Option<Bytes> {
        lock(&self.state).chunk.take()
    }

    /// At most `bytes` of what was written (full duplex).
    pub(crate) fn take_piece(&self, bytes: usize) -> Option<Bytes> {
        let mut state = lock(&self.state);
        let first = state.out.front_mut()?;
        let piece = if first.len() > bytes {
            first.split_to(bytes)
        } else {
            std::mem::take(first)
        };
        if first.is_empty() {
            state.out.pop_front();
        }
        state.out_bytes -= piece.len();
        if state.out.is_empty() {
            state.write_waits = false;
            state.wake_reader();
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
        }
        Some(piece)
    }

    /// Puts a chunk that was inspected last behind everything that was written (full duplex, when the handler has returned).
    pub(crate) fn pass_last(&self) {
        let mut state = lock(&self.state);
        if let Some(Given::Inspected(chunk, _)) = state.given.take() {
            state.push(chunk);
        }
    }

    /// How the handler used the body.
    pub(crate) fn used(&self) -> Used {
        let mut state = lock(&self.state);
        Used {
            owned: state.owned,
            inspected: state.inspected,
            collected: (state.gathered_bytes > 0).then(|| joined(state.gathered.drain(..))),
            wrote: state.wrote,
        }
    }

    /// Whether nothing at all was read or written.
    pub(crate) fn is_untouched(&self) -> bool {
        let state = lock(&self.state);
        !(state.owned || state.inspected || state.wrote) && state.gathered_bytes == 0
    }

    /// Whether the handler waits for Envoy: for a chunk that did not come yet, or for its output to be taken. A handler that does
    /// something else by now is not waited for in vain: its time counts as soon as Envoy has done its part.
    pub(crate) fn waits_for_envoy(&self) -> bool {
        let state = lock(&self.state);
        let for_chunk = state.asked && state.chunk.is_none() && !state.ended;
        (for_chunk || (state.write_waits && !state.out.is_empty())) && !state.inner.0
    }

    /// Chunks given and pieces written so far.
    pub(crate) fn progress(&self) -> u64 {
        let state = lock(&self.state);
        state.progress + state.inner.1
    }

    /// A chain reads this body for several processors: whether one of them is to be waited for, and how far they are together.
    pub(crate) fn set_inner(&self, busy: bool, progress: u64) {
        lock(&self.state).inner = (busy, progress);
    }

    /// The handler has returned. A task that it gave its halves to cannot read or write any more: the body would lose what it
    /// reads, and what it writes would be lost.
    pub(crate) fn end_handler(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.wake_reader();
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }

    /// The exchange is over: whoever still reads or writes gets an error.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.chunk = None;
        state.out.clear();
        state.wake_reader();
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
    }
}
