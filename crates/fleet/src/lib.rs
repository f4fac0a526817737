//! The control plane's decisions: what is started and stopped, and what the proxies are told.
//!
//! [`lifecycle`] judges one target, a [`Fleet`] all of them and all proxies, [`view`] keeps what is published; [`config`] reads what
//! users write. Nothing here reads a clock, opens a file or a socket, or starts a task: inputs are methods that take the time,
//! outputs are drained. [`Command`](command::Command) and [`Sighting`](command::Sighting) are the seam to what runs workloads.

pub mod backoff;
pub mod bucket;
pub mod command;
pub mod config;
mod fleet;
#[doc(hidden)]
pub mod fuzz;
pub mod hosts;
pub mod lifecycle;
pub mod line;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod view;

pub use fleet::*;
