//! What the VMs of one Envoy tell each other through shared data, and nothing else: no I/O, no clock, no proxy-wasm.
//!
//! [`Candidate`] decides which root context runs the relay. [`Relay`] speaks for the whole Envoy: it publishes what the control plane
//! says to the gates and reports what they hold. [`Permits`] keeps the bounds over all workers. Each takes inputs as method calls that
//! carry `now` and gives outputs that the shell carries out; values of shared data are [`Record`]s and [`Quota`]s under [`keys`].

#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod keys;
mod lease;
mod members;
mod permits;
mod quota;
mod record;
mod relay;
#[cfg(test)]
mod testing;

pub use lease::{Candidate, Lease, Step as LeaseStep};
pub use members::Members;
pub use permits::{Cells, Permits, close_accounts, strangers};
pub use quota::{Amount, Quota};
pub use record::{Field, Record};
pub use relay::{Command as RelayCommand, Gauges, Relay, RelayStart, SyncFailure};
