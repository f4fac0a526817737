//! The answer to headers: what the handler changes, what the mode needs, what the server adds, and the override of modes.

use super::{Finish, Lane, body_or_clear, chain, keeps_length, set_length};
use crate::attributes;
use crate::edits::Edits;
use crate::modes::{BodyMode, Direction, ModeOverride, Modes};
use crate::processor::Processor;
use crate::reply::HeadersReply;
use crate::stop::Stop;
use crate::wire::common_response::ResponseStatus;
use crate::wire::processing_mode::{BodySendMode, HeaderSendMode};
use crate::wire::processing_response::Response;
use crate::wire::{BodyMutation, CommonResponse, HeadersResponse, ProcessingMode, ProcessingResponse};

impl<P: Processor> Lane<'_, P> {
    /// Gives Envoy the answer to the headers.
    pub(in crate::driver) async fn answer_headers(&mut self, reply: HeadersReply) -> Result<(), Finish> {
        let done = reply.done;
        let answer = self.headers_answer(reply)?;
        self.answer(answer).await;
        if !done {
            return Ok(());
        }
        if !self.link.is_at_rest(self.direction.other()) {
            // The response came before the request was through: the end of the call would cut the request, or let it pass unseen.
            self.passing = true;
            return Ok(());
        }
        Err(Finish::Done)
    }

    /// The answer to the headers, as Envoy reads it.
    pub(in crate::driver) fn headers_answer(
        &self,
        mut reply: HeadersReply,
    ) -> Result<ProcessingResponse, Finish> {
        let ends = self.shown.end_of_stream();
        let base = self.link.base();
        let mode_override = self.mode_override(&mut reply)?;
        let mode = self.mode();
        if reply.done && !ends && (mode == BodyMode::FullDuplex || self.is_other_in_full_duplex()) {
            return Err(Stop::misuse(
                "done() with a body in FULL_DUPLEX_STREAMED to come: Envoy would truncate it",
            )
            .into());
        }
        if let Some(replacement) = &reply.replace {
            if mode == BodyMode::FullDuplex {
                return Err(Stop::misuse(
                    "replace_body() is not taken in FULL_DUPLEX_STREAMED: use the body handler",
                )
                .into());
            }
            self.check_written(Some(replacement))?;
            set_length(&mut reply.edits, replacement.len());
        } else if keeps_length(base.of(self.direction))
            && !keeps_length(mode)
            && self.shown.contains("content-length")
            && !reply.edits.touches("content-length")
        {
            // Envoy removes it where the filter's own mode is such a one, but not where an override switches to it: the peer would
            // get a body cut to it.
            reply.edits.remove("content-length");
        }
        if self.direction == Direction::Response {
            self.add_own_headers(&mut reply.edits);
        }
        self.link
            .set_truncatable(self.direction, mode == BodyMode::FullDuplex && !ends);
        let limit = self.needs.limits.header_bytes;
        let common = CommonResponse {
            status: if reply.replace.is_some() {
                ResponseStatus::ContinueAndReplace
            } else {
                ResponseStatus::Continue
            }
            .into(),
            header_mutation: reply.edits.resolve(&self.shown, limit)?,
            body_mutation: reply.replace.map(|body| BodyMutation {
                mutation: Some(body_or_clear(body)),
            }),
            trailers: None,
            clear_route_cache: reply.clear_route_cache,
        };
        let answer = HeadersResponse {
            response: (common != CommonResponse::default()).then_some(common),
        };
        Ok(ProcessingResponse {
            response: Some(match self.direction {
                Direction::Request => Response::RequestHeaders(answer),
                Direction::Response => Response::ResponseHeaders(answer),
            }),
            dynamic_metadata: attributes::dynamic_metadata(reply.metadata),
            mode_override,
            override_message_timeout: None,
        })
    }

    /// Whether the other direction has a body in FULL_DUPLEX_STREAMED to come: an answered request still has a response.
    fn is_other_in_full_duplex(&self) -> bool {
        self.direction == Direction::Request && self.link.modes().response == BodyMode::FullDuplex
    }

    /// The override to be sent with this answer, and the modes that hold from here on.
    fn mode_override(&self, reply: &mut HeadersReply) -> Result<Option<ProcessingMode>, Finish> {
        let base = self.link.base();
        let mut wanted = reply.mode;
        if let Some(ask) = self.needs.ask.filter(|_| self.link.is_first_answer_to_headers()) {
            let only_where_none = |asked: Option<BodyMode>, base| asked.filter(|_| base == BodyMode::None);
            wanted = wanted.or(ModeOverride {
                request_body: only_where_none(ask.request_body, base.request),
                response_body: only_where_none(ask.response_body, base.response),
                ..ask
            });
        }
        if wanted == ModeOverride::default() {
            return Ok(None);
        }
        if base.request == BodyMode::FullDuplex || base.response == BodyMode::FullDuplex {
            tracing::warn!(processor = %self.processor.name(), "no mode override was sent: Envoy ignores it where a body mode of the filter is FULL_DUPLEX_STREAMED");
            return Ok(None);
        }
        let now = self.link.modes();
        let modes = Modes {
            request: wanted.request_body.unwrap_or(now.request),
            response: wanted.response_body.unwrap_or(now.response),
        };
        self.link.set_modes(modes);
        let send = |wanted: Option<bool>| {
            match wanted {
                None => HeaderSendMode::Default,
                Some(true) => HeaderSendMode::Send,
                Some(false) => HeaderSendMode::Skip,
            }
            .into()
        };
        let full_duplex = |mode| (mode == BodyMode::FullDuplex).then_some(true);
        let of = |mode: BodyMode| BodySendMode::into(mode.to_wire());
        Ok(Some(ProcessingMode {
            request_header_mode: HeaderSendMode::Default.into(),
            response_header_mode: send(wanted.response_headers),
            // Both are always said: an override replaces both body modes.
            request_body_mode: of(modes.request),
            response_body_mode: of(modes.response),
            request_trailer_mode: send(wanted.request_trailers.or(full_duplex(modes.request))),
            response_trailer_mode: send(wanted.response_trailers.or(full_duplex(modes.response))),
        }))
    }

    /// The chain header and the duration header, which every response gets where the server says so.
    fn add_own_headers(&self, edits: &mut Edits) {
        if let Some(name) = &self.settings.chain_header
            && !edits.touches(name)
        {
            edits.set(
                name,
                chain(&self.processor.name(), self.shown.text(name)).as_bytes(),
            );
        }
        if let Some(name) = &self.settings.duration_header
            && !edits.touches(name)
        {
            edits.set(name, self.exchange.core.processing().to_string().as_bytes());
        }
    }
}
