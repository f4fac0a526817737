//! Before a held request is let go: is the way that it came still its target's?
//!
//! Envoy keeps the route that a request came with until it ends, and looks the route's cluster up by name at the last moment. So while a
//! request waits, its cluster may go away, or the name may become another's, and no filter can give it another route, or see what the
//! name means now: `clear_route_cache` matches anew in the configuration of before, and what it finds cannot be read before the request
//! has gone. What is left is to go by the keys, and to have the request sent again wherever they leave a doubt.

use crate::gate::release::Command;
use crate::gate::{Gate, Stream, TargetIx};
use crate::reply::Refusal;
use crate::{StreamId, Time};

impl Gate {
    /// The answer to [`Command::Release`]: the request goes on, or is refused if, while it was held, its target has lost the key by
    /// which it came or is about to, or the key has become another target's, or that of several.
    pub fn let_go(&mut self, now: Time, stream: StreamId, authority: &[u8]) -> Option<Command> {
        let Some(Stream::Held(held)) = self.streams.get(&stream) else {
            return None;
        };
        let entry = self.entry(held.target)?;
        let route = entry.routes.get(usize::from(held.route))?;
        let claims = self.claimants(&route.cluster, authority);
        // By name: a target that was removed and is back has another place.
        let is_own = |ix: &TargetIx| {
            let claimant = self.entry(*ix);
            claimant.is_some_and(|claimant| claimant.target.id == entry.target.id)
        };
        let own = claims.iter().filter(|ix| is_own(ix)).count();
        // A target that was removed has no keys, and what it held passes. One that is still there, or is back, has lost this key.
        let is_there = || {
            self.entries
                .iter()
                .flatten()
                .any(|other| !other.retired && other.target.id == entry.target.id)
        };
        let is_lost = own == 0 && (!claims.is_empty() || is_there());
        // Nothing says whose it is by now: a target's key is known, but not every workload is a target.
        let leaves = own > 0
            && entry
                .target
                .leaving
                .iter()
                .any(|key| *key.as_bytes() == *route.cluster);
        if is_lost || leaves || (route.doubt && claims.len() > own) {
            return self.refuse_held(now, stream, Refusal::RouteChanged);
        }
        self.resume(now, stream)
    }
}

#[cfg(test)]
mod tests {
    use protocol::{State, Target};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::gate::Warm;
    use crate::gate::testing::{find, hold, mk_gate, mk_target, mk_trusted, publish};

    #[test]
    fn what_is_held_by_a_key_that_its_target_has_lost_comes_again() {
        let mut gate = mk_holding();
        publish(&mut gate, 0, mk_trusted(mk_keys(&["other"], &[])));
        must_come_again(&mut gate);
    }

    #[test]
    fn what_is_held_by_a_key_that_is_leaving_comes_again() {
        let mut gate = mk_holding();
        publish(&mut gate, 0, mk_trusted(mk_keys(&["web", "other"], &["web"])));
        must_come_again(&mut gate);

        let ix = find(&gate, "web");
        assert!(
            matches!(gate.pass(ix, b"web"), Warm::Pass(_)),
            "what comes while it is ready must pass"
        );
    }

    #[test]
    fn what_is_held_by_a_key_that_stays_goes_whatever_others_leave() {
        let mut gate = mk_holding();
        publish(&mut gate, 0, mk_trusted(mk_keys(&["web", "other"], &["other"])));
        assert_eq!(let_go(&mut gate), Some(Command::Resume(StreamId(1))), "must go");
    }

    fn must_come_again(gate: &mut Gate) {
        let Some(Command::Refuse(StreamId(1), reply)) = let_go(gate) else {
            panic!("must be told to come again")
        };
        let told = String::from_utf8(reply.body).unwrap();
        assert!(told.contains("urn:holdfast:route-changed"), "{told}");
    }

    fn let_go(gate: &mut Gate) -> Option<Command> {
        assert_eq!(
            gate.poll_command(Time::ZERO),
            Some(Command::Release(StreamId(1))),
            "must be ready to go"
        );
        gate.let_go(Time::ZERO, StreamId(1), b"a")
    }

    /// A gate with one request that is held for `web` by its cluster.
    fn mk_holding() -> Gate {
        let mut gate = mk_gate();
        let asleep = Target {
            state: State::Asleep,
            ..mk_keys(&["web"], &[])
        };
        publish(&mut gate, 0, mk_trusted(asleep));
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
