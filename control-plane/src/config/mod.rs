//! What the user wrote: `ScaleTarget` documents, read into types that cannot hold nonsense.
//!
//! Reads text and files; starts nothing and keeps nothing. Every error is one line that names file, document, field
//! and reason.

pub mod file;
pub mod keys;
mod nesting;
mod process;
mod regular;
pub mod spec;
pub mod target;
pub mod units;
pub mod watch;
pub mod words;

#[cfg(test)]
mod tests;

pub use file::{FileError, Needs, TargetsFile};
pub(crate) use regular::read_regular;

pub use keys::{ClusterKey, HostKey, MatchKeys};
pub use target::{Probe, Process, ScaleTarget, Workload};
pub use units::{Size, Span};
pub use words::Authority;
