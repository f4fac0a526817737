//! The lines of the journal. Types only: a test that reads a journal file parses each line as a [`Record`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Process that wrote it: several lives of a backend may append to one file.
    pub pid: u32,
    /// Time since that process opened its journal, in microseconds; monotonic.
    pub t_us: u64,
    /// Wall clock in microseconds since 1970, to lay the journals of several processes side by side. Not for order.
    pub unix_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened, told apart by the field `event`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The process runs; nothing listens yet.
    Start {
        /// Its `--name`.
        name: String,
    },
    /// The port of `--ready-listen` answers, which may be long before `Ready`.
    SaidReady {
        /// Its address.
        address: SocketAddr,
    },
    /// Both main ports listen.
    Ready {
        /// Address of the HTTP port.
        http: SocketAddr,
        /// Address of the gRPC port.
        grpc: SocketAddr,
    },
    /// SIGTERM (or SIGINT) was received.
    Sigterm,
    /// The head of a request was read.
    Request(Request),
    /// The process ends by itself. Absent after SIGKILL.
    Exit {
        /// Its exit code.
        code: u8,
        /// Requests that had not ended when the grace time was over.
        cut: usize,
    },
}

/// A request, as it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Place in the order of arrival at this process, from 0, over both ports. Lines stand in this order.
    pub seq: u64,
    /// What it speaks.
    pub kind: Kind,
    /// HTTP method.
    pub method: String,
    /// Path without query; for gRPC `/package.Service/Method`. Cut at 256 characters.
    pub path: String,
    /// Query parameter `id`, else header `x-request-id`. Cut at 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Header `user-agent`, which tells a proxy's own requests apart. Cut at 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// It began after this process had received SIGTERM.
    pub after_sigterm: bool,
    /// It was refused because `--max-concurrency` was reached.
    pub refused: bool,
}

/// What a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Plain HTTP, server-sent events included.
    Http,
    /// `content-type: application/grpc*`.
    Grpc,
    /// An upgrade, or an extended CONNECT, to WebSocket.
    Websocket,
    /// `GET /count` and `GET /journal`: recorded, but in no count, so that looking changes nothing.
    Look,
}

/// Body of `GET /count`: how many requests began in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// `http` + `grpc` + `websocket`.
    pub served: u64,
    /// Plain HTTP requests that were let in.
    pub http: u64,
    /// gRPC requests that were let in.
    pub grpc: u64,
    /// WebSockets that were let in.
    pub websocket: u64,
    /// Requests refused because `--max-concurrency` was reached.
    pub refused: u64,
    /// Requests of any kind, refused ones included, that began after SIGTERM.
    pub after_sigterm: u64,
    /// Requests let in and not yet ended, WebSockets included.
    pub in_flight: usize,
    /// Records that `GET /journal` no longer has (the file has them all).
    pub forgotten: u64,
    /// Records that could not be written to the file.
    pub lost: u64,
}
