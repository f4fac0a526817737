//! Why a workload cannot start: in one word of a closed set, and in a sentence.
//!
//! The class may be told to any client; the sentence may repeat what a workload or an API server said, and is for those who
//! run it. This module decides neither: backends say both, and the proxies choose what their clients are told.

use std::fmt;

/// Why a workload cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs, and for clients.
    pub class: FailureClass,
    /// For those who run it: one line. May hold anything that a workload has printed.
    pub reason: String,
}

impl Failure {
    /// A failure of this class, told as `reason`.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self {
            class,
            reason: reason.into(),
        }
    }
}

/// The kinds of reasons why a workload cannot start: closed, so that it gives nothing away. Its names are part of the wire
/// format and of `GET /v1/targets`: new ones may be added, none is renamed. A proxy takes one that it does not know for `other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// An image cannot be pulled, or is none.
    Image,
    /// It ends by itself: a status, a signal, again and again.
    Crash,
    /// Its command cannot be executed.
    Command,
    /// What it is given is missing or does not fit: a secret, a folder, an address that is taken.
    Config,
    /// A quota or a limit forbids it.
    Quota,
    /// No node takes it.
    Unschedulable,
    /// What would scale it is refused for what it says: an admission policy, an invalid object.
    ScaleRefused,
    /// The control plane may not read or scale it.
    Forbidden,
    /// There is no such workload, or none that can be scaled.
    NotFound,
    /// The API server or the supervisor that runs it cannot be reached, or answers with errors.
    Unreachable,
    /// It runs, and was not ready in time.
    StartTimeout,
    /// Its roll-out makes no progress.
    Progress,
    /// None of these.
    Other,
}

impl FailureClass {
    /// Every class there is.
    pub const ALL: [Self; 13] = [
        Self::Image,
        Self::Crash,
        Self::Command,
        Self::Config,
        Self::Quota,
        Self::Unschedulable,
        Self::ScaleRefused,
        Self::Forbidden,
        Self::NotFound,
        Self::Unreachable,
        Self::StartTimeout,
        Self::Progress,
        Self::Other,
    ];

    /// Its name on the wire: lower case, words joined by `_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Crash => "crash",
            Self::Command => "command",
            Self::Config => "config",
            Self::Quota => "quota",
            Self::Unschedulable => "unschedulable",
            Self::ScaleRefused => "scale_refused",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Unreachable => "unreachable",
            Self::StartTimeout => "start_timeout",
            Self::Progress => "progress",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_short_words_of_their_own() {
        let names: BTreeSet<_> = FailureClass::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names.len(), FailureClass::ALL.len(), "must have a name each");
        for name in names {
            assert!(
                name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{name} must be a word that fits into a header or a label as it is"
            );
        }
    }
}
