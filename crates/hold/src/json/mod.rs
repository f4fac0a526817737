//! JSON, as much of it as the filter reads and writes: [`Reader`] pulls values in the order in which they stand, and
//! [`Writer`] appends them. Never builds a tree, and never holds a number that is no whole one.
//!
//! Not serde: its derived code was a third of the module that every worker loads, and a snapshot of 10,000 targets is read
//! without a copy of itself. The tests hold both sides against serde.

mod number;
mod reader;
mod text;
mod writer;

pub(crate) use reader::{Error, Reader, missing};
pub(crate) use writer::Writer;

#[cfg(test)]
mod tests;
