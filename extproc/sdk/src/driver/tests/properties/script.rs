//! What Envoy does in one exchange: the messages of both directions as one of its modes sends them, interleaved, and its end.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::bytes::pattern;
use crate::modes::{BodyMode, Direction, Modes};
use crate::testing::{
    Modal, request_body, request_headers, request_trailers, response_body, response_headers,
    response_trailers, with_modes,
};
use crate::wire::ProcessingRequest;

pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Request, Direction::Response];

/// How the body of one direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// With its last chunk.
    Chunk,
    /// With an empty chunk, as HTTP/1 bodies do.
    Empty,
    Trailers,
}

/// One direction.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) direction: Direction,
    pub(super) mode: BodyMode,
    /// Neither body nor trailers follow the headers.
    pub(super) bare: bool,
    /// Of the chunks, in bytes.
    pub(super) sizes: Vec<usize>,
    pub(super) tail: Tail,
}

/// How Envoy ends the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    HalfClose,
    Reset,
    /// The call is dropped: the connection broke.
    Drop,
    /// It does not: the call stays open.
    Stay,
    /// It is the server that stops.
    Cut,
    HandOver,
}

#[derive(Clone, Debug)]
pub(super) struct Script {
    request: Side,
    response: Option<Side>,
    /// The modes that the filter is configured with.
    pub(super) base: Modes,
    /// Which direction is next, as long as both have messages; and how often answers are looked for in between.
    order: Vec<(bool, u8)>,
    /// So many messages are sent, of those that there are.
    cut: Option<prop::sample::Index>,
    pub(super) way: Way,
    /// The server answers the call before the first phase is answered.
    pub(super) eager: bool,
    /// Bytes that bodies may take.
    pub(super) memory: usize,
}

/// A message, and how often answers are looked for after it.
#[derive(Clone, Debug)]
pub(super) struct Send {
    pub(super) direction: Direction,
    pub(super) message: ProcessingRequest,
    pub(super) looks: u8,
}

impl Side {
    /// The body.
    pub(super) fn whole(&self) -> Vec<u8> {
        if self.bare || self.mode == BodyMode::None {
            return Vec::new();
        }
        pattern(self.direction, 0, self.sizes.iter().sum())
    }

    /// The chunks as the mode has them: content, and whether it is the last.
    pub(super) fn chunks(&self) -> Vec<(Bytes, bool)> {
        if self.bare || self.mode == BodyMode::None {
            return Vec::new();
        }
        if self.mode.is_buffered() {
            return vec![(self.whole().into(), self.tail != Tail::Trailers)];
        }
        let mut chunks = Vec::new();
        let mut offset = 0;
        for size in &self.sizes {
            chunks.push((pattern(self.direction, offset, *size).into(), false));
            offset += size;
        }
        match (self.tail, chunks.last_mut()) {
            (Tail::Chunk, Some(last)) => last.1 = true,
            (Tail::Chunk | Tail::Empty, _) => chunks.push((Bytes::new(), true)),
            (Tail::Trailers, _) => {}
        }
        chunks
    }

    pub(super) fn has_trailers(&self) -> bool {
        !self.bare && self.tail == Tail::Trailers
    }

    fn messages(&self) -> Vec<ProcessingRequest> {
        let length = self.sizes.iter().sum::<usize>().to_string();
        let is_request = self.direction == Direction::Request;
        let headers = if is_request {
            request_headers([(":method", "POST"), (":path", "/"), ("content-length", &length)])
        } else {
            response_headers([(":status", "200"), ("content-length", &length)])
        };
        let mut messages = vec![if self.bare { headers.ends() } else { headers }];
        for (chunk, ends) in self.chunks() {
            messages.push(if is_request {
                request_body(chunk, ends)
            } else {
                response_body(chunk, ends)
            });
        }
        if self.has_trailers() {
            messages.push(if is_request {
                request_trailers([("t", "1")])
            } else {
                response_trailers([("t", "2")])
            });
        }
        messages
    }
}

impl Script {
    pub(super) fn side(&self, direction: Direction) -> Option<&Side> {
        match direction {
            Direction::Request => Some(&self.request),
            Direction::Response => self.response.as_ref(),
        }
    }

    /// The mode in which a body comes that the filter's mode does not send: the request's headers ask for it.
    pub(super) fn asked(&self) -> Option<BodyMode> {
        (self.base.request != self.request.mode).then_some(self.request.mode)
    }

    /// What is sent, in its order. The request's headers are first.
    pub(super) fn sends(&self) -> Vec<Send> {
        let mut request = self.request.messages().into_iter();
        let mut response = self.response.iter().flat_map(Side::messages);
        let mut order = self.order.iter().copied();
        let mut sends = Vec::new();
        let first = request.next().map(|first| with_modes(first, self.base));
        let mut next = first.map(|first| (Direction::Request, first));
        while let Some((direction, message)) = next {
            let (of_request, looks) = order.next().unwrap_or((true, 1));
            sends.push(Send {
                direction,
                message,
                looks,
            });
            let mut from = |direction| match direction {
                Direction::Request => request.next().map(|message| (direction, message)),
                Direction::Response => response.next().map(|message| (direction, message)),
            };
            next = if of_request {
                from(Direction::Request).or_else(|| from(Direction::Response))
            } else {
                from(Direction::Response).or_else(|| from(Direction::Request))
            };
        }
        if let Some(cut) = &self.cut {
            sends.truncate(1 + cut.index(sends.len()));
        }
        sends
    }
}

fn mk_mode() -> impl Strategy<Value = BodyMode> {
    prop_oneof![
        1 => Just(BodyMode::None),
        1 => Just(BodyMode::Buffered),
        1 => Just(BodyMode::BufferedPartial),
        2 => Just(BodyMode::Streamed),
        3 => Just(BodyMode::FullDuplex),
    ]
}

fn mk_size() -> impl Strategy<Value = usize> {
    const LARGE: usize = 64 << 10;
    prop_oneof![3 => 0..5_usize, 2 => 5..2_000_usize, 1 => LARGE - 1..=LARGE + 1, 1 => Just(150_000)]
}

fn mk_tail() -> impl Strategy<Value = Tail> {
    prop_oneof![Just(Tail::Chunk), Just(Tail::Empty), Just(Tail::Trailers)]
}

prop_compose! {
    fn mk_side(direction: Direction)(
        mode in mk_mode(), bare in prop::bool::weighted(0.1), sizes in vec(mk_size(), 0..5), tail in mk_tail()
    ) -> Side {
        Side { direction, mode, bare, sizes, tail }
    }
}

fn mk_way() -> impl Strategy<Value = Way> {
    prop_oneof![
        4 => Just(Way::HalfClose),
        1 => Just(Way::Reset),
        1 => Just(Way::Drop),
        3 => Just(Way::Stay),
        1 => Just(Way::Cut),
        1 => Just(Way::HandOver),
    ]
}

prop_compose! {
    /// Everything that Envoy may do.
    pub(super) fn mk_script()(
        request in mk_side(Direction::Request),
        response in prop::option::weighted(0.7, mk_side(Direction::Response)),
        is_asked in prop::bool::weighted(0.2),
        order in vec((any::<bool>(), 0..4_u8), 0..24),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        way in mk_way(),
        eager in prop::bool::weighted(0.1),
        memory in prop_oneof![9 => Just(256_usize << 20), 1 => Just(128_usize << 10)],
    ) -> Script {
        let mut base = Modes { request: request.mode, response: response.as_ref().map_or(BodyMode::None, |side| side.mode) };
        // Envoy takes no override where a mode of the filter is full duplex.
        if is_asked && base.response != BodyMode::FullDuplex {
            base.request = BodyMode::None;
        }
        Script { request, response, base, order, cut, way, eager, memory }
    }
}

prop_compose! {
    /// All messages are sent, and Envoy does not end the exchange before it is through.
    pub(super) fn mk_complete_script()(script in mk_script(), stays in any::<bool>()) -> Script {
        let way = if stays { Way::Stay } else { Way::HalfClose };
        Script { cut: None, way, memory: 256 << 20, ..script }
    }
}
