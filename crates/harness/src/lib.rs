//! Runs the real Envoy with the real `holdfast.wasm`, the real control plane and the real upstream on loopback.
//!
//! A test says what is special about it and gets everything started, ready, and cleaned up when it ends:
//!
//! ```no_run
//! # use harness::{Stack, Target};
//! # async fn test() {
//! let stack = Stack::builder().target(Target::http("web").idle("2s")).start().await;
//! let reply = stack.client("web").get("/hello").send().await;
//! assert_eq!(reply.status, 200);
//! stack.control.wait_for("web", "asleep").await;
//! # }
//! ```
//!
//! The harness never asserts anything about Holdfast and never sleeps to let things happen: it waits for conditions
//! ([`eventually`]). Every port is free and reserved for this process, every server runs in its own process group and
//! is killed when its handle is dropped, or when the test process dies. When a test fails, the end of every server's
//! log is printed. What Envoy runs is `local-envoy/envoy.yaml` with other ports, so what ships is what is tested.
//!
//! Which binaries are run: see [`binaries`].

pub mod binaries;
mod body;
mod connection;
mod control;
mod culprit;
mod culprit_grpc;
mod culprit_h2;
mod culprit_tls;
mod cutter;
mod door;
mod envoy;
mod envoy_config;
mod events;
mod eventually;
pub mod grpc;
mod http_client;
mod journal;
mod ports;
mod process;
mod relays;
mod shipped;
pub mod skip;
mod stack;
mod target;
mod websocket;

pub use body::{Progress, Upload, sha256};
pub use control::{Control, ControlBuilder, sum_of_samples};
pub use culprit::{Culprit, Fault};
pub use culprit_grpc::NoCall;
pub use culprit_h2::Health;
pub use culprit_tls::{OtherName, Tls};
pub use cutter::Cutter;
pub use door::Door;
pub use envoy::{Envoy, EnvoyBuilder};
pub use events::{Event, Events, unix_ms};
pub use eventually::{eventually, holds_for};
pub use http_client::{Answer, Call, Client, Pending, Reply};
pub use journal::Journal;
pub use ports::free_port;
pub use process::Process;
pub use shipped::Shipped;
pub use stack::{Stack, StackBuilder};
pub use target::{Kind, Target, set};
pub use websocket::WebSocket;
