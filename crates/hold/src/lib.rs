//! The decisions inside Envoy, and nothing else: no I/O, no clock, no proxy-wasm.
//!
//! [`Gate`] owns the streams of one root context: it passes, holds or refuses each request. [`Relay`] speaks for the
//! whole Envoy: it publishes what the control plane says to the gates and reports what they hold. [`Candidate`] decides
//! which root context runs the relay. Each takes inputs as method calls that carry `now` and gives outputs from
//! `poll_command`; the shell carries a command out after its borrow has ended.
//!
//! `now` is a [`Time`]: the age of the VM on a monotonic clock. No time is ever shared between VMs.

mod config;
mod credits;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod ids;
mod json;
mod lease;
mod ledger;
mod maps;
mod record;
mod relay;
mod reply;
mod shared;
mod units;
pub mod wire;

pub use config::{
    Answers, Buffers, Config, ConfigError, ControlPlane, Detail, Limits, Startup, StartupThen, Ticks,
};
pub use credits::{Cells, Credits, close_accounts, strangers};
pub use gate::{
    Answered, Claim, Command as GateCommand, ConfirmCall, ConfirmToken, Counts, Found, Gate, GiveBack,
    Outcome, REQUEST_CHARGE, Request, Tally, TargetIx, Ticket, Update, Verdict, Wants, Warm, Weight,
};
pub use ids::{GateId, Slot, StreamId, Time};
pub use lease::{Candidate, Step as LeaseStep};
pub use ledger::{Bound, Credit, Ledger};
pub use record::{Field, Record};
pub use relay::{Command as RelayCommand, Gauges, Relay, RelayStart, SyncFailure};
pub use reply::{Refusal, Reply};
pub use shared::{Head, Lease, Member, Members, Row, RowEntry, RowUnreached, SlotRecord, keys};
pub use units::{millis, periods};
