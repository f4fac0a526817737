//! What a body handler and the driver share: the chunk to read, what was written, and what the handler waits for.
//!
//! The driver's side never waits: it looks at the pipe after each poll of the handler. The handler's side may be polled by
//! another task, where the handler gave the body away.

mod lane_side;

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
    let mut answer = Immediate::new(503)
        .details("extproc_body_memory")
        .body("The processor has no memory left for this body.\n");
    answer.limit = Some("body_memory");
    answer.into()
}
