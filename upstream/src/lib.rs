//! The test backend: HTTP, WebSocket and server-sent events on one port, gRPC on another, and a journal of all that reached it.
//!
//! It answers what it is asked and writes down every request in the order of arrival, those after SIGTERM included, so
//! that a test can say what a proxy in front of it did. It never keeps a request's body, never decides anything from an
//! earlier request, and is never part of a product's path: no authentication, no TLS.
//! [`echo`] holds the generated gRPC client for tests.

// Where stdout or stderr cannot be written, these panic.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod admit;
mod app;
mod duration;
mod grpc;
mod http;
mod journal;
mod json;
mod options;
mod record;
mod run;
mod serve;
mod websocket;

pub mod echo;

pub use app::App;
pub use duration::{HumanDuration, HumanDurationError};
pub use grpc::router as grpc_router;
pub use http::router as http_router;
pub use journal::Journal;
pub use options::Options;
pub use record::{Counts, Event, Kind, Record, Request};
pub use run::run;
