//! Keys with several claimants, as derived keys have them while they shift: nobody can tell which workload Envoy's
//! cluster leads to, so such a key holds until all of them are ready. What comes then passes by a route of its own;
//! what was held until then is told to come again, for its own route may be of before ([`crate::gate::reroute`]).

use crate::gate::confirm::Check;
use crate::gate::entry::{Entry, Stance};
use crate::gate::{Gate, TargetIx};

impl Gate {
    /// The claimant that a request by this cluster is for: of several the first that holds, else the first that refuses,
    /// else the first into which it would not pass at once. Allocates nothing.
    pub(super) fn choose(&self, claims: &[TargetIx], cluster: &[u8]) -> Option<TargetIx> {
        let first = claims.first().copied()?;
        if claims.len() == 1 {
            return Some(first);
        }
        let find = |wanted: &dyn Fn(&Entry) -> bool| {
            let is_wanted = |ix: &&TargetIx| self.entry(**ix).is_some_and(wanted);
            claims.iter().find(is_wanted).copied()
        };
        find(&|entry| entry.stance == Stance::Hold)
            .or_else(|| find(&|entry| !entry.serves()))
            .or_else(|| find(&|entry| entry.has_line_for(cluster) || !entry.is_open_for(None, cluster)))
            .or(Some(first))
    }

    /// Whose a request by this cluster, for this authority, may be.
    pub(super) fn claimants(&self, cluster: &[u8], authority: &[u8]) -> &[TargetIx] {
        match self.table.cluster(cluster) {
            [] => self.table.host(authority),
            claims => claims,
        }
    }

    /// True if a line of `ix` must not move, because its key has another claimant that is not ready.
    pub(super) fn waits_for_twin(&self, ix: TargetIx, cluster: &[u8], authority: &[u8]) -> bool {
        if !self.table.has_shared() {
            return false;
        }
        let claims = self.claimants(cluster, authority);
        let is_waited_for =
            |other: &TargetIx| *other != ix && self.entry(*other).is_some_and(|entry| !entry.serves());
        // A key that is no longer this target's own says nothing about its line: the confirm does.
        claims.contains(&ix) && claims.iter().any(is_waited_for)
    }

    /// Stances or claims may have changed: lines stop and move accordingly. One that moves again is confirmed anew,
    /// because its cluster may lead elsewhere now.
    pub(super) fn settle_claims(&mut self) {
        if !self.table.has_shared() && !self.any_waits {
            return;
        }
        self.any_waits = false;
        for ix in self
            .waiting
            .iter()
            .map(|(_, ix)| TargetIx(ix))
            .collect::<Vec<_>>()
        {
            let Some(entry) = self.entry(ix) else { continue };
            let waits: Vec<(bool, bool)> = entry
                .routes
                .iter()
                .map(|route| {
                    let (cluster, authority) = (&route.cluster, &route.authority);
                    let is_shared = !route.line.is_empty() && self.claimants(cluster, authority).len() > 1;
                    (
                        is_shared,
                        is_shared && self.waits_for_twin(ix, cluster, authority),
                    )
                })
                .collect();
            self.any_waits |= waits.iter().any(|(_, waits)| *waits);
            let Some(entry) = self.entry_mut(ix) else { continue };
            let mut moves = false;
            for (route, (is_shared, waits)) in entry.routes.iter_mut().zip(waits) {
                if route.waits && !waits {
                    route.check = Check::Unasked;
                    moves = true;
                }
                route.waits = waits;
                route.doubt |= is_shared;
            }
            if moves {
                entry.trusted = None;
                self.queue(ix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use protocol::State;

    use crate::gate::testing::{apply, find, hold, mk_gate, mk_record, mk_request, mk_target, publish};
    use crate::gate::{Command, Gate, Outcome, Ticket, Verdict, Warm};
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
                matches!(world.arrive(1), Verdict::Hold(_)),
                "must hold while they are {states:?}"
            );
        }
    }

    #[test]
    fn refuses_if_one_has_failed_and_none_may_still_come() {
        let mut world = World::new([State::Ready, State::Failed]);
        assert!(
            matches!(world.arrive(1), Verdict::Refuse(_)),
            "must say why at once"
        );
    }

    #[test]
    fn sends_back_what_was_held_when_both_are_ready_and_asks_again_then() {
        let mut world = World::new([State::Asleep, State::Asleep]);
        world.hold(1);
        world.publish(0, State::Ready, 1);
        assert!(!world.confirm(), "must not even ask while the other is away");
        assert_eq!(world.next(), None, "must not release to one of two");
        world.publish(1, State::Ready, 1);
        assert_eq!(world.next(), None, "must ask first");
        assert!(world.confirm(), "must ask now");
        world.must_come_again(1);
        world.hold(2);
        assert!(world.confirm(), "must ask for the other as well");
        assert_eq!(
            world.next(),
            Some(Command::Resume(StreamId(2))),
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
            world.next(),
            Some(Command::Resume(StreamId(1))),
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
            world.next(),
            Some(Command::Resume(StreamId(1))),
            "must not wait for what is gone"
        );
    }

    #[test]
    fn a_key_of_its_own_waits_for_nobody() {
        let mut world = World::new([State::Ready, State::Asleep]);
        let ix = find(&world.gate, "t0");
        assert!(
            matches!(world.gate.pass(ix, b"t0"), Warm::Pass(_)),
            "must pass: it was ready in the first snapshot"
        );
    }

    /// Two targets that share the cluster `shared`.
    struct World {
        gate: Gate,
    }

    impl World {
        fn new(states: [State; 2]) -> Self {
            let mut gate = mk_gate();
            let record = |(n, state)| record(n, state, 1, state == State::Ready);
            apply(&mut gate, false, (0..).zip(states).map(record).collect());
            Self { gate }
        }

        fn publish(&mut self, n: u32, state: State, epoch: u64) {
            apply(&mut self.gate, false, vec![record(n, state, epoch, false)]);
        }

        fn remove(&mut self, n: u32) {
            publish(&mut self.gate, n, SlotRecord::default());
        }

        fn passes(&mut self) -> bool {
            let ix = find(&self.gate, "shared");
            matches!(self.gate.pass(ix, b"shared"), Warm::Pass(_))
        }

        fn arrive(&mut self, stream: u32) -> Verdict {
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

        /// The next decision, all things considered.
        fn next(&mut self) -> Option<Command> {
            match self.gate.poll_command(Time::ZERO)? {
                Command::Release(stream) => self.gate.let_go(Time::ZERO, stream, b"a"),
                command => Some(command),
            }
        }

        /// Refused, for nobody knows to which of the two its route leads.
        fn must_come_again(&mut self, stream: u32) {
            let Some(Command::Refuse(refused, reply)) = self.next() else {
                panic!("must be refused")
            };
            assert_eq!(
                (refused, reply.refusal),
                (StreamId(stream), Refusal::RouteChanged)
            );
        }

        /// Answers the question that is due with a yes.
        fn confirm(&mut self) -> bool {
            let Some(call) = self.gate.poll_confirm(Time::ZERO) else {
                return false;
            };
            let outcome = Outcome::Answered {
                status: 200,
                grpc_status: None,
            };
            self.gate.confirmed(Time::ZERO, call.token, outcome);
            true
        }
    }

    fn record(n: u32, state: State, epoch: u64, trusted: bool) -> (Slot, SlotRecord) {
        let mut target = mk_target(&format!("t{n}"));
        target.clusters.push("shared".to_owned());
        target.state = state;
        target.epoch = epoch;
        let record = SlotRecord {
            trusted: trusted.then_some(epoch),
            shares: vec![(GateId(1), 10)],
            prober: Some(GateId(1)),
            ..mk_record(target)
        };
        (Slot(n), record)
    }
}
