//! Facts about the fleet, message by message.

mod beginning;
mod contention;
mod draining;
mod others;
mod reporting;
mod twins;
mod unreached;
mod waking;
