//! `holdfast.wasm`: the Proxy-Wasm shell around [`hold`] and [`envoy_share`]. One module for both roles: HTTP filter in the workers and
//! singleton service on the main thread.
//!
//! It decides nothing: it reads what these two need, and does what they say. Host calls are made in [`host`] only, and
//! never while a `Gate` or a `Relay` is borrowed.

mod calls;
mod entry;
mod filter_root;
mod heartbeat;
mod host;
mod membership;
mod metrics;
mod notifications;
mod permits;
mod relaying;
mod root;
mod shared;
mod stream;
mod test_panic;
