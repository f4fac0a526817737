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
    /// The answer to [`Command::Release`]: the request goes on, or is refused if its key has become another target's while it was
    /// held, or that of several.
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
        // A key that is nobody's any more was a removed target's, and what that held passes.
        let is_anothers = !claims.is_empty() && own == 0;
        if is_anothers || (route.doubt && claims.len() > own) {
            return self.refuse_held(now, stream, Refusal::RouteChanged);
        }
        self.resume(now, stream)
    }
}
