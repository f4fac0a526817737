//! Sorts the answers of the API server that are no success: what is tried again, when, and what people are told.

use std::time::Duration;

use kube::core::Status;

use super::request::Subresource;
use crate::failure::{Failure, Kind, of_error, of_forbidden};

/// Misses until people are told of what an API server may say that is only starting, two to three seconds: internal
/// errors while its database chooses a leader, 403 until it has read the roles, 404 until it serves custom resources.
const TELL_AFTER: u32 = 7;

/// Why a request did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The object was changed by others since it was read.
    Conflict,
    /// The API server says no, and will again until a person changes something.
    Refused(Failure),
    /// The API server says no, and may think better of it soon.
    NotYet(Failure),
    /// The API server asks to wait, and has done nothing.
    Busy(Duration),
    /// The API server failed inside: it may have been done or not.
    Internal(Failure),
    /// No answer, or one from in between: it may have been done or not.
    Unanswered,
}

impl Trouble {
    /// In metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Refused(_) | Self::NotYet(_) => "refused",
            Self::Busy(_) => "busy",
            Self::Internal(_) | Self::Unanswered => "unknown",
        }
    }

    /// What people are to be told after as many misses before.
    pub(super) fn tell(&self, misses: u32) -> Option<Failure> {
        match self {
            Self::Refused(failure) => Some(failure.clone()),
            Self::NotYet(failure) | Self::Internal(failure) => {
                Some(failure.clone()).filter(|_| misses + 1 >= TELL_AFTER)
            }
            Self::Conflict | Self::Busy(_) | Self::Unanswered => None,
        }
    }

    /// For a caller that does not try again.
    pub(super) fn into_failure(self, of: &Subresource) -> Failure {
        match self {
            Self::Refused(failure) | Self::NotYet(failure) | Self::Internal(failure) => failure,
            Self::Conflict | Self::Busy(_) | Self::Unanswered => Failure::new(
                Kind::Unreachable,
                &format!("the API server does not tell the scale of {of}"),
            ),
        }
    }
}

/// What `error` means for a request for the scale of `of`.
pub(super) fn judge(error: &kube::Error, of: &Subresource) -> Trouble {
    match error {
        kube::Error::Api(status) => by_status(status, of),
        kube::Error::BuildRequest(_) => refused(Kind::Refused, &format!("{of} cannot be scaled: {error}")),
        _ => Trouble::Unanswered,
    }
}

fn by_status(status: &Status, of: &Subresource) -> Trouble {
    let message = &status.message;
    let details = status.details.as_ref();
    let no_scale = format!("{of} has no scale subresource");
    match status.code {
        409 => Trouble::Conflict,
        // A 404 that names an object is about the object; another is about the path.
        404 if details.is_some_and(|details| !details.name.is_empty()) => {
            refused(Kind::WorkloadNotFound, &format!("there is no {of}"))
        }
        405 => refused(Kind::KindNotScalable, &no_scale),
        404 => Trouble::NotYet(Failure::new(Kind::KindNotScalable, &no_scale)),
        403 => {
            let text = format!("the scale of {of} is not ours to change: {message}");
            Trouble::NotYet(Failure::new(Kind::Refused, &text).classed(of_forbidden(message)))
        }
        429 => Trouble::Busy(Duration::from_secs(
            details.map_or(0, |details| details.retry_after_seconds).into(),
        )),
        // Our token is being renewed, or a request timed out.
        401 | 408 | 502..=504 => Trouble::Unanswered,
        code => {
            let failure = Failure::new(Kind::Refused, &format!("{of} is not scaled: {message}"));
            let failure = failure.classed(of_error(code, message));
            if code < 500 {
                Trouble::Refused(failure)
            } else {
                Trouble::Internal(failure)
            }
        }
    }
}

fn refused(kind: Kind, text: &str) -> Trouble {
    Trouble::Refused(Failure::new(kind, text))
}
