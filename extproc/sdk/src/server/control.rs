//! The signals that stop a server.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, one after the other.
pub(super) struct Terminated {
    term: Signal,
    int: Signal,
}

/// # Errors
/// When the runtime cannot listen for signals.
pub(super) fn terminated() -> io::Result<Terminated> {
    Ok(Terminated {
        term: signal(SignalKind::terminate())?,
        int: signal(SignalKind::interrupt())?,
    })
}

impl Terminated {
    /// The next of them.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
