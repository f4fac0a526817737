//! What is seen of an exchange that was played: its messages by direction and kind, and the bodies that come out.

use super::play::{Event, Played};
use super::script::{DIRECTIONS, Script, Side};
use crate::modes::{BodyMode, Direction};
use crate::wire::body_mutation::Mutation;
use crate::wire::processing_request::Request;
use crate::wire::processing_response::Response;
use crate::wire::{CommonResponse, ProcessingRequest, ProcessingResponse};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Headers,
    Body,
    Trailers,
}

/// The body that goes on to the peer.
pub(super) fn output(played: &Played, direction: Direction, mode: BodyMode) -> Vec<u8> {
    let mut chunks = played.events.iter().filter_map(|event| match event {
        Event::Sent(send) if send.direction == direction => match &send.message.request {
            Some(Request::RequestBody(body) | Request::ResponseBody(body)) => Some(body.body.clone()),
            _ => None,
        },
        _ => None,
    });
    let mut output = Vec::new();
    for event in &played.events {
        let Event::Answered(answer) = event else { continue };
        let Some((of, Kind::Body, common)) = answered_kind(answer) else {
            continue;
        };
        if of != direction {
            continue;
        }
        let mutation = common.and_then(|common| common.body_mutation.as_ref()?.mutation.as_ref());
        let chunk = if mode == BodyMode::FullDuplex {
            None
        } else {
            chunks.next()
        };
        match mutation {
            Some(Mutation::Body(body)) => output.extend_from_slice(body),
            Some(Mutation::ClearBody(_)) => {}
            Some(Mutation::StreamedResponse(part)) => output.extend_from_slice(&part.body),
            None => output.extend_from_slice(&chunk.unwrap_or_default()),
        }
    }
    output
}

/// The pieces of a body in full duplex, and which of them ends it.
pub(super) fn parts(played: &Played, direction: Direction) -> Vec<(usize, bool)> {
    played
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Answered(answer) => answered_kind(answer),
            Event::Sent(_) => None,
        })
        .filter(|(of, kind, _)| (*of, *kind) == (direction, Kind::Body))
        .filter_map(
            |(_, _, common)| match common?.body_mutation.as_ref()?.mutation.as_ref()? {
                Mutation::StreamedResponse(part) => Some((part.body.len(), part.end_of_stream)),
                Mutation::Body(_) | Mutation::ClearBody(_) => None,
            },
        )
        .collect()
}

pub(super) fn is_complete(script: &Script, played: &Played) -> bool {
    let sent = played
        .events
        .iter()
        .filter(|event| matches!(event, Event::Sent(_)))
        .count();
    let all: usize = DIRECTIONS
        .iter()
        .filter_map(|direction| script.side(*direction))
        .map(|side| 1 + side.chunks().len() + usize::from(side.has_trailers()))
        .sum();
    sent == all
}

/// Whether Envoy's messages of a body in full duplex came, and not to their end.
pub(super) fn is_cut_in_full_duplex(side: &Side, played: &Played) -> bool {
    // After done(), what Envoy sent without waiting for that answer passes unseen: as it was said.
    let has_begun = if played.notes.done {
        answered(played, side.direction)
    } else {
        sent(played, side.direction).next().is_some()
    };
    side.mode == BodyMode::FullDuplex && !side.bare && has_begun && !has_sent_end(played, side.direction)
}

fn answered(played: &Played, direction: Direction) -> bool {
    played.events.iter().any(|event| match event {
        Event::Answered(answer) => answered_kind(answer).is_some_and(|(of, ..)| of == direction),
        Event::Sent(_) => false,
    })
}

pub(super) fn has_sent_end(played: &Played, direction: Direction) -> bool {
    sent(played, direction).any(|message| match &message.request {
        Some(Request::RequestBody(body) | Request::ResponseBody(body)) => body.end_of_stream,
        Some(Request::RequestTrailers(_) | Request::ResponseTrailers(_)) => true,
        _ => false,
    })
}

pub(super) fn sent(played: &Played, direction: Direction) -> impl Iterator<Item = &ProcessingRequest> {
    played.events.iter().filter_map(move |event| match event {
        Event::Sent(send) if send.direction == direction => Some(&send.message),
        _ => None,
    })
}

/// In 1:1 there is no chunk left for what was gathered or written at the end, where trailers end the body.
pub(super) fn may_misuse(script: &Script, played: &Played) -> bool {
    DIRECTIONS
        .iter()
        .filter_map(|direction| script.side(*direction))
        .any(|side| {
            side.mode == BodyMode::Streamed
                && side.has_trailers()
                && sent(played, side.direction).next().is_some()
        })
}

pub(super) fn has_answers(played: &Played) -> bool {
    played
        .events
        .iter()
        .any(|event| matches!(event, Event::Answered(_)))
}

pub(super) fn has_override(played: &Played) -> bool {
    played
        .events
        .iter()
        .any(|event| matches!(event, Event::Answered(answer) if answer.mode_override.is_some()))
}

pub(super) fn has_immediate(played: &Played) -> bool {
    played
        .events
        .iter()
        .any(|event| matches!(event, Event::Answered(answer) if is_immediate(answer)))
}

pub(super) fn is_immediate(answer: &ProcessingResponse) -> bool {
    matches!(answer.response, Some(Response::ImmediateResponse(_)))
}

pub(super) fn sent_kind(message: &ProcessingRequest) -> Kind {
    match &message.request {
        Some(Request::RequestBody(_) | Request::ResponseBody(_)) => Kind::Body,
        Some(Request::RequestTrailers(_) | Request::ResponseTrailers(_)) => Kind::Trailers,
        _ => Kind::Headers,
    }
}

pub(super) fn answered_kind(
    answer: &ProcessingResponse,
) -> Option<(Direction, Kind, Option<&CommonResponse>)> {
    use Direction::{Request, Response as ToClient};
    Some(match answer.response.as_ref()? {
        Response::RequestHeaders(headers) => (Request, Kind::Headers, headers.response.as_ref()),
        Response::ResponseHeaders(headers) => (ToClient, Kind::Headers, headers.response.as_ref()),
        Response::RequestBody(body) => (Request, Kind::Body, body.response.as_ref()),
        Response::ResponseBody(body) => (ToClient, Kind::Body, body.response.as_ref()),
        Response::RequestTrailers(_) => (Request, Kind::Trailers, None),
        Response::ResponseTrailers(_) => (ToClient, Kind::Trailers, None),
        Response::ImmediateResponse(_) => return None,
    })
}
