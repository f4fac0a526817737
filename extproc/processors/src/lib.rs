//! Ready external processors for Envoy, and the algorithms they are made of.
//!
//! [`algorithms`] does no I/O and knows neither Envoy nor an async runtime: a processor of your own may use it as it is.

pub mod algorithms;
pub mod processors;
#[cfg(test)]
mod testing;
