//! The end of an exchange: its last answer, its log line, its count and the status of the call.

use std::error::Error as _;
use std::future::poll_fn;

use tonic::{Code, Status};

use super::lane::Finish;
use super::settings::Settings;
use super::{Ended, Exchange};
use crate::modes::Direction;
use crate::processor::{End, Processor};
use crate::stop::{Failure, FailureKind};
use crate::wire::ProcessingResponse;
use crate::wire::processing_response::Response;

/// Gives the last answer, logs and counts, and says how the call ends.
pub(super) async fn conclude<P: Processor>(
    processor: &P,
    exchange: &Exchange<P::State>,
    settings: &Settings,
    result: Result<(), Ended>,
) -> (Option<End>, Result<(), Status>) {
    let finish = match result {
        Ok(()) => return (Some(End::Completed), Ok(())),
        // Never with OK: if it was not Envoy that ended the call, it has to hear of it.
        Err(Ended::Reset) => return (None, Err(reset())),
        Err(Ended::Stopped(end)) => return (Some(end), Err(Status::unavailable("the processor stops"))),
        Err(Ended::Finished(finish)) => finish,
    };
    let end = Some(finish.end());
    match finish {
        Finish::Done => (end, Ok(())),
        Finish::Respond(answer) => match respond(processor, exchange, settings, *answer).await {
            Ok(()) => (end, Ok(())),
            Err(failure) => (
                Some(End::Failed),
                Err(failed(processor, exchange, settings, &failure)),
            ),
        },
        Finish::Fail(failure) => {
            let status = failed(processor, exchange, settings, &failure);
            let answer = settings
                .on_fail
                .clone()
                .filter(|_| exchange.core.headers(Direction::Response).is_none());
            let Some(answer) = answer else {
                return (end, Err(status));
            };
            let answered = respond(processor, exchange, settings, answer).await;
            (end, answered.map_err(|_| status))
        }
        Finish::CutShort(status) => {
            tracing::debug!(processor = %processor.name(), request_id = exchange.request_id(), "{}", status.message());
            (end, Err(status))
        }
        Finish::Refuse(status) => {
            settings.stats.failure(FailureKind::Protocol);
            tracing::error!(
                processor = %processor.name(), request_id = exchange.request_id(), code = ?status.code(),
                "the exchange ended: {}", status.message()
            );
            (end, Err(status))
        }
    }
}

/// Answers the client.
async fn respond<P: Processor>(
    processor: &P,
    exchange: &Exchange<P::State>,
    settings: &Settings,
    mut answer: crate::immediate::Immediate,
) -> Result<(), Failure> {
    if let Some(name) = &settings.chain_header {
        let names = answer
            .names
            .take()
            .map_or_else(|| processor.name(), |names| String::from(names).into());
        answer.header_unless_set(name, names.as_bytes());
    }
    let status = answer.status();
    if let Some(limit) = answer.limit {
        settings.stats.limit(limit);
    }
    let answer = match answer.into_wire(processor.needs().limits.header_bytes) {
        Ok(answer) => answer,
        Err(crate::stop::Stop::Fail(failure)) => return Err(failure),
        Err(crate::stop::Stop::Respond(_)) => {
            return Err(Failure::new(FailureKind::Misuse, "an answer to an answer"));
        }
    };
    let mut waiting = Some(ProcessingResponse {
        response: Some(Response::ImmediateResponse(answer)),
        ..Default::default()
    });
    poll_fn(|_| exchange.core.link.poll_answer(&mut waiting)).await;
    settings.stats.immediate(status);
    Ok(())
}

/// Logs and counts a failure once. The text stays here: Envoy and clients learn that there was one.
fn failed<P: Processor>(
    processor: &P,
    exchange: &Exchange<P::State>,
    settings: &Settings,
    failure: &Failure,
) -> Status {
    settings.stats.failure(failure.kind());
    tracing::error!(
        processor = %processor.name(), request_id = exchange.request_id(), kind = failure.kind().name(),
        "the exchange failed: {failure}"
    );
    Status::internal("the processor failed")
}

/// Whether a status says that the peer ended the call, and not that it sent what cannot be read. tonic keeps the error of the
/// connection as the source of the first kind; what it cannot decode has none.
pub(super) fn is_reset(status: &Status) -> bool {
    status.source().is_some() || (status.code() == Code::Cancelled)
}

pub(super) fn reset() -> Status {
    Status::cancelled("the call was reset")
}

/// What cannot be read ends the call with an error, never cleanly: Envoy takes a clean end for "go on without me".
pub(super) fn unreadable(status: &Status) -> Status {
    Status::new(
        status.code(),
        format!("a message cannot be read: {}", status.message()),
    )
}
