//! A body in full duplex: chunks go and pieces come independently, and the headers' answer may be as late as theirs.

use bytes::BytesMut;
use tokio::time::timeout;

use super::fields::Fields;
use super::got::ViolationKind;
use super::http::Seen;
use super::side::{Answer, Halt, IDLE, Phase, Side};
use crate::modes::Direction;
use crate::wire::HttpBody;
use crate::wire::body_mutation::Mutation;

/// Answers that are to come in full duplex.
struct Owed {
    headers: bool,
    body: bool,
    trailers: bool,
}

impl Side {
    /// Both ways at once. `is_asked`: the headers are shown as well; their answer may come as late as the body's.
    pub(super) async fn duplex(
        &mut self,
        direction: Direction,
        seen: &mut Seen,
        is_asked: bool,
    ) -> Result<(), Halt> {
        let mut unsent = self.chunks(seen);
        let original = std::mem::take(&mut seen.body);
        let mut owed = Owed {
            headers: is_asked,
            body: true,
            trailers: !seen.trailers.is_empty(),
        };
        if is_asked {
            self.send(direction, Phase::Headers, &seen.headers, HttpBody::default())
                .await;
        }
        let mut are_trailers_unsent = owed.trailers;
        let mut whole = BytesMut::new();
        let mut has_begun = false;
        while owed.headers || owed.trailers || owed.body {
            let is_more = !unsent.is_empty() || are_trailers_unsent;
            let next = timeout(IDLE, self.transport.next_or_room(is_more)).await;
            let next = match next {
                Ok(None) => {
                    if let Some((chunk, end_of_stream)) = unsent.pop_front() {
                        has_begun = true;
                        let body = HttpBody {
                            body: chunk,
                            end_of_stream,
                        };
                        self.send(direction, Phase::Body, &Fields::default(), body).await;
                    } else {
                        are_trailers_unsent = false;
                        self.send(
                            direction,
                            Phase::Trailers,
                            &seen.trailers.clone(),
                            HttpBody::default(),
                        )
                        .await;
                    }
                    continue;
                }
                Err(_) => {
                    self.violates(
                        ViolationKind::Hung,
                        "nothing came in full duplex, which has no time-out of its own",
                    );
                    let halt = self.local_reply(504, "stream_idle_timeout");
                    return self.halt_in_body(direction, halt, seen, whole);
                }
                Ok(Some(next)) => next,
            };
            let halted = match next {
                Ok(Some(answer)) => match self.read(answer) {
                    Ok(Some(read)) => {
                        self.duplex_answer(direction, seen, read, &mut owed, &mut whole, !is_more)
                    }
                    Ok(None) => Ok(()),
                    Err(halt) => Err(halt),
                },
                Ok(None) => {
                    self.end(tonic::Code::Ok);
                    if whole.is_empty() && owed.headers {
                        self.violates(
                            ViolationKind::Unprocessed,
                            "the call ended with OK before anything was answered",
                        );
                        seen.body = original;
                    } else {
                        let (now, all) = (whole.len(), original.len());
                        self.violates(ViolationKind::LostBytes, format!("the call ended with OK after {now} bytes ({all} were sent): the body is truncated, without an error"));
                        seen.body = whole.freeze();
                    }
                    return Ok(());
                }
                Err(status) => {
                    let failed = self.failed(&status, has_begun);
                    if failed.is_ok() {
                        seen.body = original;
                        return Ok(());
                    }
                    failed
                }
            };
            if let Err(halt) = halted {
                // Only where the client has the headers already.
                return if owed.headers {
                    Err(halt)
                } else {
                    self.halt_in_body(direction, halt, seen, whole)
                };
            }
            if self.is_over {
                seen.body = original;
                return Ok(());
            }
        }
        seen.body = whole.freeze();
        Ok(())
    }

    fn duplex_answer(
        &mut self,
        direction: Direction,
        seen: &mut Seen,
        (of, phase, answer): (Direction, Phase, Answer),
        owed: &mut Owed,
        whole: &mut BytesMut,
        is_all_sent: bool,
    ) -> Result<(), Halt> {
        match (phase, answer) {
            _ if of != direction => self.spurious("an answer of the other direction"),
            (Phase::Headers, Answer::Common(answer)) if owed.headers => {
                owed.headers = false;
                match answer {
                    Some(answer) => self.apply_headers(&answer, seen).map(|_| ()),
                    None => Ok(()),
                }
            }
            (Phase::Body, Answer::Common(answer)) if owed.body && !owed.headers => {
                let mutation = answer.and_then(|answer| {
                    if answer.header_mutation.is_some() {
                        self.violates(
                            ViolationKind::LostHeaders,
                            "a piece of a body changes headers that have gone on",
                        );
                    }
                    answer.body_mutation?.mutation
                });
                let Some(Mutation::StreamedResponse(piece)) = mutation else {
                    self.violates(
                        ViolationKind::Order,
                        "an answer in full duplex that is not streamed",
                    );
                    return self.give_up("ext_proc_error_not_streamed", true);
                };
                whole.extend_from_slice(&piece.body);
                if piece.end_of_stream {
                    owed.body = false;
                    if !is_all_sent || owed.trailers {
                        self.violates(
                            ViolationKind::Order,
                            "the processor ended a body that Envoy has not ended",
                        );
                    }
                }
                Ok(())
            }
            (Phase::Trailers, Answer::Trailers(mutation)) if owed.trailers && !owed.headers => {
                owed.trailers = false;
                owed.body = false;
                match mutation {
                    Some(mutation) => self.mutate(&mut seen.trailers, &mutation),
                    None => Ok(()),
                }
            }
            (phase, _) => self.spurious(&format!("{phase:?} of the {} out of order", direction.name())),
        }
    }
}
