//! The gate against a naive model: random sequences of everything that can happen to it, with a shell, quotas and a relay
//! that are as simple as they can be. Every output is checked as it leaves.

mod expect;
mod inputs;
mod outputs;
mod told;
mod world;

#[cfg(test)]
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::State;

#[cfg(all(test, target_arch = "wasm32"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use world::{SHARED, STARTUPS, TARGETS, World};

/// Everything that can happen to a gate.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Publish {
        target: u8,
        state: State,
        new_epoch: bool,
        told: bool,
        share: u32,
        twin: bool,
    },
    Remove {
        target: u8,
    },
    Lose {
        lost: bool,
    },
    /// Everything is read anew, and one of the targets may be there no more.
    Reread {
        without: u8,
    },
    Stale,
    Arrive {
        target: u8,
        cluster: u8,
        grpc_timeout: Option<u16>,
        length: Option<u32>,
    },
    Answer {
        nth: usize,
    },
    Leave {
        nth: usize,
    },
    Confirm {
        yes: u8,
    },
    Advance {
        ms: u16,
    },
    AdvanceToTimeout,
    Drain,
}

/// One of them.
pub(crate) fn event() -> impl Strategy<Value = Op> {
    let state = prop_oneof![
        1 => Just(State::Asleep),
        1 => Just(State::Waking),
        4 => Just(State::Ready),
        1 => Just(State::Draining),
        1 => Just(State::Failed),
        1 => Just(State::Suspended),
    ];
    prop_oneof![
        3 => (0..TARGETS, state, any::<bool>(), any::<bool>(), 0..4_u32, any::<bool>()).prop_map(
            |(target, state, new_epoch, told, share, twin)| Op::Publish { target, state, new_epoch, told, share, twin }
        ),
        1 => (0..TARGETS).prop_map(|target| Op::Remove { target }),
        1 => any::<bool>().prop_map(|lost| Op::Lose { lost }),
        1 => (0..3 * TARGETS).prop_map(|without| Op::Reread { without }),
        1 => Just(Op::Stale),
        8 => (0..=TARGETS, 0..=SHARED, prop::option::of(1..4_000_u16), prop::option::of(0..3_000_u32)).prop_map(
            |(target, cluster, grpc_timeout, length)| Op::Arrive { target, cluster, grpc_timeout, length }
        ),
        3 => any::<usize>().prop_map(|nth| Op::Answer { nth }),
        3 => any::<usize>().prop_map(|nth| Op::Leave { nth }),
        3 => (0..10_u8).prop_map(|yes| Op::Confirm { yes }),
        3 => (0..1_500_u16).prop_map(|ms| Op::Advance { ms }),
        1 => (60_000..u16::MAX).prop_map(|ms| Op::Advance { ms }),
        2 => Just(Op::AdvanceToTimeout),
        4 => Just(Op::Drain),
    ]
}

/// Panics where the gate and the model disagree. `startup` says what happens without a first snapshot: one of [`STARTUPS`], by its place.
pub(crate) fn check(startup: usize, events: &[Op]) {
    let mut world = World::new(STARTUPS[startup % STARTUPS.len()]);
    for event in events {
        world.step(event);
    }
    world.finish();
}

#[cfg(test)]
#[test]
fn a_gate_agrees_with_the_model() {
    let agreed =
        crate::testing::mk_runner(2_000).run(&(0..3_usize, vec(event(), 1..120)), |(startup, events)| {
            check(startup, &events);
            Ok(())
        });
    agreed.unwrap();
}
