//! Finds the target that a request is for, and lets it pass if nothing has to be asked: the warm path. Allocates nothing, and
//! reads no clock, so it leaves no output either.

use crate::gate::entry::Entry;
use crate::gate::status::Status;
use crate::gate::{Gate, TargetIx, Ticket};

/// What the route's cluster says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterLookup {
    /// The control plane's own cluster.
    ControlPlane,
    /// None: the route is a redirect or a direct response. Envoy answers by itself, so there is nothing to wait for.
    NoCluster,
    /// A target.
    Target(TargetIx),
    /// No target by cluster; some are found by host.
    AskHost,
    /// No target.
    NoTarget,
}

/// What the warm path says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmDecision {
    /// It passes.
    Pass(Ticket),
    /// Its target ignores some requests, which these headers tell: read them and call [`Gate::pass_unless_ignored`].
    Read {
        /// `:path`.
        path: bool,
        /// `user-agent`.
        user_agent: bool,
    },
    /// The cold path has to say: [`Gate::arrive`].
    Arrive,
}

impl Gate {
    /// Looks a cluster up. Allocates nothing.
    pub fn find_cluster(&self, cluster: &[u8]) -> ClusterLookup {
        if cluster.is_empty() {
            return ClusterLookup::NoCluster;
        }
        if *cluster == *self.config.control_plane.cluster.as_bytes() {
            return ClusterLookup::ControlPlane;
        }
        match self.targets.of_cluster(cluster) {
            Some(ix) => ClusterLookup::Target(ix),
            None if self.targets.has_hosts() || !self.early.is_over() => ClusterLookup::AskHost,
            None => ClusterLookup::NoTarget,
        }
    }

    /// Looks an `:authority` up, of a request by this cluster. Allocates nothing.
    pub fn find_host(&self, authority: &[u8], cluster: &[u8]) -> Option<TargetIx> {
        self.targets.of_host(authority, cluster)
    }

    /// Both look-ups.
    pub(super) fn find(&self, cluster: &[u8], authority: &[u8]) -> Option<TargetIx> {
        match self.find_cluster(cluster) {
            ClusterLookup::Target(ix) => Some(ix),
            ClusterLookup::AskHost => self.find_host(authority, cluster),
            ClusterLookup::NoCluster | ClusterLookup::ControlPlane | ClusterLookup::NoTarget => None,
        }
    }

    /// The warm path: whether a request passes without further questions. Returned and not an output, because Envoy wants to know
    /// at once. Allocates nothing.
    pub fn pass(&mut self, ix: TargetIx, cluster: &[u8]) -> WarmDecision {
        let Some(entry) = self.targets.get_mut(ix) else {
            return WarmDecision::Arrive;
        };
        if !entry.serves() || entry.is_retired() {
            return WarmDecision::Arrive;
        }
        let ignore = &entry.target().ignore;
        if !ignore.is_empty() {
            return WarmDecision::Read {
                path: !ignore.paths.is_empty(),
                user_agent: !ignore.user_agents.is_empty(),
            };
        }
        pass_counted(entry, &mut self.status, ix, cluster).map_or(WarmDecision::Arrive, WarmDecision::Pass)
    }

    /// The warm path of a target that ignores some requests: `Some` if this one passes. Headers that [`Gate::pass`] has not asked
    /// for may be empty. Allocates nothing.
    pub fn pass_unless_ignored(
        &mut self,
        ix: TargetIx,
        cluster: &[u8],
        path: &[u8],
        user_agent: &[u8],
    ) -> Option<Ticket> {
        let entry = self.targets.get_mut(ix)?;
        if !entry.serves() || entry.is_retired() {
            return None;
        }
        if entry.ignores(path, user_agent) {
            return Some(Ticket::Free);
        }
        pass_counted(entry, &mut self.status, ix, cluster)
    }

    /// A request passes that no target was found for; `authority` if it was read. Allocates for the first to a destination only.
    pub fn stray(&mut self, cluster: &[u8], authority: Option<&[u8]>) -> Ticket {
        match self.strays.begin(cluster, authority) {
            Some(at) => Ticket::Stray(at),
            None => Ticket::Free,
        }
    }
}

// A call less for every warm request.
#[inline(always)]
fn pass_counted(entry: &mut Entry, status: &mut Status, ix: TargetIx, cluster: &[u8]) -> Option<Ticket> {
    if !entry.passes(cluster) {
        return None;
    }
    entry.usage_mut().pass();
    status.list(ix);
    Some(Ticket::Passed(ix))
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use protocol::{Ignore, LossPolicy, State, Target};

    use crate::gate::testing::{apply, find, mk_gate, mk_record, mk_request, mk_target, status};
    use crate::gate::{ArrivalDecision, Gate, Request, Ticket, WarmDecision};
    use crate::{Slot, SlotRecord, StreamId, Time};

    const PROBE: (&str, &str) = ("/healthz?deep", "curl/8");
    const KUBELET: (&str, &str) = ("/", "kube-probe/1.30");
    const VISITOR: (&str, &str) = ("/healthz/more", "curl/8");

    #[test]
    fn a_warm_request_ends_as_it_would_have_by_the_cold_path() {
        for state in [
            State::Ready,
            State::Suspended,
            State::Asleep,
            State::Failed,
            State::Draining,
        ] {
            for (preconfirmed_epoch, lost) in [(true, false), (false, false), (true, true)] {
                for ignore in [&[][..], &["path"], &["agent"], &["path", "agent"]] {
                    for request in [PROBE, KUBELET, VISITOR] {
                        check(&mk_ignoring(state, ignore), preconfirmed_epoch, lost, request);
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_is_ignored_is_asked_for() {
        for (ignore, path, user_agent) in [
            (&["path"][..], true, false),
            (&["agent"], false, true),
            (&["path", "agent"], true, true),
        ] {
            let (mut gate, ix) = mk(&mk_ignoring(State::Ready, ignore), true, false);
            assert_eq!(gate.pass(ix, b"web"), WarmDecision::Read { path, user_agent });
        }
        let (mut gate, ix) = mk(&mk_ignoring(State::Asleep, &["path"]), true, false);
        assert_eq!(
            gate.pass(ix, b"web"),
            WarmDecision::Arrive,
            "must not read what the cold path reads anyway"
        );
    }

    #[test]
    fn a_request_that_is_ignored_is_no_use() {
        for (request, used) in [(PROBE, 0), (KUBELET, 0), (VISITOR, 1)] {
            let (mut gate, ix) = mk(&mk_ignoring(State::Ready, &["path", "agent"]), true, false);
            let ticket = warm(&mut gate, ix, request).expect("must pass");
            let status = status(&mut gate, Time::ZERO);
            assert_eq!(
                status.entries.len(),
                used,
                "{request:?} must be in the status, or not"
            );
            gate.ended(Time::ZERO, StreamId(1), ticket);
            assert!(gate.targets.get(ix).is_some_and(|entry| entry.in_flight() == 0));
        }
    }

    /// What the warm path lets through the cold path would have, and it leaves for it nothing but what has to be looked at.
    fn check(target: &Target, preconfirmed_epoch: bool, lost: bool, request: (&str, &str)) {
        let (mut gate, ix) = mk(target, preconfirmed_epoch, lost);
        let passed = warm(&mut gate, ix, request);
        let (mut cold, ix) = mk(target, preconfirmed_epoch, lost);
        let (path, user_agent) = request;
        let verdict = cold.arrive(
            Time::ZERO,
            StreamId(1),
            Some(ix),
            &Request {
                path: path.as_bytes(),
                user_agent: user_agent.as_bytes(),
                ..mk_request("web")
            },
        );
        let expected = match verdict {
            ArrivalDecision::Pass(ticket) => Some(ticket),
            ArrivalDecision::Refuse(_) | ArrivalDecision::Hold(_) => None,
        };
        let case = format!(
            "{:?}, preconfirmed_epoch {preconfirmed_epoch}, lost {lost}, {request:?}",
            target.state
        );
        assert_eq!(passed, expected, "must end as by the cold path: {case}");
        let used = |gate: &mut Gate| status(gate, Time::ZERO).entries;
        if passed.is_some() {
            assert_eq!(
                used(&mut gate),
                used(&mut cold),
                "must count as by the cold path: {case}"
            );
        }
    }

    fn warm(gate: &mut Gate, ix: super::TargetIx, (path, user_agent): (&str, &str)) -> Option<Ticket> {
        match gate.pass(ix, b"web") {
            WarmDecision::Pass(ticket) => Some(ticket),
            WarmDecision::Read {
                path: by_path,
                user_agent: by_agent,
            } => {
                let path = if by_path { path } else { "" };
                let user_agent = if by_agent { user_agent } else { "" };
                gate.pass_unless_ignored(ix, b"web", path.as_bytes(), user_agent.as_bytes())
            }
            WarmDecision::Arrive => None,
        }
    }

    fn mk_ignoring(state: State, ignore: &[&str]) -> Target {
        let mut target = mk_target("web");
        target.state = state;
        target.epoch = 1;
        target.hold.on_control_plane_loss = LossPolicy::Pass;
        target.ignore = Ignore {
            paths: ignore
                .iter()
                .filter(|what| **what == "path")
                .map(|_| "/healthz".to_owned())
                .collect(),
            user_agents: ignore
                .iter()
                .filter(|what| **what == "agent")
                .map(|_| "kube-probe".to_owned())
                .collect(),
        };
        target
    }

    fn mk(target: &Target, preconfirmed_epoch: bool, lost: bool) -> (Gate, super::TargetIx) {
        let mut gate = mk_gate();
        let record = SlotRecord {
            preconfirmed_epoch: preconfirmed_epoch.then_some(1),
            ..mk_record(target.clone())
        };
        apply(&mut gate, lost, vec![(Slot(0), record)]);
        let ix = find(&gate, "web");
        (gate, ix)
    }
}
