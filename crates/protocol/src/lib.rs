//! What a proxy and the control plane say to each other: JSON bodies of `POST /v1/sync` and `POST /v1/report`.
//!
//! Types, and how JSON is read and written. Nothing here reads a clock, does I/O or decides anything. Unknown fields are ignored, so either side
//! may be newer than the other; durations are milliseconds (`_ms`), sizes are bytes.
//! The files in `tests/golden/` are the wire format; a change to one of them is a change of the protocol.

mod host;
mod identity;
mod json;
mod problem;
mod report;
mod sync;
mod target;
mod text;
mod units;

pub use host::{HOST_MAX, HostName, HostPattern, host_key};
pub use identity::{Incarnation, Proxy, Revision, TargetId};
pub use json::{JsonError, read_json, write_json};
pub use problem::Problem;
pub use report::{Report, Reporter, Unreached, Usage};
pub use sync::{SyncRequest, SyncResponse};
pub use target::{Confirm, Hold, Ignore, LossPolicy, Release, State, Target};
pub use text::deserialize_text;
pub use units::{UnitError, millis, parse_duration, parse_size};

/// Path of the long poll.
pub const SYNC_PATH: &str = "/v1/sync";
/// Path of the report, which is also the wake-up call.
pub const REPORT_PATH: &str = "/v1/report";
/// Header of the answer to a report: the instance that took the report, as in [`Revision::instance`]. If that is another
/// instance than the open poll went to, that poll will never be answered: the relay cancels it.
pub const INSTANCE_HEADER: &str = "holdfast-instance";
