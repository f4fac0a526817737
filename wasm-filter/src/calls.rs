//! Sends the module's own requests (sync, report, confirm) and says what an answer is an answer to. From a root callback only.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use envoy_share::SyncFailure;
use hold::{ConfirmCall, ConfirmOutcome, ConfirmToken, ControlPlane};
use protocol::{
    INSTANCE_HEADER, REPORT_PATH, Report, SYNC_PATH, SyncRequest, SyncResponse, read_json, write_json,
};

use crate::host::{self, CallAnswer, NotSent};

/// `grpc.health.v1.HealthCheckRequest{}` as one gRPC message: not compressed, empty.
const HEALTH_CHECK: &[u8] = &[0; 5];

/// What was asked. `term` is that of the relay that asked.
#[derive(Debug)]
enum Call {
    Confirm(ConfirmToken),
    Sync { term: u64 },
    Report { term: u64 },
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// To a question of the gate's.
    Confirm(ConfirmToken, ConfirmOutcome),
    /// To a sync of the relay of this term.
    Sync {
        term: u64,
        response: Result<SyncResponse, SyncFailure>,
    },
    /// To a report of the relay of this term.
    Report {
        term: u64,
        accepted: bool,
        /// The control plane's instance that accepted it.
        by: Option<String>,
    },
}

/// The calls of one root context that are on their way.
#[derive(Debug)]
pub(crate) struct Calls {
    to: ControlPlane,
    /// Value of the header that shows the token, if there is one.
    bearer: Option<String>,
    /// By token. Answers come in about the order of the calls.
    open: RefCell<VecDeque<(u32, Call)>>,
}

impl Calls {
    pub(crate) fn new(to: ControlPlane) -> Self {
        Self {
            bearer: token(&to).map(|token| format!("Bearer {token}")),
            to,
            open: RefCell::default(),
        }
    }

    /// Sends a question of the gate's.
    ///
    /// # Errors
    /// What the gate has to be told instead of an answer: Envoy does not send it.
    pub(crate) fn confirm(&self, question: &ConfirmCall) -> Result<(), ConfirmOutcome> {
        let cluster = String::from_utf8_lossy(&question.cluster);
        // Envoy lets only ASCII into an authority; should that change, the cluster's name does as well.
        let authority = std::str::from_utf8(&question.authority)
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or(&cluster);
        let sent = match &question.path {
            Some(path) => {
                let headers = vec![
                    (":method", if question.head { "HEAD" } else { "GET" }),
                    (":path", path),
                    (":authority", authority),
                    ("user-agent", host::USER_AGENT),
                ];
                host::call(&cluster, headers, None, question.timeout)
            }
            None => {
                let headers = vec![
                    (":method", "POST"),
                    (":path", "/grpc.health.v1.Health/Check"),
                    (":authority", authority),
                    ("content-type", "application/grpc"),
                    ("te", "trailers"),
                    ("user-agent", host::USER_AGENT),
                ];
                host::call(&cluster, headers, Some(HEALTH_CHECK), question.timeout)
            }
        };
        let token = sent.map_err(|not_sent| match not_sent {
            NotSent::NoCluster => ConfirmOutcome::NoCluster,
            NotSent::NoEndpoint => ConfirmOutcome::NoEndpoint,
        })?;
        self.open
            .borrow_mut()
            .push_back((token, Call::Confirm(question.token)));
        Ok(())
    }

    /// Posts a sync. False if Envoy does not send it.
    pub(crate) fn sync(&self, request: &SyncRequest) -> bool {
        let timeout = Duration::from_millis(request.wait_ms) + self.to.timeout;
        let call = Call::Sync {
            term: request.proxy.term,
        };
        self.post(SYNC_PATH, &write_json(request), timeout, call)
    }

    /// Drops the answer to the sync that is on its way, should there be one.
    pub(crate) fn forget_sync(&self) {
        let is_sync = |call: &Call| matches!(call, Call::Sync { .. });
        self.open.borrow_mut().retain(|(_, call)| !is_sync(call));
    }

    /// Posts a report. False if Envoy does not send it.
    pub(crate) fn report(&self, report: &Report) -> bool {
        let call = Call::Report {
            term: report.proxy.term,
        };
        self.post(REPORT_PATH, &write_json(report), self.to.timeout, call)
    }

    fn post(&self, path: &str, body: &[u8], timeout: Duration, call: Call) -> bool {
        let mut headers = vec![
            (":method", "POST"),
            (":path", path),
            (":authority", self.to.authority.as_str()),
            ("content-type", "application/json"),
        ];
        if let Some(bearer) = &self.bearer {
            headers.push(("authorization", bearer));
        }
        match host::call(&self.to.cluster, headers, Some(body), timeout) {
            Ok(token) => {
                self.open.borrow_mut().push_back((token, call));
                true
            }
            Err(_) => false,
        }
    }

    /// True while a question of the gate's is on its way. Envoy's own answer to it arms nothing, so the next tick has to come soon.
    pub(crate) fn is_confirming(&self) -> bool {
        let open = self.open.borrow();
        open.iter().any(|(_, call)| matches!(call, Call::Confirm(_)))
    }

    /// Takes in that a call was answered, or that it failed and there is no answer. `None` if no open call has this token.
    pub(crate) fn answered(&self, token: u32, answer: Option<&CallAnswer>) -> Option<Answer> {
        let status = answer.and_then(CallAnswer::status);
        Some(match self.take(token)? {
            Call::Confirm(token) => {
                Answer::Confirm(token, answer.map_or(ConfirmOutcome::Cut, confirm_outcome))
            }
            Call::Sync { term } => {
                let response = match (answer, status) {
                    (Some(answer), Some(200)) => {
                        read_json(&answer.body()).map_err(|error| SyncFailure::Garbled(error.to_string()))
                    }
                    (Some(answer), Some(status)) if answer.is_of_upstream() => {
                        Err(SyncFailure::Status(status))
                    }
                    _ => Err(SyncFailure::Unreachable),
                };
                Answer::Sync { term, response }
            }
            Call::Report { term } => {
                let accepted = status == Some(204);
                let by = answer
                    .filter(|_| accepted)
                    .and_then(|answer| answer.header(INSTANCE_HEADER))
                    .and_then(|bytes| String::from_utf8(bytes).ok());
                Answer::Report { term, accepted, by }
            }
        })
    }

    fn take(&self, token: u32) -> Option<Call> {
        let mut open = self.open.borrow_mut();
        let at = open.iter().position(|(other, _)| *other == token)?;
        open.remove(at).map(|(_, call)| call)
    }
}

/// The token that the calls show, from the VM's environment.
fn token(to: &ControlPlane) -> Option<String> {
    let name = to.token_env.as_ref()?;
    let token = std::env::var(name).ok().filter(|token| !token.is_empty());
    if token.is_none() {
        host::error(&format!(
            "holdfast: control_plane.token_env: the VM's environment has no `{name}`: add it to \
             vm_config.environment_variables; calls go out without a token"
        ));
    }
    token
}

fn confirm_outcome(answer: &CallAnswer) -> ConfirmOutcome {
    let Some(status) = answer.status() else {
        return ConfirmOutcome::Cut;
    };
    let body = answer.body();
    if !answer.is_of_upstream() {
        let text = answer.header("grpc-message").unwrap_or(body);
        return ConfirmOutcome::of_envoy(status, &text);
    }
    let grpc_status = answer.grpc_status();
    match ConfirmOutcome::of_health(&body) {
        Some(not_serving) if grpc_status == Some(0) => not_serving,
        _ => ConfirmOutcome::Answered { status, grpc_status },
    }
}
