//! What a body handler and the driver share: the chunk to read, what was written, and what the handler waits for.
//!
//! The driver's side never waits: it looks at the pipe after each poll of the handler. The handler's side may be polled by
//! another task, where the handler gave the body away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::memory::{BodyMemory, Reservation};
use crate::immediate::Immediate;
use crate::modes::BodyMode;
use crate::needs::Limits;
use crate::stop::{Failure, FailureKind, Reply, Stop};
use crate::sync::lock;

/// How a handler takes a chunk, which says what becomes of it where nothing else is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It is looked at, and passes on.
    Inspect,
    /// It is gathered with the others; the whole is kept.
    Collect,
    /// It is the handler's.
    Own,
}

/// The chunk that the handler got last, while Envoy has no answer for it.
#[derive(Debug)]
enum Given {
    /// It passes on, behind so many of the pieces in `out`.
    Inspected(Bytes, usize),
    /// It is the handler's. Kept to see whether the handler writes it back as it is.
    Taken(Bytes),
}

#[derive(Debug)]
pub(crate) struct Pipe {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mode: BodyMode,
    limits: Limits,
    reserved: Reservation,
    chunk: Option<Bytes>,
    given: Option<Given>,
    /// No chunk follows the one that is here.
    ended: bool,
    /// The input is the whole body: false only in BUFFERED_PARTIAL.
    complete: bool,
    /// The handler waits for a chunk, or for the answer of the one before.
    asked: bool,
    owned: bool,
    inspected: bool,
    /// What was collected, whether or not it was the whole: it passes on where nothing else is said.
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    out: VecDeque<Bytes>,
    out_bytes: usize,
    wrote: bool,
    /// The handler waits for the output to be taken.
    write_waits: bool,
    /// Chunks given and pieces written: what a deadline looks at.
    progress: u64,
    /// Of a chain: some processor of it neither reads nor waits for its output to be taken, and their progress.
    inner: (bool, u64),
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    lane: Option<Waker>,
}

/// What the driver has to know when the handler has returned.
#[derive(Debug)]
pub(crate) struct Used {
    /// Chunks were taken from the split reader: they are gone.
    pub(crate) owned: bool,
    /// Chunks were inspected: they have passed, or pass with the next answer.
    pub(crate) inspected: bool,
    /// What was collected, if anything was.
    pub(crate) collected: Option<Bytes>,
    /// Something was written.
    pub(crate) wrote: bool,
}

/// How one chunk in STREAMED, or a body in BUFFERED, is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Unchanged,
    Replaced(Bytes),
}

impl Pipe {
    pub(crate) fn new(mode: BodyMode, limits: Limits, memory: Arc<BodyMemory>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                mode,
                limits,
                reserved: Reservation::new(memory),
                chunk: None,
                given: None,
                ended: false,
                complete: true,
                asked: false,
                owned: false,
                inspected: false,
                gathered: Vec::new(),
                gathered_bytes: 0,
                out: VecDeque::new(),
                out_bytes: 0,
                wrote: false,
                write_waits: false,
                progress: 0,
                inner: (false, 0),
                closed: false,
                reader: None,
                writer: None,
                lane: None,
            }),
        })
    }

    // The handler's side.

    /// The next chunk; none at the end of the body.
    pub(crate) fn poll_chunk(&self, cx: &mut Context<'_>, take: Take) -> Poll<Reply<Option<Bytes>>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Poll::Ready(Err(over()));
        }
        if take == Take::Inspect && !state.gathered.is_empty() && !state.is_at_end() {
            return Poll::Ready(Err(Stop::misuse(
                "inspect() after a collect() that did not come to the end: what was inspected would overtake what was collected",
            )));
        }
        if !state.pass_on() {
            // In full duplex the inspected chunk has to find its place among what is written first.
            state.write_waits = true;
            state.reader = Some(cx.waker().clone());
            state.wake_lane(cx.waker());
            return Poll::Pending;
        }
        if state.given.is_none()
            && let Some(chunk) = state.chunk.take()
        {
            state.asked = false;
            state.progress += 1;
            // An empty chunk is only some modes' way to say that the body ends: nothing is lost with it.
            match take {
                Take::Inspect => state.inspected |= !chunk.is_empty(),
                Take::Own => state.owned |= !chunk.is_empty(),
                Take::Collect => state.gather(chunk.clone()),
            }
            state.given = match take {
                Take::Inspect => Some(Given::Inspected(chunk.clone(), state.out.len())),
                Take::Own | Take::Collect if state.mode != BodyMode::FullDuplex => {
                    Some(Given::Taken(chunk.clone()))
                }
                Take::Own | Take::Collect => None,
            };
            return Poll::Ready(Ok(Some(chunk)));
        }
        if state.is_at_end() {
            state.asked = false;
            return Poll::Ready(Ok(None));
        }
        state.asked = true;
        state.reader = Some(cx.waker().clone());
        state.wake_lane(cx.waker());
        Poll::Pending
    }

    /// Waits for room for the next piece. In full duplex: until Envoy has taken the piece before.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Reply<()>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Poll::Ready(Err(over()));
        }
        if state.pass_on() && (state.mode != BodyMode::FullDuplex || state.out.is_empty()) {
            return Poll::Ready(Ok(()));
        }
        state.write_waits = true;
        state.writer = Some(cx.waker().clone());
        state.wake_lane(cx.waker());
        Poll::Pending
    }

    /// Writes a piece, after [`poll_room`](Self::poll_room) said that there is room.
    pub(crate) fn write(&self, piece: Bytes) -> Reply<()> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(over());
        }
        state.wrote = true;
        state.progress += 1;
        if piece.is_empty() {
            return Ok(());
        }
        if state.mode != BodyMode::FullDuplex {
            let bytes = state.out_bytes + piece.len();
            let limit = state.limits.written;
            if bytes > limit {
                let mode = state.mode.name();
                return Err(Stop::limit(
                    "written",
                    format!("{bytes} bytes were written for one answer in {mode}, the limit is {limit}"),
                ));
            }
            let gathered = state.gathered_bytes;
            if !state.reserved.cover(gathered + bytes) {
                return Err(out_of_memory());
            }
        }
        state.push(piece);
        if let Some(lane) = &state.lane {
            lane.wake_by_ref();
        }
        Ok(())
    }

    /// Bytes that were collected so far. The memory for them is taken here.
    pub(crate) fn reserve_gathered(&self) -> Reply<usize> {
        let mut state = lock(&self.state);
        let (gathered, written) = (state.gathered_bytes, state.out_bytes);
        let written = if state.mode == BodyMode::FullDuplex {
            0
        } else {
            written
        };
        if state.reserved.cover(gathered + written) {
            Ok(gathered)
        } else {
            Err(out_of_memory())
        }
    }

    /// What was collected, as one.
    pub(crate) fn gathered(&self) -> Bytes {
        let mut state = lock(&self.state);
        let whole = joined(state.gathered.drain(..));
        state.gathered.push(whole.clone());
        whole
    }

    pub(crate) fn collect_limit(&self) -> usize {
        lock(&self.state).limits.collect
    }

    pub(crate) fn is_complete(&self) -> bool {
        lock(&self.state).complete
    }

    // The driver's side.

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

impl State {
    /// Whether the handler has had every chunk.
    fn is_at_end(&self) -> bool {
        self.ended && self.chunk.is_none()
    }

    fn gather(&mut self, chunk: Bytes) {
        self.gathered_bytes += chunk.len();
        self.gathered.push(chunk);
    }

    /// In full duplex, puts a chunk that was inspected among what is written. False if there is no room yet.
    fn pass_on(&mut self) -> bool {
        if self.mode != BodyMode::FullDuplex || !matches!(self.given, Some(Given::Inspected(..))) {
            return true;
        }
        if !self.out.is_empty() {
            return false;
        }
        if let Some(Given::Inspected(chunk, _)) = self.given.take() {
            self.push(chunk);
        }
        true
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.out_bytes += piece.len();
            self.out.push_back(piece);
        }
    }

    /// Whether all that was written is this chunk: the same memory, so the same bytes.
    fn is_only_output(&self, chunk: &Bytes) -> bool {
        self.out.len() == 1
            && self.out.front().is_some_and(|piece| {
                !piece.is_empty()
                    && std::ptr::eq(piece.as_ptr(), chunk.as_ptr())
                    && piece.len() == chunk.len()
            })
    }

    fn take_all(&mut self) -> Bytes {
        self.out_bytes = 0;
        self.write_waits = false;
        joined(self.out.drain(..))
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Wakes the driver where the handler's side is polled by another task.
    fn wake_lane(&self, own: &Waker) {
        if let Some(lane) = &self.lane
            && !lane.will_wake(own)
        {
            lane.wake_by_ref();
        }
    }
}

/// The pieces as one; without a copy where there is only one.
pub(crate) fn joined(pieces: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    let Some(first) = pieces.next() else {
        return Bytes::new();
    };
    let Some(second) = pieces.next() else { return first };
    let mut all = BytesMut::from(first);
    all.extend_from_slice(&second);
    for piece in pieces {
        all.extend_from_slice(&piece);
    }
    all.freeze()
}

fn over() -> Stop {
    Stop::Fail(Failure::new(
        FailureKind::Cancelled,
        "the exchange is over: no more of its body comes, or goes",
    ))
}

fn out_of_memory() -> Stop {
    Immediate::new(503)
        .details("extproc_body_memory")
        .body("The processor has no memory left for this body.\n")
        .into()
}
