//! Facts of the driver: an exchange with the test in the place of Envoy.

mod bodies;
mod ends;
mod losses;
mod phases;
mod properties;
pub(crate) mod support;
mod times;
