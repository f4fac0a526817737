//! What the user wrote: `ScaleTarget` documents, read into types that cannot hold nonsense.
//!
//! Reads text; opens no file, starts nothing and keeps nothing. Every error is one line that names file, document, field
//! and reason.

pub mod file;
pub mod keys;
mod nesting;
mod process;
pub mod spec;
pub mod target;
pub mod units;
pub mod words;

#[cfg(test)]
mod tests;

pub use file::{FileError, Needs, TargetsFile};

pub use keys::{ClusterKey, HostKey, MatchKeys};
pub use target::{Probe, Process, ScaleTarget, Workload};
pub use units::{HumanDuration, Size};
pub use words::Authority;
