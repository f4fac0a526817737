//! Facts about the fleet, message by message.

mod beginning;
mod draining;
mod others;
mod reporting;
