//! External processors for Envoy: see [`Processor`] and [`Server`].
//!
#![doc = include_str!("../README.md")]

mod attributes;
mod body;
mod chain;
mod closures;
#[cfg(feature = "config")]
pub mod config;
mod driver;
mod edits;
mod erased;
mod exchange;
mod headers;
mod immediate;
mod modes;
mod needs;
mod processor;
mod reply;
#[cfg(feature = "server")]
mod server;
mod service;
mod stop;
mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod wire;

pub use body::{Body, BodyReader, BodyWriter, OnTooLarge};
pub use chain::{Chain, ChainState};
pub use closures::{Closures, processor};
pub use erased::{AnyState, Erased, ErasedProcessor};
pub use exchange::Exchange;
pub use headers::Headers;
pub use immediate::Immediate;
pub use modes::{BodyMode, Direction, ModeOverride, Modes};
pub use needs::{Accepts, Deadlines, Limits, Needs, OnDeadline, Prolong};
pub use processor::{End, Processor};
pub use reply::{BodyReply, HeadersReply, TrailersReply};
#[cfg(feature = "health")]
pub use server::Health;
#[cfg(feature = "tls")]
pub use server::Tls;
#[cfg(feature = "server")]
pub use server::{Bound, Http2, Listen, ServeError, Server, uds};
pub use service::ExternalProcessor;
pub use stop::{Failure, FailureKind, Reply, Stop};

/// The pages of `docs/`, whose snippets are compiled with the crate's tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/extproc.md")]
    mod guide {}
    #[doc = include_str!("../../../docs/extproc-modes.md")]
    mod modes {}
}
