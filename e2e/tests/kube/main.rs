//! The control plane against a real API server, and the real Envoy beside it: a file for each surface.

mod crd;
mod events;
mod failures;
mod ha;
mod harness;
mod hpa;
mod lease;
mod leaving;
mod many;
mod rename;
mod reroute;
mod rights;
mod scale;
mod way;
