//! The crate `extproc` as the external processor of the real Envoy: a file for each surface. No Holdfast is in it: processors run in
//! the test process, the upstream too, so that a test sees all of what the client, the processor and the upstream saw.

mod bodies;
mod chain;
mod closing;
mod duplex;
mod headers;
mod immediate;
mod lost;
mod many;
mod modes;
mod observe;
mod phases;
mod printed;
mod shipped;
mod sockets;
mod stop;
mod timeouts;
mod windows;
mod world;
