//! Which questions a gate asks through its clusters, and what follows from the answers. The rules are in
//! [`crate::gate::confirm`].

use std::time::Duration;

use protocol::Confirm;

use crate::gate::confirm::{self, Check, ConfirmCall, ConfirmToken, Outcome, Tries};
use crate::gate::entry::{Entry, Route, Stance};
use crate::gate::{Gate, TargetIx};
use crate::{GateId, Time};

impl Gate {
    /// True if a root callback would have a question to send at this time: a stream callback may not send it.
    pub fn wants_root(&self, now: Time) -> bool {
        !self.asks.is_empty()
            || self
                .waiting
                .iter()
                .filter_map(|(_, ix)| self.entry(TargetIx(ix)))
                .any(|entry| {
                    entry.may_ask(now, self.me.id)
                        && entry
                            .routes
                            .iter()
                            .any(|route| route.moves() && route.check == Check::Unasked)
                })
    }

    /// The next question to send through a cluster.
    pub fn poll_confirm(&mut self, now: Time) -> Option<ConfirmCall> {
        if let Some(call) = self.asks.pop_front() {
            return Some(call);
        }
        let me = self.me.id;
        for (_, ix) in self.waiting.iter() {
            let ix = TargetIx(ix);
            let token = ConfirmToken::new(self.next_token, ix);
            let Some(entry) = self.entries.get_mut(ix.0 as usize).and_then(Option::as_mut) else {
                continue;
            };
            if !entry.may_ask(now, me) {
                continue;
            }
            let confirm = &entry.target.confirm;
            let mut lines = entry.routes.iter_mut().filter(|route| route.moves());
            if let Some(call) = lines.find_map(|route| question(route, confirm, now, token)) {
                self.next_token += 1;
                return Some(call);
            }
        }
        None
    }

    /// Asks for a request that could not even be held: were nobody to ask, a worker with no place left would refuse
    /// requests of a target that is ready. One question at a time for each route, so at most as many as there are routes.
    pub(super) fn ask_for_denied(&mut self, now: Time, ix: TargetIx, cluster: &[u8], authority: &[u8]) {
        let me = self.me.id;
        let token = ConfirmToken::new(self.next_token, ix);
        let Some(entry) = self.entry_mut(ix) else { return };
        if !entry.may_ask(now, me) {
            return;
        }
        let Some(at) = entry.route_for(cluster, authority) else {
            return;
        };
        let confirm = entry.target.confirm.clone();
        let Some(route) = entry.routes.get_mut(usize::from(at)) else {
            return;
        };
        if let Some(call) = question(route, &confirm, now, token) {
            self.next_token += 1;
            self.asks.push_back(call);
        }
    }

    /// What came of a question. An answer to one that was asked in an earlier epoch changes nothing.
    pub fn confirmed(&mut self, now: Time, token: ConfirmToken, outcome: Outcome) {
        match outcome {
            Outcome::NoEndpoint | Outcome::NoCluster => self.counts.confirm_no_endpoint += 1,
            Outcome::Unreachable => self.counts.confirm_unreachable += 1,
            Outcome::Answered { .. } => {}
        }
        // By its own target, whether that holds anything by now or not: an answer may come long after whoever waited has left.
        let ix = token.target();
        let Some(entry) = self.entry_mut(ix) else { return };
        let is_asked =
            |route: &Route| matches!(route.check, Check::Asking { token: asked, .. } if asked == token);
        let Some(at) = entry.routes.iter().position(is_asked) else {
            return;
        };
        let epoch = entry.target.epoch;
        let confirm = entry.target.confirm.clone();
        let id = entry.target.id.clone();
        let Some(route) = entry.routes.get_mut(at) else {
            return;
        };
        let cluster = String::from_utf8_lossy(&route.cluster).into_owned();
        let Check::Asking { tries, .. } = route.check else {
            return;
        };
        match confirm::judge(now, tries, outcome, &confirm) {
            confirm::Verdict::Yes => {
                route.check = Check::Yes;
                if entry.proven_here != Some(epoch) {
                    entry.proven_here = Some(epoch);
                    let news = entry.proven != Some(epoch);
                    self.row_urgent |= news;
                    self.row_changed = true;
                }
                self.counts.confirm_yes += 1;
                self.note("confirmed", ix, format_args!(" cluster={cluster}"));
                self.queue(ix);
            }
            confirm::Verdict::No { check, warn } => {
                route.check = check;
                if matches!(outcome, Outcome::Answered { .. }) {
                    self.counts.confirm_not_there += 1;
                }
                if warn {
                    self.counts.confirm_give_up += 1;
                    self.warnings.push_back(format!(
                        "target {id}: cluster {cluster} has not answered within confirm.giveUp ({outcome}); \
                         its requests stay held until their deadline"
                    ));
                }
            }
        }
    }
}

impl Entry {
    /// True if this gate may send questions for this target at this time.
    fn may_ask(&self, now: Time, me: GateId) -> bool {
        self.stance == Stance::Serve
            && !self.needs_no_confirm()
            && !matches!(self.target.confirm, Confirm::Off { .. })
            && self.asks_from(me) <= now
    }
}

/// The question to send through this route, if one is due: from now on it is being asked.
fn question(route: &mut Route, confirm: &Confirm, now: Time, token: ConfirmToken) -> Option<ConfirmCall> {
    let (path, timeout_ms) = match confirm {
        Confirm::Off { .. } => return None,
        Confirm::Http { path, timeout_ms, .. } => (Some(path), *timeout_ms),
        Confirm::Grpc { timeout_ms, .. } => (None, *timeout_ms),
    };
    let tries = match route.check {
        Check::Unasked => Tries::new(now),
        Check::Waiting { again, tries } if again <= now => tries,
        Check::Waiting { .. } | Check::Asking { .. } | Check::Yes => return None,
    };
    route.check = Check::Asking { token, tries };
    Some(ConfirmCall {
        token,
        cluster: route.cluster.to_vec(),
        authority: route.authority.to_vec(),
        path: path.cloned(),
        timeout: Duration::from_millis(timeout_ms),
    })
}

#[cfg(test)]
mod tests {
    use protocol::State;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use crate::gate::testing::mk_target;
    use crate::gate::{Found, Request, Update, Verdict};
    use crate::{Bound, Config, Head, Member, Slot, SlotRecord, StreamId};

    use super::*;

    #[test]
    fn a_worker_without_a_place_left_asks_all_the_same() {
        let (mut gate, ix) = mk_ready();
        for stream in 1..100 {
            let claim = claim(&mut gate, Time::ZERO, stream, ix);
            gate.deny(Time::ZERO, &claim, Bound::Requests, true);
        }

        assert!(gate.wants_root(Time::ZERO), "must have a question to send");
        let call = gate.poll_confirm(Time::ZERO).expect("must ask");
        assert_eq!(gate.poll_confirm(Time::ZERO), None, "once for all of them");
        gate.confirmed(Time::ZERO, call.token, YES);
        assert!(gate.pass(ix, b"web").is_some(), "must pass from now on");
    }

    #[test]
    fn an_answer_finds_its_cluster_however_late_it_comes() {
        for outcome in [YES, Outcome::Unreachable] {
            let (mut gate, ix) = mk_ready();
            let claim_first = claim(&mut gate, Time::ZERO, 1, ix);
            let ticket = gate.hold(Time::ZERO, StreamId(1), claim_first).unwrap();
            let call = gate.poll_confirm(Time::ZERO).expect("must ask");
            gate.ended(Time::ZERO, StreamId(1), ticket);
            // Long enough for the row to name the target no more.
            let late = crate::Row::RECENT * 2;
            assert!(gate.row(late).entries.is_empty(), "must be at rest");
            gate.confirmed(late, call.token, outcome);
            if outcome == YES {
                assert!(gate.pass(ix, b"web").is_some(), "must pass from now on");
                continue;
            }
            let later = late + Duration::from_secs(60);
            let claim_second = claim(&mut gate, later, 2, ix);
            gate.hold(later, StreamId(2), claim_second).unwrap();
            assert!(gate.poll_confirm(later).is_some(), "must ask anew");
        }
    }

    #[test]
    fn another_that_has_had_no_yes_is_waited_for_until_it_gives_up() {
        for (told, wait) in [
            (Some(GateId(2)), Duration::from_secs(5)),
            (None, Duration::from_secs(2)),
        ] {
            let (mut gate, ix) = mk(told, None);
            let claim = claim(&mut gate, Time::ZERO, 1, ix);
            gate.hold(Time::ZERO, StreamId(1), claim).unwrap();
            assert!(!gate.wants_root(Time::ZERO), "{told:?} asks for all");
            assert_eq!(
                gate.poll_timeout(Time::ZERO),
                Some(wait),
                "must know when {told:?} has given up"
            );
            let before = wait - Duration::from_millis(1);
            assert_eq!(gate.poll_confirm(before), None, "must not ask beside {told:?}");
            assert!(
                gate.poll_confirm(wait).is_some(),
                "{told:?} may be asking what leads nowhere"
            );
        }
    }

    const YES: Outcome = Outcome::Answered {
        status: 200,
        grpc_status: None,
    };

    /// A gate with one target that is ready and may be asked, and was not.
    fn mk_ready() -> (Gate, TargetIx) {
        mk(None, Some(1))
    }

    /// The same, with this gate to ask first, and a yes in this epoch.
    fn mk(prober: Option<GateId>, proven: Option<u64>) -> (Gate, TargetIx) {
        let me = Member {
            id: GateId(1),
            nonce: 7,
            gate: true,
        };
        let config = Config::parse(br#"{"control_plane":{"cluster":"cp"}}"#).unwrap();
        let mut gate = Gate::new(config, me, Time::ZERO);
        let mut target = mk_target("web");
        target.state = State::Ready;
        target.epoch = 1;
        let record = SlotRecord {
            target: Some(target),
            prober,
            proven,
            ..SlotRecord::default()
        };
        let head = Head {
            version: 1,
            known: true,
            slots: 1,
            ..Head::default()
        };
        let update = Update {
            head,
            full: true,
            slots: vec![(Slot(0), record)],
        };
        gate.apply(Time::ZERO, update);
        let Found::Target(ix) = gate.find_cluster(b"web") else {
            panic!("must be found")
        };
        (gate, ix)
    }

    fn claim(gate: &mut Gate, now: Time, stream: u32, ix: TargetIx) -> crate::Claim {
        let request = Request {
            cluster: b"web",
            authority: b"a",
            ..Request::default()
        };
        let Verdict::Hold(claim) = gate.arrive(now, StreamId(stream), Some(ix), &request) else {
            panic!("must want to hold it")
        };
        claim
    }
}
