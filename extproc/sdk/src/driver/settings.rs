//! What all exchanges of one server share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::body::BodyMemory;
use crate::driver::stats::Stats;
use crate::immediate::Immediate;

/// What a server tells its exchanges to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    not(any(test, feature = "server")),
    allow(dead_code, reason = "servers tell it")
)]
pub(crate) enum Phase {
    /// Go on.
    #[default]
    Serve,
    /// Those that Envoy has no answer of end at once with UNAVAILABLE, so that it tries another processor.
    HandOver,
    /// All end with UNAVAILABLE.
    Cut,
}

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) stats: Arc<Stats>,
    pub(crate) memory: Arc<BodyMemory>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// The header that names the processors of a response, lower case.
    pub(crate) chain_header: Option<String>,
    /// The header that tells the nanoseconds that handlers took, lower case.
    pub(crate) duration_header: Option<String>,
    /// What clients get where a handler failed, as long as Envoy can still answer.
    pub(crate) on_fail: Option<Immediate>,
    pub(crate) keep_headers: bool,
    /// Answer the call at once, and not only together with the first answer of a phase.
    pub(crate) eager_headers: bool,
}
