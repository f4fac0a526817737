//! The simulated Envoy does with answers what the real one was seen to do (`docs/extproc.md`; 1.40).

#[cfg(feature = "server")]
mod remote;
mod rules;
mod whole;

use std::collections::VecDeque;

use tonic::{Code, Status};

use super::transport::{Next, Transport};
use super::{Envoy, Outgoing, Violation, ViolationKind, post};
use crate::wire::{ProcessingRequest, ProcessingResponse};

/// A processor that gives the answers of a test, right or wrong: the next ones after each message, and then its end.
pub(super) struct Canned {
    answers: VecDeque<Vec<ProcessingResponse>>,
    ready: VecDeque<ProcessingResponse>,
    end: Option<Code>,
}

impl Canned {
    pub(super) fn send(&mut self, _: ProcessingRequest) {
        self.ready.extend(self.answers.pop_front().unwrap_or_default());
    }

    pub(super) async fn next(&mut self) -> Next {
        match (self.ready.pop_front(), self.answers.is_empty(), self.end) {
            (Some(answer), ..) => Ok(Some(answer)),
            (None, true, Some(Code::Ok)) => Ok(None),
            (None, true, Some(code)) => Err(Status::new(code, "as canned")),
            _ => std::future::pending().await,
        }
    }
}

/// One list of answers for each message that Envoy sends; then the call ends so, or stays open.
fn canned(answers: impl IntoIterator<Item = Vec<ProcessingResponse>>, end: Option<Code>) -> Envoy {
    Envoy::with(Transport::Canned(Canned {
        answers: answers.into_iter().collect(),
        ready: VecDeque::new(),
        end,
    }))
    .lenient()
    .request(large())
}

/// A request with a body of 40,000 bytes: three chunks.
fn large() -> Outgoing {
    post("/a").body(bytes())
}

fn bytes() -> Vec<u8> {
    (0..40_000_u32).map(|at| (at % 251) as u8).collect()
}

fn kinds(violations: &[Violation]) -> Vec<ViolationKind> {
    violations.iter().map(Violation::kind).collect()
}
