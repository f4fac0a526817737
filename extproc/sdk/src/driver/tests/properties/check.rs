//! Judges an exchange that was played, rule by rule.

use proptest::prelude::*;
use tonic::Code;

use super::bytes::own;
use super::handlers::Noted;
use super::plan::{Last, Plan, Then};
use super::play::{Event, Played};
use super::script::{DIRECTIONS, Script, Side, Way};
use super::seen::*;
use crate::body::PIECE;
use crate::modes::{BodyMode, Direction};
use crate::processor::End;
use crate::testing::Ended;
use crate::wire::body_mutation::Mutation;

pub(super) fn check(script: &Script, plan: &Plan, played: &Played) -> Result<(), TestCaseError> {
    prop_assert!(!played.stuck, "neither an answer nor an end came");
    check_order(script, played)?;
    check_ends(script, played)?;
    let is_through = is_complete(script, played);
    let is_well = match &played.ended {
        Some(Ended::Cleanly) => script.way != Way::Reset && !has_immediate(played) && !played.notes.done,
        None => script.way == Way::Stay,
        Some(Ended::With(_)) => false,
    };
    for side in DIRECTIONS.iter().filter_map(|direction| script.side(*direction)) {
        if is_well && is_through {
            check_answered(side, played)?;
            check_content(side, plan, played)?;
        }
        // A mode that was to be asked for and was not (the handler was too slow, say) is not the body's mode.
        let has_mode =
            side.direction != Direction::Request || script.asked().is_none() || has_override(played);
        let ended_cleanly = matches!(played.ended, Some(Ended::Cleanly)) && !has_immediate(played);
        if ended_cleanly && has_mode && script.way != Way::Reset {
            prop_assert!(
                !is_cut_in_full_duplex(side, played),
                "the {} body was cut, and the end is clean",
                side.direction.name()
            );
        }
    }
    Ok(())
}

/// Order, kinds and sizes of the answers, one after the other.
fn check_order(script: &Script, played: &Played) -> Result<(), TestCaseError> {
    for direction in DIRECTIONS {
        let mode = script.side(direction).map_or(BodyMode::None, |side| side.mode);
        let (mut sent, mut answered, mut ended) = ([0; 3], [0; 3], false);
        for event in &played.events {
            match event {
                Event::Sent(send) if send.direction == direction => {
                    sent[sent_kind(&send.message) as usize] += 1
                }
                Event::Sent(_) => {}
                Event::Answered(answer) => {
                    let Some((of, kind, common)) = answered_kind(answer) else {
                        continue;
                    };
                    prop_assert!(
                        answer.mode_override.is_none() || (kind == Kind::Headers && script.asked().is_some()),
                        "W10: an override out of place"
                    );
                    if of != direction {
                        continue;
                    }
                    answered[kind as usize] += 1;
                    let now = kind as usize;
                    prop_assert!(
                        answered[now + 1..].iter().all(|later| *later == 0),
                        "W3: {kind:?} after what follows it"
                    );
                    prop_assert!(
                        kind == Kind::Headers || answered[0] == 1,
                        "W3: {kind:?} before headers"
                    );
                    let mutation = common
                        .and_then(|common| common.body_mutation.as_ref())
                        .and_then(|mutation| mutation.mutation.as_ref());
                    if kind == Kind::Body && mode == BodyMode::FullDuplex {
                        prop_assert!(!ended, "W4: more after the end");
                        let Some(Mutation::StreamedResponse(part)) = mutation else {
                            return Err(TestCaseError::fail("W4: a body answer that is not streamed"));
                        };
                        prop_assert!(
                            part.body.len() <= PIECE,
                            "W4: a piece of {} bytes",
                            part.body.len()
                        );
                        ended = part.end_of_stream;
                        prop_assert!(
                            !ended || has_sent_end(played, direction),
                            "W4: the end before Envoy sent it"
                        );
                    } else {
                        prop_assert!(
                            !matches!(mutation, Some(Mutation::StreamedResponse(_))),
                            "W4: streamed in {mode:?}"
                        );
                        prop_assert!(answered[now] <= sent[now], "W2: more answers than messages");
                    }
                }
            }
        }
    }
    Ok(())
}

/// How it ended, and that it ended once.
fn check_ends(script: &Script, played: &Played) -> Result<(), TestCaseError> {
    let notes = &played.notes;
    prop_assert_eq!(played.left, (0, 0), "W13: memory, W15: exchanges");
    prop_assert_eq!(
        notes.ended.len(),
        usize::from(played.polled),
        "W15: {:?}",
        &notes.ended
    );
    let answers = || {
        played.events.iter().rev().filter_map(|event| match event {
            Event::Answered(answer) => Some(answer),
            Event::Sent(_) => None,
        })
    };
    prop_assert!(
        !answers().skip(1).any(is_immediate),
        "W11: an answer after an immediate one"
    );
    let Some(end) = notes.ended.first() else {
        return Ok(());
    };
    if has_immediate(played) {
        prop_assert!(
            matches!(played.ended, Some(Ended::Cleanly) | None),
            "W11: {:?}",
            &played.ended
        );
        prop_assert_eq!(*end, End::Responded);
    }
    match &played.ended {
        Some(Ended::With(status)) => match status.code() {
            Code::Internal => {
                prop_assert_eq!(*end, End::Failed);
                prop_assert!(
                    !notes.reasons.is_empty() || may_misuse(script, played),
                    "it failed without a reason: {:?}",
                    status
                );
            }
            Code::Unavailable => prop_assert!(
                script.way == Way::Cut || (script.way == Way::HandOver && !has_answers(played)),
                "nothing stopped"
            ),
            // Envoy does not hear it any more; the processor was told how the exchange ended.
            Code::Cancelled if script.way == Way::Reset => {
                prop_assert!(matches!(end, End::Completed | End::Cancelled), "W7: {end:?}");
            }
            Code::Cancelled => {
                prop_assert!(
                    !is_complete(script, played) && script.way != Way::Stay,
                    "all was sent"
                );
                prop_assert_eq!(*end, End::Cancelled, "W7");
            }
            // The handler that was to ask for this body did not: Envoy would not send it.
            Code::InvalidArgument => {
                prop_assert!(script.asked().is_some() && !has_override(played), "{status:?}")
            }
            code => return Err(TestCaseError::fail(format!("{code:?}"))),
        },
        Some(Ended::Cleanly) if !has_immediate(played) && script.way != Way::Reset => {
            prop_assert_eq!(*end, End::Completed);
        }
        _ => {}
    }
    Ok(())
}

/// Every message has its answer.
fn check_answered(side: &Side, played: &Played) -> Result<(), TestCaseError> {
    let count = |wanted| {
        played
            .events
            .iter()
            .filter(|event| match event {
                Event::Answered(answer) => {
                    answered_kind(answer).is_some_and(|(of, kind, _)| (of, kind) == (side.direction, wanted))
                }
                Event::Sent(_) => false,
            })
            .count()
    };
    prop_assert_eq!(
        count(Kind::Headers),
        1,
        "W2: headers of the {}",
        side.direction.name()
    );
    prop_assert_eq!(
        count(Kind::Trailers),
        usize::from(side.has_trailers()),
        "W2: trailers of the {}",
        side.direction.name()
    );
    if side.mode == BodyMode::FullDuplex {
        let ends = parts(played, side.direction)
            .iter()
            .filter(|(_, end)| *end)
            .count();
        prop_assert_eq!(
            ends,
            usize::from(!side.bare && !side.has_trailers()),
            "W4: ends of the {} body",
            side.direction.name()
        );
    } else {
        prop_assert_eq!(
            count(Kind::Body),
            side.chunks().len(),
            "W2: chunks of the {} body",
            side.direction.name()
        );
    }
    Ok(())
}

/// What comes out is what the handler said.
fn check_content(side: &Side, plan: &Plan, played: &Played) -> Result<(), TestCaseError> {
    let noted = match side.direction {
        Direction::Request => &played.notes.request,
        Direction::Response => &played.notes.response,
    };
    let expected = match noted {
        Noted { hangs: true, .. } if plan.then == Then::Continue => side.whole(),
        Noted {
            last: Some(Last::Unchanged),
            ..
        } => side.whole(),
        Noted {
            last: Some(Last::Written),
            passed,
            ..
        } => passed.clone(),
        Noted {
            last: Some(Last::Replace(length)),
            ..
        } => own(0, *length),
        // What comes after done() passes, where the call cannot end yet.
        _ if played.notes.done => side.whole(),
        _ => {
            prop_assert!(
                side.chunks().is_empty(),
                "the handler of the {} body did not return",
                side.direction.name()
            );
            return Ok(());
        }
    };
    let output = output(played, side.direction, side.mode);
    prop_assert!(
        output == expected,
        "the {} body: {} bytes came out, {} were to",
        side.direction.name(),
        output.len(),
        expected.len()
    );
    Ok(())
}
