//! What a fleet tells a backend, and what it is told by it: the seam between decisions and what runs workloads.

use std::sync::Arc;

use protocol::TargetId;

use crate::config::ScaleTarget;
use crate::lifecycle::{Cause, Observed};

/// What a backend is told. Commands of one target come in the order of their numbers, and a later one overrides an
/// earlier one that is not yet carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The target is there, or its document has changed. The workload is left as it is.
    Adopt {
        /// Its document.
        spec: Arc<ScaleTarget>,
    },
    /// What was known as `from` is called `spec.id` from now on. Nothing else happens to it: its commands count on.
    /// What is seen is told anew, since what was told last may have gone to the former name.
    Rename {
        /// Its former name.
        from: TargetId,
        /// Its document.
        spec: Arc<ScaleTarget>,
    },
    /// Scale it up if it is at zero.
    Start {
        /// Which.
        id: TargetId,
        /// Number to be told in sightings once carried out.
        command: u64,
        /// Why.
        cause: Cause,
    },
    /// Scale it to zero.
    Stop {
        /// Which.
        id: TargetId,
        /// Number to be told in sightings once carried out.
        command: u64,
        /// Replicas when it was decided. If others are found, they stand: the command is told as carried out, with
        /// what is seen.
        from: u32,
    },
    /// It is no longer ours. The workload is left as it is.
    Release {
        /// Which.
        id: TargetId,
    },
    /// A proxy finds that no process listens although the target is ready: look whether that is so.
    Look {
        /// Which.
        id: TargetId,
    },
    /// A person turns it off or on; only for the manual backend.
    Toggle {
        /// Which.
        id: TargetId,
    },
}

/// What a backend sees of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub id: TargetId,
    /// What.
    pub seen: Observed,
}
