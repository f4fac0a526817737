//! The protocol's messages as JSON, as the relay reads and writes them. Fields that it does not know are skipped.
//!
//! The types and their format are the crate `protocol`'s; the tests hold this module against it, byte for byte.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::read_sync_response;
pub(crate) use write::problem;
pub use write::{report, sync_request};
