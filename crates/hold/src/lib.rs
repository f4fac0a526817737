//! The decisions inside Envoy, and nothing else: no I/O, no clock, no proxy-wasm.
//!
//! [`Gate`] owns the streams of one root context: it passes, holds or refuses each request. It takes inputs as method calls
//! that carry `now` and gives outputs from [`Gate::poll_output`]; the shell carries an [`Output`] out after its borrow has ended.
//!
//! What it is told of the targets ([`Manifest`], [`SlotRecord`]) and what it says of itself ([`GateStatus`]) are plain types here: how they get
//! from one VM to another is the crate `envoy-share`'s business.
//!
//! `now` is a [`Time`]: the age of the VM on a monotonic clock. No time is ever shared between VMs.

mod bound;
mod config;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod ids;
mod maps;
mod published;
mod reply;
mod status;
#[cfg(any(test, feature = "fuzz"))]
#[allow(
    clippy::panic,
    reason = "the helpers of tests fail as tests do, in a fuzzer too"
)]
#[doc(hidden)]
pub mod testing;
mod time;

pub use bound::Bound;
pub use config::{
    Answers, Buffers, Config, ConfigError, ControlPlane, Detail, Limits, Startup, StartupThen, Ticks,
};
pub use gate::{
    Answered, ArrivalDecision, ClusterLookup, ConfirmCall, ConfirmOutcome, ConfirmToken, Counts, Gate,
    LogLevel, Output, PermitRequest, REQUEST_CHARGE, Request, ReturnedPermits, SlotsToRead, Tally, TargetIx,
    TargetPermits, Ticket, Update, WarmDecision, Weight,
};
pub use ids::{GateId, Member, Slot, StreamId};
pub use maps::FixedMap;
pub use published::{Manifest, SlotRecord};
pub use reply::{Refusal, Reply};
pub use status::{GateStatus, TargetUsage, UnreachedCluster};
pub use time::Time;
