//! Decides whether a target that an answer calls ready needs no confirm, because this Envoy could use it all along.

use protocol::Target;

/// Which answer of a control plane it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// The first that this Envoy has.
    First,
    /// The first of another life of the control plane.
    Successor,
    /// Any other.
    Next,
}

impl View {
    /// True if a target that is ready in this answer needs no confirm. `was_ready`: it was so in the answer before.
    pub(super) fn trusts(self, was_ready: bool, target: &Target) -> bool {
        match self {
            Self::First => true,
            // A control plane counts epochs anew, so it says itself what it found ready and what has not been away since; and what
            // was ready before that was not put to sleep in between, for this proxy would have been asked.
            Self::Successor => was_ready && target.found,
            Self::Next => false,
        }
    }
}
