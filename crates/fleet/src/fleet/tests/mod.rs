//! Facts about the fleet, message by message.

mod beginning;
mod changes;
mod contention;
mod crowds;
mod draining;
mod known;
mod others;
mod renames;
mod reporting;
mod telling;
mod terms;
mod twins;
mod unreached;
mod waking;
