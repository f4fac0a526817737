//! Facts about the fleet, message by message.

mod draining;
mod others;
mod reporting;
