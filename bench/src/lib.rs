//! Measures, on loopback with the real Envoy, what README quotes. It compares, and never asserts a time: the figures are
//! what they are, and each goal says whether it was met.
//!
//! What is asserted is the work: a run whose requests were not all answered as they must be, or that measured something
//! else than it says, panics and leaves no figures behind.
//!
//! `bench/README.md` explains each benchmark and has the latest tables.

mod args;
mod bodies;
mod burst;
mod calm;
mod churn;
mod cores;
mod envoys;
mod fleet;
mod fleet_file;
mod held;
mod hop;
mod host_calls;
mod idle;
mod lane;
mod line;
mod linear_memory;
mod load;
mod machine;
mod manual;
mod modules;
mod pages;
mod proc;
mod release;
mod rounds;
mod size;
mod spread;
mod wake;
mod warm;

mod report;

pub use args::{Args, Name, Size};
pub use report::{Figure, Goal, Report};
