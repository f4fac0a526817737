//! Why a workload cannot start, in people's words: read from conditions of the workload and of its Pods. Pure.
//!
//! What it says may reach clients, so it is one line of bounded length, and repeats nothing that a container has said.
//! Nothing is done about a StatefulSet whose Pods a quota forbids: its controller says so in Events alone, which the
//! control plane may not read. Its requests are held until their deadline.

mod class;
mod conditions;
mod pods;
mod words;

use fleet::lifecycle::{self, FailureClass};

pub(super) use class::{of_admission, of_error, of_forbidden};
pub(super) use conditions::of_conditions;
pub use pods::Unscheduled;
pub(super) use pods::{of_containers, of_scheduling};

/// Why a workload cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which kind of reason.
    pub kind: Kind,
    /// What clients may be told of it.
    pub class: FailureClass,
    /// For people. Made by [`Failure::new`] alone: one line, bounded.
    pub reason: String,
}

impl Failure {
    /// `text` in one line, bounded, without credentials in URLs.
    pub fn new(kind: Kind, text: &str) -> Self {
        Self {
            kind,
            class: kind.class(),
            reason: words::one_line(text),
        }
    }

    /// The same, of a class of its own.
    pub fn classed(self, class: FailureClass) -> Self {
        Self { class, ..self }
    }

    /// As a life is told.
    pub fn for_life(&self) -> lifecycle::Failure {
        lifecycle::Failure::new(self.class, self.reason.as_str())
    }
}

/// Kinds of reasons, in the order in which they are told: where several apply, the first. What keeps everything from
/// starting comes before what keeps one Pod from it, a cause before what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The API server does not know the kind, or the kind has no scale subresource.
    KindNotScalable,
    /// There is no such object.
    WorkloadNotFound,
    /// We may not read or write it, or the API server refuses what we write.
    Refused,
    /// The API server cannot be reached, or answers with an error.
    Unreachable,
    /// No Pod can be created: a quota, an admission plugin.
    NoPods,
    /// An image cannot be pulled.
    Image,
    /// A container cannot be created.
    Create,
    /// A container ends again and again.
    CrashLoop,
    /// No node takes a Pod.
    Unschedulable,
    /// It made no progress in its `progressDeadlineSeconds`.
    Deadline,
}

impl Kind {
    /// What clients may be told of it, where nothing more is known.
    fn class(self) -> FailureClass {
        match self {
            Self::KindNotScalable | Self::WorkloadNotFound => FailureClass::NotFound,
            Self::Refused => FailureClass::ScaleRefused,
            Self::Unreachable => FailureClass::Unreachable,
            Self::NoPods => FailureClass::Quota,
            Self::Image => FailureClass::Image,
            Self::Create => FailureClass::Config,
            Self::CrashLoop => FailureClass::Crash,
            Self::Unschedulable => FailureClass::Unschedulable,
            Self::Deadline => FailureClass::Progress,
        }
    }

    /// Its name in Events and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::KindNotScalable => "KindNotScalable",
            Self::WorkloadNotFound => "WorkloadNotFound",
            Self::Refused => "Refused",
            Self::Unreachable => "Unreachable",
            Self::NoPods => "NoPods",
            Self::Image => "ImageNotPulled",
            Self::Create => "ContainerNotCreated",
            Self::CrashLoop => "CrashLoop",
            Self::Unschedulable => "Unschedulable",
            Self::Deadline => "DeadlineExceeded",
        }
    }
}
