//! How many files this process may have open: as many as it is let. Its workloads get what it began with, since some
//! programs go through all numbers that a file could have.

use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// What this process began with.
static BEFORE: OnceLock<u64> = OnceLock::new();
/// Where the limit cannot be read.
const USUAL: usize = 1024;

/// Raises the limit to the highest that is allowed: how many files may be open now.
pub(crate) fn raise() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return USUAL;
    };
    let _ = BEFORE.set(soft);
    let now = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(e) => {
            warn!("the limit of open files stays at {soft}: {e}");
            soft
        }
    };
    usize::try_from(now).unwrap_or(usize::MAX)
}

/// What this process began with, if it was raised since.
pub(crate) fn before() -> Option<u64> {
    BEFORE.get().copied()
}

/// For this process and those it starts.
pub(crate) fn lower(to: u64) {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A workload that may open more than it expects is no reason not to run it.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, to.min(hard), hard);
    }
}
