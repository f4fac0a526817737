//! Ready external processors for Envoy, and the algorithms they are made of.
//!
//! [`processors`] are written on the crate `extproc`; [`catalog`] has them by name, as the program `extproc` serves them.
//! [`algorithms`] does no I/O and knows neither Envoy nor an async runtime: a processor of your own may use it as it is.

pub mod algorithms;
pub mod catalog;
mod cli;
pub mod processors;
pub mod settings;
#[cfg(test)]
mod testing;

pub use cli::Cli;
