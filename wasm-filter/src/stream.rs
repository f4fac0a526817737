//! Handles the callbacks of one request: asks the gate at its headers, and tells the gate of its answer and of its end.

use std::rc::Rc;
use std::time::Duration;

use hold::{
    ArrivalDecision, ClusterLookup, PermitRequest, Refusal, Reply, Request, StreamId, Ticket, Time,
    WarmDecision,
};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::filter_root::FilterRoot;
use crate::host;
use crate::test_panic;

#[derive(Debug)]
pub(crate) struct Stream {
    id: StreamId,
    /// `None` if the root context was never configured.
    root: Option<Rc<FilterRoot>>,
    ticket: Ticket,
    /// It was refused at its headers, in gRPC's way.
    refused: Option<Refusal>,
}

impl Stream {
    pub(crate) fn new(id: StreamId, root: Option<Rc<FilterRoot>>) -> Self {
        Self {
            id,
            root,
            ticket: Ticket::Free,
            refused: None,
        }
    }

    fn decide(&mut self, root: &FilterRoot, end_of_stream: bool) -> Action {
        let cluster = host::route_cluster();
        let Some(found) = root.with_gate(|gate| gate.find_cluster(&cluster)) else {
            return Action::Continue;
        };
        let (mut authority, mut path, mut user_agent) = (None, None, None);
        let target = match found {
            ClusterLookup::Target(ix) => Some(ix),
            ClusterLookup::AskHost => {
                let text = host::request_header(":authority");
                let ix = root.with_gate(|gate| gate.find_host(&text, &cluster)).flatten();
                authority = Some(text);
                ix
            }
            ClusterLookup::NoCluster => return Action::Continue,
            ClusterLookup::ControlPlane | ClusterLookup::NoTarget => None,
        };
        match target {
            Some(ix) => {
                let passed = match root.with_gate(|gate| gate.pass(ix, &cluster)) {
                    Some(WarmDecision::Pass(ticket)) => Some(ticket),
                    Some(WarmDecision::Read {
                        path: by_path,
                        user_agent: by_agent,
                    }) => {
                        path = by_path.then(|| host::request_header(":path"));
                        user_agent = by_agent.then(|| host::request_header("user-agent"));
                        let path = path.as_deref().unwrap_or_default();
                        let user_agent = user_agent.as_deref().unwrap_or_default();
                        root.with_gate(|gate| gate.pass_unless_ignored(ix, &cluster, path, user_agent))
                            .flatten()
                    }
                    Some(WarmDecision::Arrive) | None => None,
                };
                if let Some(ticket) = passed {
                    self.ticket = ticket;
                    return Action::Continue;
                }
            }
            None if found == ClusterLookup::ControlPlane => {}
            None if root.with_gate(|gate| gate.knows_nothing()) == Some(true) => {}
            None => {
                let stray = root.with_gate(|gate| gate.stray(&cluster, authority.as_deref()));
                self.ticket = stray.unwrap_or(Ticket::Free);
                return Action::Continue;
            }
        }
        let now = root.now();
        let authority = authority.unwrap_or_else(|| host::request_header(":authority"));
        let request = Request {
            cluster: &cluster,
            authority: &authority,
            path: &path.unwrap_or_else(|| host::request_header(":path")),
            user_agent: &user_agent.unwrap_or_else(|| host::request_header("user-agent")),
            content_type: &host::request_header("content-type"),
            grpc_timeout: &host::request_header("grpc-timeout"),
            content_length: &host::request_header("content-length"),
            end_of_stream,
        };
        let Some(decision) = root.with_gate(|gate| gate.arrive(now, self.id, target, &request)) else {
            return Action::Continue;
        };
        let action = match decision {
            ArrivalDecision::Pass(ticket) => {
                self.ticket = ticket;
                Action::Continue
            }
            ArrivalDecision::Refuse(reply) => {
                self.refuse(&reply);
                Action::Pause
            }
            ArrivalDecision::Hold(mut permits) => {
                permits.weigh(host::request_weight(), root.config());
                self.hold(root, now, permits)
            }
        };
        root.leave_to_root(now);
        action
    }

    /// Takes the permits, of the target and of the Envoy, and holds; or refuses, with nothing taken.
    fn hold(&mut self, root: &FilterRoot, now: Time, permits: PermitRequest) -> Action {
        let Some(taken) = root.take_permits(&permits) else {
            return Action::Continue;
        };
        let reply = match taken {
            Err((bound, of_envoy)) => root.with_gate(|gate| gate.deny(now, &permits, bound, of_envoy)),
            Ok(()) => match root.with_gate(|gate| gate.hold(now, self.id, permits)) {
                Some(Ok(ticket)) => {
                    self.ticket = ticket;
                    None
                }
                Some(Err(reply)) => Some(reply),
                None => return Action::Continue,
            },
        };
        if let Some(reply) = reply {
            self.refuse(&reply);
        }
        Action::Pause
    }

    fn refuse(&mut self, reply: &Reply) {
        self.refused = reply.grpc_status.map(|_| reply.refusal);
        host::answer(reply);
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let Some(root) = self.root.clone() else {
            return Action::Continue;
        };
        // A VM that was made anew for this very stream has had no tick yet.
        if root.member().is_none() {
            root.register(root.now());
        }
        test_panic::on_request(&root);
        self.decide(&root, end_of_stream)
    }

    fn on_http_response_headers(&mut self, _headers: usize, end_of_stream: bool) -> Action {
        let mut refused = self.refused;
        if self.ticket == Ticket::Known
            && let Some(root) = self.root.clone()
        {
            let now = root.now();
            if let Some(answered) = root.with_gate(|gate| gate.answered(now, self.id)).flatten() {
                refused = answered.refused;
                if root.config().answers.server_timing {
                    add_server_timing(answered.waited);
                }
                root.leave_to_root(now);
            }
        }
        if let Some(refusal) = refused {
            host::answer_in_grpcs_way(refusal, end_of_stream);
        }
        Action::Continue
    }
}

fn add_server_timing(waited: Duration) {
    // In tenths of a millisecond, without the code that formats floating-point numbers.
    let tenths = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX) / 100;
    let value = format!("hold;dur={}.{}", tenths / 10, tenths % 10);
    host::add_response_header("server-timing", &value);
}

impl Drop for Stream {
    /// The place is free the moment Envoy says that the stream is over, however it ended.
    fn drop(&mut self) {
        if self.ticket == Ticket::Free {
            return;
        }
        let Some(root) = self.root.take() else {
            return;
        };
        if let Ticket::Passed(_) | Ticket::Stray(_) = self.ticket {
            root.with_gate(|gate| gate.ended(Time::ZERO, self.id, self.ticket));
            return;
        }
        let now = root.now();
        root.with_gate(|gate| gate.ended(now, self.id, self.ticket));
        root.leave_to_root(now);
    }
}
