//! What one root context does with its requests: [`Gate`] lets them pass, holds or refuses them, and releases what it holds
//! in order and at a pace.
//!
//! Never does I/O and never reads a clock: inputs are methods that carry `now`, outputs come from [`Gate::poll_output`]. A
//! request that passes allocates nothing. Every held request ends in exactly one of: resumed, refused, gone.
//!
//! The gate is composed of parts, each a file with private fields; none reaches into another, and only `Gate` knows them all:
//!
//! | part | owns |
//! |---|---|
//! | [`targets`], with [`table`] | the targets, their match keys, and which of them hold requests |
//! | [`entry`] | one target, composed of [`queues`], [`window`], [`usage`], its [`admission`] and its [`confirm`] |
//! | [`streams`] | the streams that were held, and their deadlines |
//! | [`early`] | requests that came before the first snapshot |
//! | [`strays`] | streams that no target was found for |
//! | [`permits`], [`status`], [`counts`], [`log`] | what is owed to the shell |
//!
//! How the parts work together is in [`warm`] (requests that pass), [`arrival`] (those that do not), [`release`] with
//! [`reroute`] (from held to gone), [`update`] (what the relay publishes) and [`output`] (in which order all of that leaves).

mod admission;
mod arrival;
mod confirm;
mod counts;
mod early;
mod entry;
mod headers;
mod log;
#[cfg(any(test, feature = "fuzz"))]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a model fails as tests do, in a fuzzer too"
)]
pub(crate) mod model;
mod output;
mod permits;
mod queues;
mod release;
mod reroute;
mod status;
mod strays;
mod streams;
mod table;
mod targets;
#[cfg(any(test, feature = "fuzz"))]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "the set-up of tests fails as tests do, in a fuzzer too, which needs a part of it"
)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod update;
mod usage;
mod warm;
mod window;

use std::collections::VecDeque;

pub use arrival::{ArrivalDecision, Ticket};
pub use confirm::{ConfirmCall, ConfirmOutcome, ConfirmToken};
pub use counts::{Counts, Tally};
pub use headers::{REQUEST_CHARGE, Request, Weight};
pub use log::LogLevel;
pub use output::Output;
pub use permits::{PermitRequest, ReturnedPermits, TargetPermits};
pub use streams::Answered;
pub use update::{SlotsToRead, Update};
pub use warm::{ClusterLookup, WarmDecision};

use confirm::Questions;
use early::Early;
use log::Log;
use permits::Permits;
use status::Status;
use strays::Strays;
use streams::Streams;
use targets::Targets;

use crate::{Config, Member, Time};

/// Place of one target within one gate. Never leaves the gate's own VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetIx(u32);

/// One root context's gate.
#[derive(Debug)]
pub struct Gate {
    config: Config,
    me: Member,
    /// The time of the last input that had one.
    now: Time,
    /// The last publication that was applied under this name.
    version: Option<u64>,
    /// The control plane is lost.
    lost: bool,
    targets: Targets,
    streams: Streams,
    early: Early,
    strays: Strays,
    questions: Questions,
    status: Status,
    permits: Permits,
    counts: Counts,
    log: Log,
    /// What follows from answers to outputs.
    follow_ups: VecDeque<Output>,
    /// Since the last [`Gate::handle_timeout`] not every question that is due has left.
    asks: bool,
    /// How many decisions may leave before the next [`Gate::handle_timeout`].
    decisions_left: u32,
    /// The status that has just left is news to the relay.
    notifies: bool,
    /// [`Output::Wake`] has left, and no `None` after it.
    wakes: bool,
}

impl Gate {
    /// A gate that knows no target yet. `now` is the start of the wait for the first snapshot.
    pub fn new(config: Config, me: Member, now: Time) -> Self {
        Self {
            early: Early::new(config.startup.clone(), now),
            config,
            me,
            now,
            version: None,
            lost: false,
            targets: Targets::default(),
            streams: Streams::default(),
            strays: Strays::default(),
            questions: Questions::default(),
            status: Status::new(),
            permits: Permits::default(),
            counts: Counts::default(),
            log: Log::default(),
            follow_ups: VecDeque::new(),
            asks: false,
            decisions_left: 0,
            notifies: false,
            wakes: false,
        }
    }

    /// The gate has registered again under another name: its permits and its status move with it from now on.
    pub fn rename(&mut self, me: Member) {
        self.me = me;
        self.version = None;
        self.status.change();
    }

    /// Whether each hold, confirm and release should leave a line for the log.
    pub fn set_verbose(&mut self, verbose: bool) {
        self.log.set_verbose(verbose);
    }

    /// The next output is a status, whether anything has changed or not: for the heartbeat.
    pub fn publish_status(&mut self, now: Time) {
        self.advance(now);
        self.status.want();
    }

    /// Carries out what is due at `now`, and lets the following outputs be questions and decisions about held requests. Call it
    /// where streams may be resumed and refused.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        self.streams.expire(now);
        for ix in self.targets.all_holding() {
            self.believe(now, ix);
            let Some(entry) = self.targets.get_mut(ix) else {
                continue;
            };
            entry.handle_timeout(now);
            if entry.next_release(now).is_some() {
                self.targets.set_ready(ix);
            }
        }
        self.asks = true;
        self.decisions_left = Self::DECISIONS;
    }

    /// When to call [`Gate::handle_timeout`] next, once every output has been taken; `None` if nothing is held.
    pub fn poll_timeout(&self) -> Option<Time> {
        let now = self.now;
        let holding = self.targets.holding().filter_map(|ix| self.targets.get(ix));
        let entries = holding.filter_map(|entry| entry.next_timeout(now, self.me.id));
        let deadline = self.streams.next_deadline();
        let startup = self.early.next_timeout(now);
        deadline.into_iter().chain(startup).chain(entries).min()
    }

    /// Requests held now, those waiting for the first snapshot included.
    pub fn held(&self) -> usize {
        self.early.waiting() + self.streams.held()
    }

    /// True if the next heartbeat should write a status.
    pub fn status_changed(&self) -> bool {
        self.status.has_changed()
    }

    /// Time never goes back: the end of a stream that only passed carries none.
    fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    fn log_debug(&mut self, event: &str, ix: TargetIx, more: impl FnOnce() -> String) {
        let targets = &self.targets;
        self.log.debug(|| {
            let id = targets.get(ix).map(|entry| entry.target().id.to_string());
            format!("{event} target={}{}", id.unwrap_or_default(), more())
        });
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Gate {
    /// True if nothing is left of any stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.early.is_empty() && self.targets.is_unused()
    }
}
