//! Before a held request goes on: is the way by which it came still its target's?
//!
//! Envoy keeps the route that a request came with until it ends, and looks the route's cluster up by name at the last moment. So while a
//! request waits, its cluster may go away, or the name may become another's, and no filter can give it another route, or see what the
//! name means now: `clear_route_cache` matches anew in the configuration of before, and what it finds cannot be read before the request
//! has gone. What is left is to go by the keys, and to have the request sent again wherever they leave a doubt.

use crate::gate::{Gate, TargetIx};
use crate::reply::Refusal;
use crate::{StreamId, Time};

impl Gate {
    /// The answer to [`Output::ReadAuthority`](crate::Output::ReadAuthority): the request goes on, or is refused if, while it was
    /// held, its target has lost the key by which it came or is about to, or the key has become another target's, or that of several.
    pub fn release(&mut self, now: Time, stream: StreamId, authority: &[u8]) {
        self.advance(now);
        let output = match self.has_kept_its_way(stream, authority) {
            Some(true) => self.resume(now, stream),
            Some(false) => self.refuse_held(now, stream, Refusal::RouteChanged),
            None => None,
        };
        self.follow_ups.extend(output);
    }

    /// `None` if the request is not held.
    fn has_kept_its_way(&self, stream: StreamId, authority: &[u8]) -> Option<bool> {
        let held = self.streams.get_held(stream)?;
        let entry = self.targets.get(held.target)?;
        let target = entry.target();
        let queue = entry.queues().get(held.queue)?;
        let claimants = self.targets.claimants(queue.cluster(), authority);
        // By name: a target that was removed and is back has another place.
        let is_own = |ix: &TargetIx| {
            let claimant = self.targets.get(*ix);
            claimant.is_some_and(|claimant| claimant.target().id == target.id)
        };
        let own = claimants.iter().filter(|ix| is_own(ix)).count();
        // A target that was removed has no keys, and what it held passes. One that is still there, or is back, has lost this key.
        let is_lost = own == 0 && (!claimants.is_empty() || self.targets.is_published(target));
        // Nothing says where the cluster leads by now: a target's key is known, but not every workload is a target.
        let leaving = target.leaving.iter();
        let leaves = own > 0 && leaving.into_iter().any(|key| *key.as_bytes() == *queue.cluster());
        let is_doubtful = queue.is_doubtful() && claimants.len() > own;
        Some(!(is_lost || leaves || is_doubtful))
    }
}

#[cfg(test)]
mod tests {
    use protocol::{State, Target};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::gate::testing::{find, hold, mk_gate, mk_preconfirmed, mk_target, publish, run};
    use crate::gate::{Output, WarmDecision};

    #[test]
    fn what_is_held_by_a_key_that_its_target_has_lost_comes_again() {
        let mut gate = mk_holding();
        publish(&mut gate, 0, mk_preconfirmed(mk_keys(&["other"], &[])));
        must_come_again(&mut gate);
    }

    #[test]
    fn what_is_held_by_a_key_that_is_leaving_comes_again() {
        let mut gate = mk_holding();
        publish(
            &mut gate,
            0,
            mk_preconfirmed(mk_keys(&["web", "other"], &["web"])),
        );
        must_come_again(&mut gate);

        let ix = find(&gate, "web");
        assert!(
            matches!(gate.pass(ix, b"web"), WarmDecision::Pass(_)),
            "what comes while it is ready must pass"
        );
    }

    #[test]
    fn what_is_held_by_a_key_that_stays_goes_whatever_others_leave() {
        let mut gate = mk_holding();
        publish(
            &mut gate,
            0,
            mk_preconfirmed(mk_keys(&["web", "other"], &["other"])),
        );
        let decisions = run(&mut gate, Time::ZERO).decisions;
        assert_eq!(decisions, [Output::Resume(StreamId(1))], "must go");
    }

    fn must_come_again(gate: &mut Gate) {
        let decisions = run(gate, Time::ZERO).decisions;
        let [Output::Refuse(StreamId(1), reply)] = &decisions[..] else {
            panic!("must be told to come again: {decisions:?}")
        };
        let told = String::from_utf8(reply.body.clone()).unwrap();
        assert!(told.contains("urn:holdfast:route-changed"), "{told}");
    }

    /// A gate with one request that is held for `web` by its cluster.
    fn mk_holding() -> Gate {
        let mut gate = mk_gate();
        let asleep = Target {
            state: State::Asleep,
            ..mk_keys(&["web"], &[])
        };
        publish(&mut gate, 0, mk_preconfirmed(asleep));
        hold(&mut gate, Time::ZERO, 1, "web");
        gate
    }

    fn mk_keys(clusters: &[&str], leaving: &[&str]) -> Target {
        let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Target {
            state: State::Ready,
            epoch: 1,
            clusters: owned(clusters),
            leaving: owned(leaving),
            ..mk_target("web")
        }
    }
}
