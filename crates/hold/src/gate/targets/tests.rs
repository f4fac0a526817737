//! Keys that several targets have.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use protocol::State;

use crate::gate::testing::{apply, find, hold, mk_gate, mk_record, mk_request, mk_target, publish, run};
use crate::gate::{ArrivalDecision, ConfirmCall, ConfirmOutcome, Gate, Output, Ticket, WarmDecision};
use crate::reply::Refusal;
use crate::{GateId, Slot, SlotRecord, StreamId, Time};

#[test]
fn holds_while_any_claimant_is_not_ready() {
    for states in [
        [State::Ready, State::Asleep],
        [State::Asleep, State::Ready],
        [State::Draining, State::Ready],
        [State::Failed, State::Waking],
    ] {
        let mut world = World::new(states);
        assert!(
            matches!(world.arrive(1), ArrivalDecision::Hold(_)),
            "must hold while they are {states:?}"
        );
    }
}

#[test]
fn refuses_if_one_has_failed_and_none_may_still_come() {
    let mut world = World::new([State::Ready, State::Failed]);
    assert!(
        matches!(world.arrive(1), ArrivalDecision::Refuse(_)),
        "must say why at once"
    );
}

#[test]
fn sends_back_what_was_held_when_both_are_ready_and_asks_again_then() {
    let mut world = World::new([State::Asleep, State::Asleep]);
    world.hold(1);
    world.publish(0, State::Ready, 1);
    assert!(!world.confirm(), "must not even ask while the other is away");
    assert_eq!(world.run(), [], "must not release to one of two");
    world.publish(1, State::Ready, 1);
    assert_eq!(world.run(), [], "must ask first");
    assert!(world.confirm(), "must ask now");
    world.must_come_again(1);
    world.hold(2);
    assert!(world.confirm(), "must ask for the other as well");
    assert_eq!(
        world.run(),
        [Output::Resume(StreamId(2))],
        "must be released: what came since has a route of now"
    );
}

#[test]
fn what_was_confirmed_of_one_says_nothing_about_the_other() {
    let mut world = World::new([State::Asleep, State::Ready]);
    world.publish(0, State::Ready, 1);
    world.hold(1);
    assert!(world.confirm(), "must ask");
    assert_eq!(
        world.run(),
        [Output::Resume(StreamId(1))],
        "must be released: both are ready"
    );
    world.publish(1, State::Asleep, 1);
    world.publish(1, State::Ready, 2);
    assert!(
        !world.passes(),
        "must ask anew: the cluster may lead to what has just come up"
    );
}

#[test]
fn a_line_moves_when_the_other_claims_the_key_no_more() {
    let mut world = World::new([State::Asleep, State::Asleep]);
    world.hold(1);
    world.publish(0, State::Ready, 1);
    world.remove(1);
    assert!(world.confirm(), "must ask");
    assert_eq!(
        world.run(),
        [Output::Resume(StreamId(1))],
        "must not wait for what is gone"
    );
}

#[test]
fn a_key_of_one_target_waits_for_no_other() {
    let mut world = World::new([State::Ready, State::Asleep]);
    let ix = find(&world.gate, "t0");
    assert!(
        matches!(world.gate.pass(ix, b"t0"), WarmDecision::Pass(_)),
        "must pass: it was ready in the first snapshot"
    );
}

/// Two targets that share the cluster `shared`.
struct World {
    gate: Gate,
    asked: Vec<ConfirmCall>,
}

impl World {
    fn new(states: [State; 2]) -> Self {
        let mut gate = mk_gate();
        let record = |(n, state)| record(n, state, 1, state == State::Ready);
        apply(&mut gate, false, (0..).zip(states).map(record).collect());
        Self {
            gate,
            asked: Vec::new(),
        }
    }

    fn publish(&mut self, n: u32, state: State, epoch: u64) {
        apply(&mut self.gate, false, vec![record(n, state, epoch, false)]);
    }

    fn remove(&mut self, n: u32) {
        publish(&mut self.gate, n, SlotRecord::default());
    }

    fn passes(&mut self) -> bool {
        let ix = find(&self.gate, "shared");
        matches!(self.gate.pass(ix, b"shared"), WarmDecision::Pass(_))
    }

    fn arrive(&mut self, stream: u32) -> ArrivalDecision {
        assert!(!self.passes(), "must not pass at once");
        let ix = find(&self.gate, "shared");
        self.gate
            .arrive(Time::ZERO, StreamId(stream), Some(ix), &mk_request("shared"))
    }

    fn hold(&mut self, stream: u32) {
        assert!(!self.passes(), "must not pass at once");
        let ticket = hold(&mut self.gate, Time::ZERO, stream, "shared");
        assert_eq!(ticket, Ticket::Known);
    }

    /// A root callback. Its questions are answered with a yes at the next `confirm`.
    fn run(&mut self) -> Vec<Output> {
        let done = run(&mut self.gate, Time::ZERO);
        self.asked.extend(done.questions);
        done.decisions
    }

    /// Refused, for it is not known to which of the two its route leads.
    fn must_come_again(&mut self, stream: u32) {
        let decisions = self.run();
        let [Output::Refuse(refused, reply)] = &decisions[..] else {
            panic!("must be refused: {decisions:?}")
        };
        assert_eq!(
            (*refused, reply.refusal),
            (StreamId(stream), Refusal::RouteChanged)
        );
    }

    /// Answers the question that is due with a yes.
    fn confirm(&mut self) -> bool {
        if self.asked.is_empty() {
            let decisions = self.run();
            assert_eq!(decisions, [], "must ask first");
        }
        let Some(call) = self.asked.pop() else {
            return false;
        };
        let outcome = ConfirmOutcome::Answered {
            status: 200,
            grpc_status: None,
        };
        self.gate.confirmed(Time::ZERO, call.token, outcome);
        true
    }
}

fn record(n: u32, state: State, epoch: u64, preconfirmed_epoch: bool) -> (Slot, SlotRecord) {
    let mut target = mk_target(&format!("t{n}"));
    target.clusters.push("shared".to_owned());
    target.state = state;
    target.epoch = epoch;
    let record = SlotRecord {
        preconfirmed_epoch: preconfirmed_epoch.then_some(epoch),
        shares: vec![(GateId(1), 10)],
        prober: Some(GateId(1)),
        ..mk_record(target)
    };
    (Slot(n), record)
}
