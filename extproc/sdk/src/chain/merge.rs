//! One reply, and one set of needs, of those of several processors.

use bytes::Bytes;

use crate::edits::Edits;
use crate::headers::Headers as Shown;
use crate::modes::{BodyMode, ModeOverride};
use crate::needs::{Accepts, Deadlines, Limits, Needs, OnDeadline, Prolong};
use crate::reply::HeadersReply;
use crate::stop::Reply;

/// The answers to headers of the processors of a chain.
pub(super) struct Headers {
    reply: HeadersReply,
    wanted: Vec<ModeOverride>,
    members: usize,
}

impl Headers {
    /// Of a chain of so many processors.
    pub(super) fn new(members: usize) -> Self {
        Self {
            reply: HeadersReply::unchanged(),
            wanted: Vec::new(),
            members,
        }
    }

    /// Adds the answer of the next processor.
    pub(super) fn add(&mut self, reply: HeadersReply) {
        let HeadersReply {
            edits,
            clear_route_cache,
            mode,
            metadata,
            replace,
            done: _,
            after_body,
        } = reply;
        self.reply.edits.extend(edits);
        self.reply.clear_route_cache |= clear_route_cache;
        self.reply.metadata.extend(metadata);
        self.reply.replace = replace.or(self.reply.replace.take());
        self.reply.after_body |= after_body;
        self.wanted.push(mode);
    }

    /// The body that one of them put in the place of Envoy's.
    pub(super) fn replaced(&self) -> Option<Bytes> {
        self.reply.replace.clone()
    }

    pub(super) fn into_reply(mut self, done: bool) -> HeadersReply {
        self.reply.mode = modes(&self.wanted, self.members);
        self.reply.done = done;
        self.reply
    }
}

/// The headers with the length of a body that was replaced, as the driver will set it.
pub(super) fn with_length(shown: &Shown, bytes: usize) -> Reply<Shown> {
    let mut edits = Edits::default();
    edits.set("content-length", bytes.to_string().as_bytes());
    let headers = edits.apply(shown)?;
    Ok(Shown::from_fields(headers.fields().to_vec(), false))
}

/// What to ask Envoy for: what one wants is sent, in the mode of the first that asks for it; nothing is turned off unless all of
/// `members` ask for it.
fn modes(wanted: &[ModeOverride], members: usize) -> ModeOverride {
    let bodies = |of: fn(&ModeOverride) -> Option<BodyMode>| choose(wanted, members, of, BodyMode::None);
    let flags = |of: fn(&ModeOverride) -> Option<bool>| choose(wanted, members, of, false);
    ModeOverride {
        response_headers: flags(|mode| mode.response_headers),
        request_body: bodies(|mode| mode.request_body),
        response_body: bodies(|mode| mode.response_body),
        request_trailers: flags(|mode| mode.request_trailers),
        response_trailers: flags(|mode| mode.response_trailers),
    }
}

fn choose<T: Copy + PartialEq>(
    wanted: &[ModeOverride],
    members: usize,
    of: fn(&ModeOverride) -> Option<T>,
    off: T,
) -> Option<T> {
    let all_say_off = wanted.iter().filter(|mode| of(mode) == Some(off)).count() == members && members > 0;
    let mut said = wanted.iter().filter_map(of);
    said.find(|mode| *mode != off).or(all_say_off.then_some(off))
}

/// The needs of a chain of processors with these.
pub(super) fn needs(of: impl Iterator<Item = Needs>) -> Needs {
    let all: Vec<Needs> = of.collect();
    let Some(first) = all.first() else {
        return Needs::default();
    };
    let mut merged = first.clone();
    for other in all.iter().skip(1) {
        merged.request = both(merged.request, other.request);
        merged.response = both(merged.response, other.response);
        merged.assume = merged.assume.or(other.assume);
        merged.limits = Limits {
            collect: merged.limits.collect.max(other.limits.collect),
            written: merged.limits.written.max(other.limits.written),
            header_bytes: merged.limits.header_bytes.max(other.limits.header_bytes),
        };
        merged.deadlines = tightest(merged.deadlines, &other.deadlines);
    }
    let asked: Vec<ModeOverride> = all.iter().map(|needs| needs.ask.unwrap_or_default()).collect();
    merged.ask = Some(modes(&asked, all.len())).filter(|ask| *ask != ModeOverride::default());
    merged
}

fn tightest(one: Deadlines, other: &Deadlines) -> Deadlines {
    Deadlines {
        headers: one.headers.min(other.headers),
        body_progress: one.body_progress.min(other.body_progress),
        trailers: one.trailers.min(other.trailers),
        then: match (one.then, &other.then) {
            (OnDeadline::Fail, _) | (_, OnDeadline::Fail) => OnDeadline::Fail,
            (OnDeadline::Continue, then) => then.clone(),
            (then, _) => then,
        },
        prolong: match (one.prolong, other.prolong) {
            (Some(one), Some(other)) => Some(Prolong {
                message_timeout: one.message_timeout.min(other.message_timeout),
                to: one.to.min(other.to),
            }),
            (one, other) => one.or(other),
        },
    }
}

/// The modes that both accept.
fn both(one: Accepts, other: Accepts) -> Accepts {
    match (one, other) {
        (Accepts::Any, accepts) | (accepts, Accepts::Any) => accepts,
        (Accepts::Only(one), Accepts::Only(other)) => {
            let has = |mode| one.contains(&mode) && other.contains(&mode);
            let place = MODES
                .iter()
                .enumerate()
                .filter(|(_, mode)| has(**mode))
                .fold(0, |place, (bit, _)| place | (1 << bit));
            Accepts::Only(SETS.get(place).copied().unwrap_or_default())
        }
    }
}

const MODES: [BodyMode; 4] = [
    BodyMode::Streamed,
    BodyMode::Buffered,
    BodyMode::BufferedPartial,
    BodyMode::FullDuplex,
];

/// Every set of [`MODES`], at the place that has the bits of its members: `Accepts` borrows for ever.
const SETS: [&[BodyMode]; 16] = {
    use BodyMode::{Buffered as B, BufferedPartial as P, FullDuplex as F, Streamed as S};
    [
        &[],
        &[S],
        &[B],
        &[S, B],
        &[P],
        &[S, P],
        &[B, P],
        &[S, B, P],
        &[F],
        &[S, F],
        &[B, F],
        &[S, B, F],
        &[P, F],
        &[S, P, F],
        &[B, P, F],
        &[S, B, P, F],
    ]
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sets_stand_at_the_place_of_their_bits() {
        for (place, set) in SETS.iter().enumerate() {
            for (bit, mode) in MODES.iter().enumerate() {
                assert_eq!(set.contains(mode), place & (1 << bit) != 0, "{place} {mode:?}");
            }
        }
    }

    #[test]
    fn needs_are_those_of_all() {
        let limits = |collect, written, header_bytes| Limits {
            collect,
            written,
            header_bytes,
        };
        let ask = |request_body| {
            Some(ModeOverride {
                response_headers: Some(false),
                request_body: Some(request_body),
                ..ModeOverride::default()
            })
        };
        let one = Needs {
            request: Accepts::Only(&[BodyMode::Buffered, BodyMode::FullDuplex]),
            limits: limits(10, 20, 30),
            deadlines: Deadlines {
                headers: Duration::from_secs(1),
                then: OnDeadline::Continue,
                ..Deadlines::default()
            },
            ask: ask(BodyMode::None),
            ..Needs::default()
        };
        let other = Needs {
            request: Accepts::Only(&[BodyMode::FullDuplex, BodyMode::Streamed]),
            response: Accepts::Only(&[BodyMode::Buffered]),
            limits: limits(30, 10, 10),
            ask: ask(BodyMode::Buffered),
            ..Needs::default()
        };
        let merged = needs([one, other].into_iter());
        assert_eq!(merged.request, Accepts::Only(&[BodyMode::FullDuplex]));
        assert_eq!(merged.response, Accepts::Only(&[BodyMode::Buffered]));
        assert_eq!(merged.limits, limits(30, 20, 30));
        assert_eq!(merged.deadlines.headers, Duration::from_secs(1));
        assert!(matches!(merged.deadlines.then, OnDeadline::Fail));
        // What both turn off is off; what one wants is on.
        assert_eq!(merged.ask, ask(BodyMode::Buffered));
    }

    #[test]
    fn one_does_not_turn_off_what_others_may_want() {
        let off = ModeOverride {
            response_body: Some(BodyMode::None),
            response_trailers: Some(false),
            ..ModeOverride::default()
        };
        assert_eq!(modes(&[off, ModeOverride::default()], 2), ModeOverride::default());
        assert_eq!(modes(&[off], 2), ModeOverride::default());
        assert_eq!(modes(&[off, off], 2), off);
    }
}
