//! Facts about the task that owns a fleet.

mod asking;
mod keeping;
mod leading;
mod listeners;
mod turns;
