//! Requests that the module itself sends: sync, report, confirm. From the root only.

use std::time::Duration;

use envoy_share::SyncFailure;
use hold::{ConfirmCall, ConfirmOutcome, ConfirmToken, Time};
use protocol::{INSTANCE_HEADER, REPORT_PATH, Report, SYNC_PATH, SyncRequest, read_json, write_json};

use crate::host::{self, CallAnswer, NotSent};
use crate::station::Station;

/// What an answer is an answer to. `term` is that of the relay that asked.
#[derive(Debug)]
pub(crate) enum Call {
    Confirm(ConfirmToken),
    Sync { term: u64 },
    Report { term: u64 },
}

/// `grpc.health.v1.HealthCheckRequest{}` as one gRPC message: not compressed, empty.
const HEALTH_CHECK: &[u8] = &[0; 5];

pub(crate) fn confirm(station: &Station, now: Time, question: &ConfirmCall) {
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
    match sent {
        Ok(token) => {
            station
                .calls
                .borrow_mut()
                .push_back((token, Call::Confirm(question.token)));
        }
        Err(not_sent) => {
            let outcome = match not_sent {
                NotSent::NoCluster => ConfirmOutcome::NoCluster,
                NotSent::NoEndpoint => ConfirmOutcome::NoEndpoint,
            };
            station.with_gate(|gate| gate.confirmed(now, question.token, outcome));
        }
    }
}

pub(crate) fn sync(station: &Station, now: Time, request: &SyncRequest) {
    let timeout = Duration::from_millis(request.wait_ms) + station.config.control_plane.timeout;
    let call = Call::Sync {
        term: request.proxy.term,
    };
    if !post(station, SYNC_PATH, &write_json(request), timeout, call) {
        station.metrics.sync(false);
        station.with_relay(|relay| relay.sync_answered(now, Err(SyncFailure::Unreachable)));
    }
}

/// Whatever is still answered to a sync is nobody's.
pub(crate) fn forget_sync(station: &Station) {
    let is_sync = |call: &Call| matches!(call, Call::Sync { .. });
    station.calls.borrow_mut().retain(|(_, call)| !is_sync(call));
}

pub(crate) fn report(station: &Station, now: Time, report: &Report) {
    let call = Call::Report {
        term: report.proxy.term,
    };
    if !post(
        station,
        REPORT_PATH,
        &write_json(report),
        station.config.control_plane.timeout,
        call,
    ) {
        station.metrics.report(false);
        station.with_relay(|relay| relay.report_answered(now, false));
    }
}

fn post(station: &Station, path: &str, body: &[u8], timeout: Duration, call: Call) -> bool {
    let to = &station.config.control_plane;
    let bearer = station.token().map(|token| format!("Bearer {token}"));
    let mut headers = vec![
        (":method", "POST"),
        (":path", path),
        (":authority", to.authority.as_str()),
        ("content-type", "application/json"),
    ];
    if let Some(bearer) = &bearer {
        headers.push(("authorization", bearer));
    }
    match host::call(&to.cluster, headers, Some(body), timeout) {
        Ok(token) => {
            station.calls.borrow_mut().push_back((token, call));
            true
        }
        Err(_) => false,
    }
}

/// An answer has come; or none, and the call has failed.
pub(crate) fn answered(station: &Station, now: Time, token: u32, answer: Option<&CallAnswer>) {
    let Some(call) = take_call(station, token) else {
        return;
    };
    let status = answer.and_then(CallAnswer::status);
    match call {
        Call::Confirm(token) => {
            let outcome = answer.map_or(ConfirmOutcome::Cut, confirm_outcome);
            station.with_gate(|gate| gate.confirmed(now, token, outcome));
        }
        Call::Sync { term } => {
            let answer = match (answer, status) {
                (Some(answer), Some(200)) => {
                    read_json(&answer.body()).map_err(|error| SyncFailure::Garbled(error.to_string()))
                }
                (Some(answer), Some(status)) if answer.is_of_upstream() => Err(SyncFailure::Status(status)),
                _ => Err(SyncFailure::Unreachable),
            };
            station.metrics.sync(answer.is_ok());
            if station.with_relay(|relay| relay.term()) == Some(term) {
                station.with_relay(|relay| relay.sync_answered(now, answer));
            }
        }
        Call::Report { term } => {
            let ok = status == Some(204);
            station.metrics.report(ok);
            if station.with_relay(|relay| relay.term()) == Some(term) {
                let by = answer
                    .and_then(|answer| answer.header(INSTANCE_HEADER))
                    .and_then(|bytes| String::from_utf8(bytes).ok());
                if let Some(by) = by.filter(|_| ok) {
                    station.with_relay(|relay| relay.taken_by(now, &by));
                }
                station.with_relay(|relay| relay.report_answered(now, ok));
            }
        }
    }
}

/// True while a question is on its way. Envoy's own answer to it arms nothing: the next tick has to come soon.
pub(crate) fn is_asking(station: &Station) -> bool {
    let calls = station.calls.borrow();
    calls.iter().any(|(_, call)| matches!(call, Call::Confirm(_)))
}

fn take_call(station: &Station, token: u32) -> Option<Call> {
    let mut calls = station.calls.borrow_mut();
    let at = calls.iter().position(|(other, _)| *other == token)?;
    calls.remove(at).map(|(_, call)| call)
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
