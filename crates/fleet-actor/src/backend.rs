//! The seam to what runs workloads: a backend takes [`Command`]s and tells what it sees as [`Sighting`]s.
//!
//! It decides nothing: when something is started or stopped is decided by a target's life.

use futures_util::future::BoxFuture;

use fleet::command::{Command, Sighting};

/// Starts and stops workloads.
pub trait Backend: Send + 'static {
    /// Carries a command out, or sees to it that it is: must not block. Returns what can be seen at once; what is seen
    /// later is told to the fleet's handle.
    fn carry_out(&mut self, command: Command) -> Vec<Sighting>;

    /// Ends well: what must not outlive the control plane is stopped.
    fn shut_down(self) -> BoxFuture<'static, ()>;
}
