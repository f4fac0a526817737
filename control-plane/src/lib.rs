//! The Holdfast control plane: reads what is to be scaled, starts and stops it, and tells the proxies what to hold.
//!
//! Decisions are pure: [`life`] judges one target, [`fleet`] all of them, [`view`] keeps what is published. They read
//! no clock and do no I/O. What they decide is done by [`backend`], told by [`http`] and counted by [`metrics`].
//! It never routes, and never holds a request: that is the proxies' part.

// Where stdout or stderr cannot be written, these panic.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod args;
pub mod backend;
pub mod config;
pub mod fleet;
#[doc(hidden)]
pub mod fuzz;
pub mod hosts;
pub mod http;
pub mod kubernetes;
pub mod life;
mod logs;
pub mod metrics;
mod serve;
pub mod supervise;
pub mod time;
pub mod view;
