//! The Holdfast control plane: reads what is to be scaled, starts and stops it, and tells the proxies what to hold.
//!
//! Decisions are made by the crate `fleet`, which one task of the crate `fleet-actor` owns: what it decides is done by a backend,
//! told by [`http`] and counted by [`metrics`].
//! It never routes, and never holds a request: that is the proxies' part.

// Where stdout or stderr cannot be written, these panic.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod args;
pub mod backend;
pub mod http;
mod logs;
pub mod metrics;
mod open_files;
mod run;
mod serve;
pub mod supervise;
pub mod targets_file;

pub use run::run;
