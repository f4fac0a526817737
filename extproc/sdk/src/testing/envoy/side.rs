//! The talk with the processor: messages out, answers in, each judged as Envoy 1.40 judges it.

use std::collections::HashMap;
use std::time::Duration;

use prost_types::{Struct, Value, value::Kind as ValueKind};
use tonic::{Code, Status};

use super::fields::Fields;
use super::filter::{Filter, Shows};
use super::got::{Got, Violation, ViolationKind};
use super::http::Seen;
use super::transport::Transport;
use crate::attributes::struct_to_json;
use crate::modes::{BodyMode, Direction};
use crate::wire::processing_request::Request;
use crate::wire::processing_response::Response;
use crate::wire::{
    CommonResponse, HeaderMutation, HttpBody, HttpHeaders, HttpTrailers, ImmediateResponse,
    ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
};

/// `stream_idle_timeout`: what ends a request for whose message the filter has no time-out of its own (full duplex).
pub(super) const IDLE: Duration = Duration::from_secs(300);

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Headers,
    Body,
    Trailers,
}

/// An answer, without its direction.
pub(super) enum Answer {
    Common(Option<CommonResponse>),
    Trailers(Option<HeaderMutation>),
}

/// Why a request goes no further.
pub(super) enum Halt {
    /// The client gets this instead.
    Answer(Seen),
}

/// One call of the processor.
pub(super) struct Side {
    pub(super) transport: Transport,
    pub(super) filter: Filter,
    /// As the filter's, until an answer overrides it.
    pub(super) shows: Shows,
    pub(super) got: Got,
    /// The processor is not asked any more: it ended the call, or the filter gave it up.
    pub(super) is_over: bool,
    /// Of the request: in an answer to a call of gRPC, the status stands in the trailers.
    pub(super) is_grpc: bool,
}

impl Side {
    pub(super) fn new(transport: Transport, filter: Filter) -> Self {
        Self {
            transport,
            shows: filter.shows,
            filter,
            got: Got::default(),
            is_over: false,
            is_grpc: false,
        }
    }

    pub(super) fn violates(&mut self, kind: ViolationKind, text: impl Into<String>) {
        self.got.violations.push(Violation {
            kind,
            text: text.into(),
        });
    }

    /// Sends a message. The first of a call tells the modes, and the attributes.
    pub(super) async fn send(&mut self, direction: Direction, phase: Phase, fields: &Fields, body: HttpBody) {
        let is_request = direction == Direction::Request;
        let map = || Some(fields.to_wire());
        let ends = body.end_of_stream;
        let request = match (phase, is_request) {
            (Phase::Headers, _) => {
                let headers = HttpHeaders {
                    headers: map(),
                    end_of_stream: ends,
                };
                if is_request {
                    Request::RequestHeaders(headers)
                } else {
                    Request::ResponseHeaders(headers)
                }
            }
            (Phase::Body, true) => Request::RequestBody(body),
            (Phase::Body, false) => Request::ResponseBody(body),
            (Phase::Trailers, true) => Request::RequestTrailers(HttpTrailers { trailers: map() }),
            (Phase::Trailers, false) => Request::ResponseTrailers(HttpTrailers { trailers: map() }),
        };
        let mut message = ProcessingRequest {
            request: Some(request),
            ..Default::default()
        };
        if self.got.messages == 0 {
            message.protocol_config = Some(ProtocolConfiguration {
                request_body_mode: self.shows.bodies.request.to_wire().into(),
                response_body_mode: self.shows.bodies.response.to_wire().into(),
                send_body_without_waiting_for_header_response: false,
            });
            message.attributes = self.attributes();
        }
        self.got.messages += 1;
        self.transport.send(message).await;
    }

    fn attributes(&self) -> HashMap<String, Struct> {
        if self.filter.attributes.is_empty() {
            return HashMap::new();
        }
        let fields = self
            .filter
            .attributes
            .iter()
            .map(|(name, value)| {
                let kind = Some(ValueKind::StringValue(value.clone()));
                (name.clone(), Value { kind })
            })
            .collect();
        HashMap::from([("envoy.filters.http.ext_proc".to_owned(), Struct { fields })])
    }

    /// Whether the processor is still there to be asked.
    pub(super) async fn is_there(&mut self) -> Result<bool, Halt> {
        if !self.is_over
            && self.transport.is_exact()
            && let Some(next) = self.transport.now().await
        {
            match next {
                Ok(None) => self.end(Code::Ok),
                Ok(Some(_)) => self.spurious("an answer came, and no message waits for one")?,
                Err(status) => self.failed(&status, false)?,
            }
        }
        Ok(!self.is_over)
    }

    pub(super) fn end(&mut self, code: Code) {
        self.is_over = true;
        self.got.ended = Some(code);
    }

    /// Envoy closes the call at a message that it does not expect; then it is as if the processor had failed.
    pub(super) fn spurious(&mut self, text: &str) -> Result<(), Halt> {
        self.violates(ViolationKind::Spurious, text);
        self.give_up("ext_proc_error_spurious_message", false)
    }

    /// The processor ended the call with an error.
    pub(super) fn failed(&mut self, status: &Status, has_begun: bool) -> Result<(), Halt> {
        self.got.ended = Some(status.code());
        self.give_up(
            &format!("ext_proc_error_gRPC_error_{}", i32::from(status.code())),
            has_begun,
        )
    }

    /// Goes on without the processor, or answers 500. `has_begun`: with a part of a body in full duplex sent there is no going on
    /// (seen with 1.40; envoy#41276).
    pub(super) fn give_up(&mut self, details: &str, has_begun: bool) -> Result<(), Halt> {
        self.is_over = true;
        if self.filter.failure_mode_allow && !has_begun {
            Ok(())
        } else {
            Err(self.local_reply(500, details))
        }
    }

    /// An answer of Envoy itself.
    pub(super) fn local_reply(&mut self, status: u16, details: &str) -> Halt {
        self.got.details = Some(details.to_owned());
        self.is_over = true;
        let mut headers = Fields::default();
        headers.append(":status", status.to_string().as_bytes());
        Halt::Answer(Seen {
            headers,
            ..Seen::default()
        })
    }

    /// A reply that Envoy refuses.
    pub(super) fn refused(&mut self, text: String) -> Result<(), Halt> {
        self.violates(ViolationKind::Refused, text);
        self.give_up("ext_proc_error_invalid_mutation", false)
    }

    /// Waits for the answer of one message. None where the call is over, and the message passes as it is.
    pub(super) async fn answer(
        &mut self,
        direction: Direction,
        phase: Phase,
    ) -> Result<Option<Answer>, Halt> {
        let mut limit = self.filter.message_timeout.unwrap_or(IDLE);
        loop {
            let Ok(next) = tokio::time::timeout(limit, self.transport.next()).await else {
                self.timed_out()?;
                return Ok(None);
            };
            match next {
                Ok(Some(answer)) => {
                    if let Some(time) = &answer.override_message_timeout {
                        self.got.prolonged += 1;
                        limit = Duration::new(
                            u64::try_from(time.seconds).unwrap_or_default(),
                            u32::try_from(time.nanos).unwrap_or_default(),
                        );
                        continue;
                    }
                    let (of, found, answer) = match self.read(answer)? {
                        Some(read) => read,
                        None => return Ok(None),
                    };
                    if (of, found) == (direction, phase) {
                        return Ok(Some(answer));
                    }
                    self.spurious(&format!(
                        "{found:?} of the {} came, {phase:?} of the {} were asked for",
                        of.name(),
                        direction.name()
                    ))?;
                    return Ok(None);
                }
                Ok(None) => {
                    self.end(Code::Ok);
                    // Over a network the end may just be on its way when the message is sent: only without any answer is it sure.
                    if self.transport.is_exact() || self.got.answers == 0 {
                        let text = format!(
                            "the call ended with OK before {phase:?} of the {} were answered",
                            direction.name()
                        );
                        self.violates(ViolationKind::Unprocessed, text);
                    }
                    return Ok(None);
                }
                Err(status) => {
                    self.failed(&status, false)?;
                    return Ok(None);
                }
            }
        }
    }

    /// The filter's time-out for a message, or that of the idle stream.
    pub(super) fn timed_out(&mut self) -> Result<(), Halt> {
        if self.filter.message_timeout.is_none() {
            self.violates(ViolationKind::Hung, "no answer came");
            return Err(self.local_reply(504, "stream_idle_timeout"));
        }
        self.is_over = true;
        if self.filter.failure_mode_allow {
            return Ok(());
        }
        Err(self.local_reply(504, "ext_proc_error_per-message_timeout_exceeded"))
    }

    /// Reads an answer: notes what stands beside it, and tells what it is about. None where it gave the call up.
    pub(super) fn read(
        &mut self,
        answer: ProcessingResponse,
    ) -> Result<Option<(Direction, Phase, Answer)>, Halt> {
        use Direction::{Request as Up, Response as Down};
        self.got.answers += 1;
        if let Some(metadata) = &answer.dynamic_metadata {
            self.got.metadata.extend(struct_to_json(metadata));
        }
        let mode = answer.mode_override;
        let (direction, phase, read) = match answer.response {
            Some(Response::RequestHeaders(headers)) => (Up, Phase::Headers, Answer::Common(headers.response)),
            Some(Response::ResponseHeaders(headers)) => {
                (Down, Phase::Headers, Answer::Common(headers.response))
            }
            Some(Response::RequestBody(body)) => (Up, Phase::Body, Answer::Common(body.response)),
            Some(Response::ResponseBody(body)) => (Down, Phase::Body, Answer::Common(body.response)),
            Some(Response::RequestTrailers(trailers)) => {
                (Up, Phase::Trailers, Answer::Trailers(trailers.header_mutation))
            }
            Some(Response::ResponseTrailers(trailers)) => {
                (Down, Phase::Trailers, Answer::Trailers(trailers.header_mutation))
            }
            Some(Response::ImmediateResponse(immediate)) => return Err(self.immediate(immediate)),
            None => {
                self.spurious("an answer to nothing")?;
                return Ok(None);
            }
        };
        // In answers to headers only, and never where a mode of the filter is full duplex (read in Envoy's source).
        let base = self.filter.shows.bodies;
        let may_override = base.request != BodyMode::FullDuplex && base.response != BodyMode::FullDuplex;
        if let Some(mode) = mode
            && phase == Phase::Headers
            && self.filter.allow_mode_override
            && may_override
        {
            self.shows.replace(&mode);
        }
        Ok(Some((direction, phase, read)))
    }

    /// The processor answers the client itself.
    fn immediate(&mut self, answer: ImmediateResponse) -> Halt {
        let code = answer.status.map_or(200, |status| status.code);
        // Anything below is no final status: Envoy answers 200.
        let status = u16::try_from(code)
            .ok()
            .filter(|code| (200..600).contains(code))
            .unwrap_or(200);
        self.got.immediate = Some(status);
        self.got.details = Some(answer.details.replace(' ', "_"));
        self.is_over = true;
        let mut headers = Fields::default();
        headers.append(":status", status.to_string().as_bytes());
        let mut body = answer.body;
        if self.is_grpc {
            // A call of gRPC is answered with 200, and a status of its own in the same headers.
            headers.set(":status", b"200");
            headers.append("content-type", b"application/grpc");
            let status = answer
                .grpc_status
                .map_or_else(|| grpc_status(status), |status| status.status);
            headers.append("grpc-status", status.to_string().as_bytes());
            headers.append("grpc-message", &body);
            body = bytes::Bytes::new();
        } else if !body.is_empty() {
            headers.append("content-length", body.len().to_string().as_bytes());
            headers.append("content-type", b"text/plain");
        }
        if let Some(mutation) = &answer.headers {
            let mut rejected = Vec::new();
            if let Err(invalid) = headers.apply(mutation, &mut rejected) {
                self.violates(ViolationKind::Refused, invalid.0);
            }
            self.got.rejected.extend(rejected);
        }
        Halt::Answer(Seen {
            headers,
            body,
            ..Seen::default()
        })
    }
}

/// The status of gRPC that Envoy makes of one of HTTP.
fn grpc_status(status: u16) -> u32 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}
