//! What happened to which pod, and when.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use harness::unix_ms;

/// What happened to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It has a node and an IP.
    Bound,
    /// Its process runs.
    Started {
        /// Process id, of its group as well.
        pid: i32,
    },
    /// It cannot start; the reason is in its status.
    Waiting(String),
    /// The API server has taken its status as ready.
    Ready,
    /// The API server has taken its status as not ready any more.
    NotReady,
    /// The kubelet has seen that it is to be deleted.
    Terminating,
    /// Its process has been sent SIGTERM.
    Sigterm,
    /// Its process has ended: exit code, or `None` after a signal.
    Exited(Option<i32>),
    /// It is gone from the API server.
    Deleted,
}

/// One line of the journal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When, for differences.
    pub at: Instant,
    /// When, on the clock of [`harness::Event::unix_ms`] and of the audit log.
    pub unix_ms: u64,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its IP once it is bound; no other pod ever has it.
    pub ip: Option<Ipv4Addr>,
    /// What happened.
    pub what: What,
}

/// All entries so far, oldest first. Clones write to the same journal.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    pub(super) fn note(&self, namespace: &str, pod: &str, ip: Option<Ipv4Addr>, what: What) {
        let entry = Entry {
            at: Instant::now(),
            unix_ms: unix_ms(),
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            ip,
            what,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
