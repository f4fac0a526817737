//! Leader election by a Lease, and the fence that keeps a former leader from writing.
//!
//! [`Election`] decides, [`Candidate`] asks the API server, [`Fence`] says to everybody else how long the leadership is
//! still good for. Nobody's clock is trusted but one's own, and of that only that it runs about as fast as the others'.

mod election;
mod fence;
#[cfg(test)]
mod model;
mod task;
#[cfg(test)]
mod tests;
mod wire;

pub use election::{Command, Election, Leading, Order, Outcome, Record, Stored};
pub use fence::Fence;
pub use task::{Candidate, Role};
