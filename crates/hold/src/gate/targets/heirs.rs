//! Counts the streams of removed targets for the targets that have one of their keys now, and so may have their workload: as
//! after a rename by way of the API, which knows only one object that goes and another that comes.
//!
//! Safe before quick: a stream that goes elsewhere keeps the target up that has the key now, until it ends.

use super::Targets;
use crate::gate::TargetIx;

impl Targets {
    /// Finds out anew which targets have keys of the removed, after an update, and returns them: the status is to list them. Costs
    /// what there is of removed targets with streams, and of their keys.
    pub(in crate::gate) fn find_heirs(&mut self) -> Vec<TargetIx> {
        let keys = &self.keys;
        let heirs = |removed: &TargetIx| {
            let entry = self.get(*removed).filter(|entry| !entry.is_unused())?;
            Some((*removed, keys.claimants_of(entry.target())))
        };
        self.heirs = self.retired.iter().filter_map(heirs).collect();
        self.heirs.iter().flat_map(|(_, heirs)| heirs).copied().collect()
    }

    /// The streams of removed targets that are in flight for this one. `None` if there is no such target with held requests or
    /// streams.
    pub(in crate::gate) fn inherited(&self, ix: TargetIx) -> Option<u32> {
        let of_it = self.heirs.iter().filter(|(_, heirs)| heirs.contains(&ix));
        let removed = of_it.filter_map(|(removed, _)| self.get(*removed));
        removed
            .filter(|entry| entry.is_retired())
            .map(|entry| entry.usage().in_flight())
            .reduce(u32::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use protocol::{State, Target, TargetId};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use crate::gate::testing::{
        find, hold, mk_gate, mk_preconfirmed, mk_record, mk_target, publish, run, status,
    };
    use crate::gate::{Gate, Output, Ticket, WarmDecision};
    use crate::{SlotRecord, StreamId, Time};

    #[test]
    fn streams_of_a_removed_target_are_use_of_the_target_that_has_its_key_now() {
        let mut gate = mk_gate();
        publish(&mut gate, 0, mk_preconfirmed(mk_named("a", &["web"])));
        let streams = [pass(&mut gate), pass(&mut gate)];
        publish(&mut gate, 0, SlotRecord::default());
        assert_eq!(in_flight(&mut gate), [0_u32; 0], "must be no target's");

        publish(&mut gate, 1, mk_record(mk_named("b", &["other"])));
        assert_eq!(
            in_flight(&mut gate),
            [0_u32; 0],
            "must not be counted for other keys"
        );
        publish(&mut gate, 1, mk_record(mk_named("b", &["other", "web"])));
        assert_eq!(
            in_flight(&mut gate),
            [2],
            "must be counted for the key that has come"
        );

        publish(&mut gate, 1, SlotRecord::default());
        publish(&mut gate, 2, mk_record(mk_named("c", &["web"])));
        assert_eq!(
            in_flight(&mut gate),
            [2],
            "must be counted for the next, and once"
        );
        for (stream, left) in streams.into_iter().zip([1, 0]) {
            gate.ended(Time::ZERO, StreamId(1), stream);
            let counted: u32 = in_flight(&mut gate).into_iter().sum();
            assert_eq!(counted, left, "must end one by one");
        }
        assert!(gate.targets.is_unused(), "must leave nothing behind");
    }

    #[test]
    fn one_that_is_back_has_its_streams_for_itself() {
        let mut gate = mk_gate();
        publish(&mut gate, 0, mk_preconfirmed(mk_named("a", &["web"])));
        let stream = pass(&mut gate);
        publish(&mut gate, 0, SlotRecord::default());
        publish(&mut gate, 1, mk_record(mk_named("b", &["web"])));
        assert_eq!(in_flight(&mut gate), [1], "must be the new one's");
        publish(&mut gate, 1, SlotRecord::default());
        publish(&mut gate, 2, mk_record(mk_named("a", &["web"])));
        publish(&mut gate, 3, mk_record(mk_named("c", &["web"])));
        assert_eq!(in_flight(&mut gate), [1], "must be its own alone");
        gate.ended(Time::ZERO, StreamId(1), stream);
        assert_eq!(in_flight(&mut gate), [0_u32; 0], "must end");
    }

    #[test]
    fn what_is_let_go_after_the_removal_counts_from_then() {
        let mut gate = mk_gate();
        let asleep = Target {
            state: State::Asleep,
            ..mk_named("a", &["web"])
        };
        publish(&mut gate, 0, mk_record(asleep));
        let ticket = hold(&mut gate, Time::ZERO, 1, "web");
        publish(&mut gate, 0, SlotRecord::default());
        let decisions = run(&mut gate, Time::ZERO).decisions;
        assert_eq!(decisions, [Output::Resume(StreamId(1))], "must be let go");
        publish(&mut gate, 1, mk_record(mk_named("b", &["web"])));
        assert_eq!(in_flight(&mut gate), [1], "must be in flight");
        gate.ended(Time::ZERO, StreamId(1), ticket);
        assert_eq!(in_flight(&mut gate), [0_u32; 0], "must end");
    }

    fn pass(gate: &mut Gate) -> Ticket {
        let ix = find(gate, "web");
        match gate.pass(ix, b"web") {
            WarmDecision::Pass(ticket) => ticket,
            other => panic!("must pass: {other:?}"),
        }
    }

    /// Of each target that has any, as the status says.
    fn in_flight(gate: &mut Gate) -> Vec<u32> {
        let entries = status(gate, Time::ZERO).entries.into_iter();
        entries
            .map(|entry| entry.in_flight)
            .filter(|count| *count > 0)
            .collect()
    }

    fn mk_named(id: &str, clusters: &[&str]) -> Target {
        Target {
            id: TargetId::new(id),
            state: State::Ready,
            epoch: 1,
            clusters: clusters.iter().map(|key| (*key).to_owned()).collect(),
            ..mk_target("web")
        }
    }
}
