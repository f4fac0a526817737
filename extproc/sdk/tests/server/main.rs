//! Facts of the server, seen by real clients over TCP and unix sockets: gRPC by tonic, and HTTP/2 by h2 where frames matter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

mod bounds;
mod extras;
mod resets;
mod stop;
mod support;
mod tls;
