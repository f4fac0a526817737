//! What the handlers of one exchange are to do.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::modes::Direction;

/// How a handler of headers or trailers returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Unchanged,
    Set,
    AfterBody,
    Done,
    Fail,
    Respond,
    Panic,
    Hang,
}

/// A step of a body's handler.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Await(u16),
    Inspect,
    InspectAll,
    Read,
    Write(usize),
    Forward,
    Copy,
    /// True: an error of it ends the handler, else the handler goes on as if nothing had been.
    Collect(usize, bool),
    /// Wants a chunk, and does not wait for it.
    GiveUp,
}

/// How a body's handler returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Unchanged,
    Replace(usize),
    Written,
    Fail,
    Respond,
    Panic,
    Hang,
}

/// What the handlers of one direction do; headers and trailers after so many milliseconds.
#[derive(Clone, Debug)]
pub(super) struct SidePlan {
    pub(super) headers: (u16, Head),
    pub(super) body: Vec<Act>,
    pub(super) last: Last,
    pub(super) trailers: (u16, Head),
}

/// What happens at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Fail,
    Respond,
    Continue,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    request: SidePlan,
    response: SidePlan,
    pub(super) then: Then,
}

impl Plan {
    pub(super) fn side(&self, direction: Direction) -> &SidePlan {
        match direction {
            Direction::Request => &self.request,
            Direction::Response => &self.response,
        }
    }
}

fn mk_wait() -> impl Strategy<Value = u16> {
    prop_oneof![2 => Just(0_u16), 1 => 1..5_000_u16]
}

fn mk_head(with_after_body: bool) -> impl Strategy<Value = Head> {
    let after = u32::from(with_after_body);
    prop_oneof![
        12 => Just(Head::Unchanged),
        6 => Just(Head::Set),
        4 * after + 1 => Just(if with_after_body { Head::AfterBody } else { Head::Set }),
        after => Just(Head::Done),
        1 => Just(Head::Fail),
        1 => Just(Head::Respond),
        1 => Just(Head::Panic),
        1 => Just(Head::Hang),
    ]
}

fn mk_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        mk_wait().prop_map(Act::Await),
        Just(Act::Inspect),
        Just(Act::InspectAll),
        Just(Act::Read),
        prop_oneof![
            0..3_usize,
            100..2_000_usize,
            Just(70_000_usize),
            Just(65_536_usize)
        ]
        .prop_map(Act::Write),
        Just(Act::Forward),
        Just(Act::Copy),
        (prop_oneof![Just(1_usize << 20), 0..2_000_usize], any::<bool>())
            .prop_map(|(limit, propagate)| Act::Collect(limit, propagate)),
        Just(Act::GiveUp),
    ]
}

fn mk_last() -> impl Strategy<Value = Last> {
    prop_oneof![
        8 => Just(Last::Unchanged),
        3 => prop_oneof![Just(0_usize), 1..100_usize, Just(140_000_usize)].prop_map(Last::Replace),
        6 => Just(Last::Written),
        1 => Just(Last::Fail),
        1 => Just(Last::Respond),
        1 => Just(Last::Panic),
        1 => Just(Last::Hang),
    ]
}

prop_compose! {
    fn mk_side()(
        headers in (mk_wait(), mk_head(true)),
        body in vec(mk_act(), 0..6),
        last in mk_last(),
        trailers in (mk_wait(), mk_head(false)),
    ) -> SidePlan {
        SidePlan { headers, body, last, trailers }
    }
}

fn mk_then() -> impl Strategy<Value = Then> {
    prop_oneof![Just(Then::Fail), Just(Then::Respond), Just(Then::Continue)]
}

prop_compose! {
    /// Everything that handlers may do.
    pub(super) fn mk_plan()(request in mk_side(), response in mk_side(), then in mk_then()) -> Plan {
        Plan { request, response, then }
    }
}

prop_compose! {
    fn mk_identity_side()(
        wait in mk_wait(),
        // In 1:1, what is gathered cannot be sent where trailers end the body: the facts beside this one say so.
        how in prop_oneof![
            Just((vec![], Last::Unchanged)),
            Just((vec![Act::InspectAll], Last::Unchanged)),
            Just((vec![Act::Inspect], Last::Unchanged)),
            Just((vec![Act::Forward], Last::Written)),
            Just((vec![Act::Copy], Last::Written)),
            Just((vec![Act::InspectAll], Last::Written)),
            Just((vec![Act::Inspect, Act::Await(3), Act::Forward], Last::Written)),
            Just((vec![Act::GiveUp, Act::GiveUp], Last::Unchanged)),
        ],
        trailers in mk_wait(),
    ) -> SidePlan {
        SidePlan { headers: (wait, Head::Set), body: how.0, last: how.1, trailers: (trailers, Head::Unchanged) }
    }
}

prop_compose! {
    /// Handlers that let everything pass, each in its own way.
    pub(super) fn mk_identity()(request in mk_identity_side(), response in mk_identity_side()) -> Plan {
        Plan { request, response, then: Then::Fail }
    }
}
