//! Facts about the task that owns a fleet.

mod listeners;
mod turns;
