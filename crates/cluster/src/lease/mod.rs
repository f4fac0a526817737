//! Leader election by a Lease, and the fence that keeps a former leader from writing.
//!
//! [`Election`] decides, [`Candidate`] asks the API server, [`Fence`](fleet_actor::Fence) says to all other tasks how long the leadership is
//! still good for. A candidate trusts its own clock alone, and of that only that it runs about as fast as the others'.

mod election;
#[cfg(test)]
mod model;
mod task;
#[cfg(test)]
mod tests;
mod wire;

pub use election::{Command, Election, Leading, Order, Outcome, Record, Stored};
pub use task::{Candidate, Role};
