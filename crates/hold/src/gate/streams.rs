//! The streams that the gate knows by their id: those it holds, and what became of those it held. Watches deadlines; knows
//! no target, only their places.

use std::collections::VecDeque;
use std::time::Duration;

use crate::gate::TargetIx;
use crate::maps::{FixedMap, Ordered};
use crate::reply::Refusal;
use crate::{StreamId, Time};

/// The first answer to a request that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// How long it was held, for `server-timing`.
    pub waited: Duration,
    /// Set if it was refused in gRPC's way: why.
    pub refused: Option<Refusal>,
}

/// One stream.
#[derive(Debug)]
pub(super) enum Stream {
    Held(Held),
    /// It was held and goes on: `window` is the generation of the window that counts it, until it is answered.
    Resumed {
        target: Option<TargetIx>,
        waited: Duration,
        window: Option<u32>,
    },
    /// It passed before the first snapshot without being held.
    Passed {
        target: Option<TargetIx>,
    },
    /// It was held and is refused: `grpc` says why, if it is refused in gRPC's way.
    Refused {
        waited: Duration,
        grpc: Option<Refusal>,
    },
}

/// A request that is held. Times are in nanoseconds, half the size of [`Time`]: there is one of these for each.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) target: TargetIx,
    /// Which of the target's queues.
    pub(super) queue: u16,
    /// Its place in the order of arrival.
    pub(super) order: u64,
    since: u64,
    deadline: u64,
    /// What it was charged.
    pub(super) bytes: u64,
    pub(super) grpc: bool,
}

/// What `bench held` measures grows with it.
const _: () = assert!(size_of::<Stream>() <= 40, "each held request takes one of these");

impl Held {
    pub(super) fn waited(&self, now: Time) -> Duration {
        now.since(at(self.since))
    }
}

/// A released request that its window counts as unanswered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    pub(super) target: TargetIx,
    pub(super) generation: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: FixedMap<StreamId, Stream>,
    /// Held streams by their deadline in nanoseconds.
    deadlines: Ordered,
    /// Held streams whose deadline has passed. One that has ended meanwhile is left out when its turn comes.
    expired: VecDeque<StreamId>,
    /// Streams that are [`Stream::Held`].
    held: usize,
    next_order: u64,
}

impl Streams {
    /// A number for the order of arrival, higher than every one before.
    pub(super) fn next_order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order - 1
    }

    /// Holds a stream that has been waiting since `since`, for no longer than `timeout` from then.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, and each is a field of what is kept"
    )]
    pub(super) fn hold(
        &mut self,
        now: Time,
        stream: StreamId,
        target: TargetIx,
        queue: u16,
        order: u64,
        since: Time,
        timeout: Duration,
        bytes: u64,
        grpc: bool,
    ) {
        let deadline = since + timeout;
        if deadline > now {
            self.deadlines.insert(nanos(deadline), stream.0);
        } else {
            // It has waited for the first snapshot for longer than its target allows.
            self.expired.push_back(stream);
        }
        let held = Held {
            target,
            queue,
            order,
            since: nanos(since),
            deadline: nanos(deadline),
            bytes,
            grpc,
        };
        self.held += 1;
        self.all.insert(stream, Stream::Held(held));
    }

    /// Streams that are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// What is known of a stream that is held.
    pub(super) fn get_held(&self, stream: StreamId) -> Option<&Held> {
        match self.all.get(&stream)? {
            Stream::Held(held) => Some(held),
            _ => None,
        }
    }

    /// Takes a stream out of those that are held.
    pub(super) fn take_held(&mut self, stream: StreamId) -> Option<Held> {
        self.get_held(stream)?;
        match self.end(stream)? {
            Stream::Held(held) => Some(held),
            _ => None,
        }
    }

    /// Moves the deadlines that are over to [`Streams::next_expired`].
    pub(super) fn expire(&mut self, now: Time) {
        while let Some((deadline, stream)) = self.deadlines.first().filter(|(at, _)| *at <= nanos(now)) {
            self.deadlines.remove(deadline, stream);
            self.expired.push_back(StreamId(stream));
        }
    }

    /// The next held stream whose deadline has passed, once.
    pub(super) fn next_expired(&mut self) -> Option<StreamId> {
        while let Some(stream) = self.expired.pop_front() {
            if self.get_held(stream).is_some() {
                return Some(stream);
            }
        }
        None
    }

    pub(super) fn has_expired(&self) -> bool {
        !self.expired.is_empty()
    }

    /// The first deadline that has not passed.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| at(deadline))
    }

    /// A stream that was held goes on.
    pub(super) fn resume(
        &mut self,
        stream: StreamId,
        target: Option<TargetIx>,
        waited: Duration,
        window: Option<u32>,
    ) {
        let resumed = Stream::Resumed {
            target,
            waited,
            window,
        };
        self.all.insert(stream, resumed);
    }

    /// A stream that was held is refused.
    pub(super) fn refuse(&mut self, stream: StreamId, waited: Duration, grpc: Option<Refusal>) {
        self.all.insert(stream, Stream::Refused { waited, grpc });
    }

    /// A stream passes before the first snapshot.
    pub(super) fn pass(&mut self, stream: StreamId) {
        self.all.insert(stream, Stream::Passed { target: None });
    }

    /// The first snapshot says which target a stream that was let through before is for. False if it has ended.
    pub(super) fn assign(&mut self, stream: StreamId, ix: TargetIx) -> bool {
        match self.all.get_mut(&stream) {
            Some(Stream::Resumed { target, .. } | Stream::Passed { target }) => {
                *target = Some(ix);
                true
            }
            _ => false,
        }
    }

    /// The stream is answered. `None` if it was never held; the second is set once, for a released request.
    pub(super) fn answered(&mut self, stream: StreamId) -> Option<(Answered, Option<Unanswered>)> {
        match self.all.get_mut(&stream)? {
            Stream::Resumed {
                target,
                waited,
                window,
            } => {
                let unanswered = window.take().zip(*target);
                let unanswered = unanswered.map(|(generation, target)| Unanswered { target, generation });
                let answered = Answered {
                    waited: *waited,
                    refused: None,
                };
                Some((answered, unanswered))
            }
            Stream::Refused { waited, grpc } => {
                let answered = Answered {
                    waited: *waited,
                    refused: *grpc,
                };
                Some((answered, None))
            }
            Stream::Held(_) | Stream::Passed { .. } => None,
        }
    }

    /// The stream has ended: nothing is known of it any more.
    pub(super) fn end(&mut self, stream: StreamId) -> Option<Stream> {
        let ended = self.all.remove(&stream)?;
        if let Stream::Held(held) = &ended {
            self.deadlines.remove(held.deadline, stream.0);
            self.held = self.held.saturating_sub(1);
        }
        Some(ended)
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Streams {
    /// What is known of a stream.
    pub(super) fn get(&self, stream: StreamId) -> Option<&Stream> {
        self.all.get(&stream)
    }

    /// True if it knows no stream.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.deadlines.is_empty() && self.held == 0
    }
}

/// For ordering. A VM does not live for the 584 years that fit.
fn nanos(time: Time) -> u64 {
    u64::try_from(time.as_duration().as_nanos()).unwrap_or(u64::MAX)
}

/// The moment of so many nanoseconds.
fn at(nanos: u64) -> Time {
    Time::new(Duration::from_nanos(nanos))
}
