//! Decides what is written to a scale that was read. Pure.

use super::{Order, Outcome};

/// What an order calls for, after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Write this many, naming the version that was read.
    Write(u32),
    /// Nothing more.
    End(Outcome),
}

/// What `order` calls for where `replicas` have been read. `ours`: they are what an earlier write of ours, whose
/// outcome was not known, has left there.
pub(super) fn decide(order: Order, replicas: u32, ours: bool) -> Decision {
    let reached = Decision::End(if ours { Outcome::Written } else { Outcome::Already });
    match (order, replicas) {
        (Order::Up(want), 0) => Decision::Write(want.get()),
        (Order::Up(_), _) | (Order::Down { .. }, 0) => reached,
        (Order::Down { from }, there) if there == from => Decision::Write(0),
        (Order::Down { .. }, _) => Decision::End(Outcome::Abandoned),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn up_writes_from_zero_alone() {
        let up = Order::Up(NonZeroU32::new(2).unwrap());
        let check = |replicas, ours, wanted| {
            assert_eq!(
                decide(up, replicas, ours),
                wanted,
                "must go up from {replicas} so"
            );
        };
        check(0, false, Decision::Write(2));
        check(1, false, Decision::End(Outcome::Already));
        check(5, false, Decision::End(Outcome::Already));
        check(2, true, Decision::End(Outcome::Written));
    }

    #[test]
    fn down_writes_from_what_it_was_alone() {
        let check = |from, replicas, wanted| {
            let decision = decide(Order::Down { from }, replicas, false);
            assert_eq!(
                decision, wanted,
                "must go down from {replicas}, decided at {from}, so"
            );
        };
        check(3, 3, Decision::Write(0));
        check(3, 0, Decision::End(Outcome::Already));
        check(3, 5, Decision::End(Outcome::Abandoned));
        check(3, 1, Decision::End(Outcome::Abandoned));
        check(0, 0, Decision::End(Outcome::Already));
    }

    proptest! {
        #[test]
        fn nothing_but_zero_to_some_and_all_to_zero_is_written(
            want in 1..1000_u32, from in 0..1000_u32, there in 0..1000_u32, ours: bool,
        ) {
            let up = decide(Order::Up(NonZeroU32::new(want).unwrap()), there, ours);
            if let Decision::Write(replicas) = up {
                prop_assert_eq!((there, replicas), (0, want), "must only go up from zero");
            }
            if let Decision::Write(replicas) = decide(Order::Down { from }, there, ours) {
                prop_assert_eq!((there, replicas), (from, 0), "must only go down from what it was, to zero");
                prop_assert!(from > 0, "must not write what is there");
            }
        }
    }
}
