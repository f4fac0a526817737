//! `holdfast.wasm`: the Proxy-Wasm shell around [`hold`]. One module for both roles: HTTP filter in the workers and
//! singleton service on the main thread.
//!
//! It decides nothing: it reads what `hold` needs, and does what `hold` says. Host calls are made in [`host`] only, and
//! never while a `Gate` or a `Relay` is borrowed.

mod beat;
mod bells;
mod calls;
mod entry;
mod host;
mod metrics;
mod relaying;
mod root;
mod shared;
mod station;
mod stream;
mod test_panic;
