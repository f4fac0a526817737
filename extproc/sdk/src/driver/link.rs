//! What the lanes of one exchange share with the task that polls them: the message read last, and the answer to be sent next.
//!
//! Nothing here waits: all of it is looked at while the exchange's one future is polled. The bound is in the types: one message
//! that was read and not taken, one answer that was given and not sent.

use std::sync::Mutex;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::modes::{Direction, Modes};
use crate::sync::lock;
use crate::wire::{HttpBody, HttpHeaders, HttpTrailers, ProcessingResponse};

/// A message of Envoy, without its direction.
#[derive(Debug)]
pub(crate) enum Message {
    Headers(HttpHeaders),
    Body(HttpBody),
    Trailers(HttpTrailers),
}

/// What a body phase finds when it asks for the next part of its body.
#[derive(Debug)]
pub(crate) enum Part {
    Chunk(HttpBody),
    /// Trailers are next, and stay where they are.
    Trailers,
    /// Headers are next: against the protocol.
    Headers,
    /// Envoy sends nothing more.
    Ended,
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    cell: Mutex<Cell>,
}

#[derive(Debug, Default)]
struct Cell {
    held: Option<(Direction, Message)>,
    input_ended: bool,
    slot: Option<ProcessingResponse>,
    /// Something was taken or put since the driver looked last: another round is worth it.
    moved: bool,
    answered: bool,
    headers_answered: bool,
    /// A part of a body was taken: Envoy may not have it any more.
    body_taken: bool,
    /// Answers are dropped: Envoy only shows.
    observing: bool,
    base: Modes,
    modes: Modes,
    /// A message of a direction was taken, and its lane does not wait for the next one yet.
    busy: Pair<bool>,
    /// A body in full duplex is to come, or is not through: a clean end of the call would truncate it.
    truncatable: Pair<bool>,
    time: Pair<Option<Duration>>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Pair<T> {
    request: T,
    response: T,
}

impl<T> Pair<T> {
    fn of(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }
}

impl Link {
    // The driver.

    /// Whether another message may be read.
    pub(crate) fn may_read(&self) -> bool {
        let cell = lock(&self.cell);
        cell.held.is_none() && !cell.input_ended
    }

    pub(crate) fn hold(&self, direction: Direction, message: Message) {
        let mut cell = lock(&self.cell);
        cell.held = Some((direction, message));
        cell.moved = true;
    }

    pub(crate) fn end_input(&self) {
        let mut cell = lock(&self.cell);
        cell.input_ended = true;
        cell.moved = true;
    }

    /// The answer to be sent.
    pub(crate) fn take_answer(&self) -> Option<ProcessingResponse> {
        lock(&self.cell).slot.take()
    }

    /// Whether something moved since this was asked last, and an answer is not in the way.
    pub(crate) fn is_worth_another_round(&self) -> bool {
        let mut cell = lock(&self.cell);
        std::mem::take(&mut cell.moved) && cell.slot.is_none()
    }

    pub(crate) fn set_waker(&self, waker: &Waker) {
        let mut cell = lock(&self.cell);
        if cell.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            cell.waker = Some(waker.clone());
        }
    }

    pub(crate) fn set_base(&self, base: Modes) {
        let mut cell = lock(&self.cell);
        cell.base = base;
        cell.modes = base;
    }

    pub(crate) fn observe(&self) {
        lock(&self.cell).observing = true;
    }

    pub(crate) fn is_observing(&self) -> bool {
        lock(&self.cell).observing
    }

    /// Whether neither direction is in the middle of something.
    pub(crate) fn is_idle(&self) -> bool {
        let cell = lock(&self.cell);
        !cell.busy.request && !cell.busy.response && cell.held.is_none() && cell.slot.is_none()
    }

    // The lanes.

    /// The next message of a direction; none when Envoy sends nothing more. Marks the direction as idle while it waits.
    pub(crate) fn poll_next(&self, direction: Direction) -> Poll<Option<Message>> {
        let mut cell = lock(&self.cell);
        if let Some((_, message)) = cell.held.take_if(|(held, _)| *held == direction) {
            cell.moved = true;
            cell.body_taken |= matches!(message, Message::Body(_));
            *cell.busy.of(direction) = true;
            return Poll::Ready(Some(message));
        }
        *cell.busy.of(direction) = false;
        if cell.input_ended && cell.held.is_none() {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }

    pub(crate) fn set_truncatable(&self, direction: Direction, truncatable: bool) {
        *lock(&self.cell).truncatable.of(direction) = truncatable;
    }

    /// Whether a clean end of the call would truncate the body of a direction.
    pub(crate) fn is_truncatable(&self, direction: Direction) -> bool {
        *lock(&self.cell).truncatable.of(direction)
    }

    /// Whether a direction waits for its next message and loses nothing if none comes.
    pub(crate) fn is_at_rest(&self, direction: Direction) -> bool {
        let mut cell = lock(&self.cell);
        let is_held = cell.held.as_ref().is_some_and(|(held, _)| *held == direction);
        !*cell.busy.of(direction) && !*cell.truncatable.of(direction) && !is_held
    }

    /// The next part of a direction's body.
    pub(crate) fn poll_part(&self, direction: Direction) -> Poll<Part> {
        let mut cell = lock(&self.cell);
        if let Some((_, message)) = cell
            .held
            .take_if(|(held, message)| *held == direction && matches!(message, Message::Body(_)))
        {
            cell.moved = true;
            return match message {
                Message::Body(body) => Poll::Ready(Part::Chunk(body)),
                Message::Headers(_) | Message::Trailers(_) => Poll::Pending,
            };
        }
        match &cell.held {
            Some((held, Message::Trailers(_))) if *held == direction => Poll::Ready(Part::Trailers),
            Some((held, Message::Headers(_))) if *held == direction => Poll::Ready(Part::Headers),
            None if cell.input_ended => Poll::Ready(Part::Ended),
            _ => Poll::Pending,
        }
    }

    /// Whether an answer can be given now.
    pub(crate) fn is_free(&self) -> bool {
        lock(&self.cell).slot.is_none()
    }

    /// Gives an answer, where [`is_free`](Self::is_free) has said in this same poll that there is room.
    pub(crate) fn answer(&self, answer: ProcessingResponse) {
        let mut cell = lock(&self.cell);
        cell.moved = true;
        if !cell.observing {
            cell.slot = Some(answer);
            cell.answered = true;
        }
    }

    /// Gives the answer that waits, as soon as there is room for it.
    pub(crate) fn poll_answer(&self, waiting: &mut Option<ProcessingResponse>) -> Poll<()> {
        if !self.is_free() {
            return Poll::Pending;
        }
        if let Some(answer) = waiting.take() {
            self.answer(answer);
        }
        Poll::Ready(())
    }

    pub(crate) fn base(&self) -> Modes {
        lock(&self.cell).base
    }

    pub(crate) fn modes(&self) -> Modes {
        lock(&self.cell).modes
    }

    pub(crate) fn set_modes(&self, modes: Modes) {
        lock(&self.cell).modes = modes;
    }

    /// A handler wants more time of Envoy.
    pub(crate) fn ask_for_time(&self, direction: Direction, time: Duration) {
        let mut cell = lock(&self.cell);
        *cell.time.of(direction) = Some(time);
        if let Some(waker) = &cell.waker {
            waker.wake_by_ref();
        }
    }

    /// The handler that wanted more time has returned.
    pub(crate) fn forget_time(&self, direction: Direction) {
        *lock(&self.cell).time.of(direction) = None;
    }

    /// Whether no headers have been answered yet. True once.
    pub(crate) fn is_first_answer_to_headers(&self) -> bool {
        !std::mem::replace(&mut lock(&self.cell).headers_answered, true)
    }

    /// Whether Envoy still has all that it needs to begin this exchange anew elsewhere: nothing was answered, and no body was taken.
    pub(crate) fn is_replayable(&self) -> bool {
        let cell = lock(&self.cell);
        !cell.answered && !cell.body_taken && !cell.observing
    }

    /// The time that a handler wants, if there is room to ask for it.
    pub(crate) fn take_time(&self, direction: Direction) -> Option<Duration> {
        let mut cell = lock(&self.cell);
        if cell.slot.is_some() {
            None
        } else {
            cell.time.of(direction).take()
        }
    }
}
