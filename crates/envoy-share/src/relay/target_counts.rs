//! Counts targets as they change, because the gauges ask for the counts at every callback.

use protocol::{State, Target};

/// How many of the published targets are ready, and how many are not understood.
#[derive(Debug, Default)]
pub(super) struct TargetCounts {
    ready: u64,
    unknown: u64,
}

impl TargetCounts {
    /// Counts what is in a place from now on.
    pub(super) fn enter(&mut self, target: Option<&Target>) {
        let (ready, unknown) = kinds(target);
        self.ready += ready;
        self.unknown += unknown;
    }

    /// What was in a place is about to change, or to go.
    pub(super) fn leave(&mut self, target: Option<&Target>) {
        let (ready, unknown) = kinds(target);
        self.ready = self.ready.saturating_sub(ready);
        self.unknown = self.unknown.saturating_sub(unknown);
    }

    /// Targets that are ready.
    pub(super) fn ready(&self) -> u64 {
        self.ready
    }

    /// Targets of which a later version says something that this one does not understand.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }
}

fn kinds(target: Option<&Target>) -> (u64, u64) {
    let is = |what: fn(&Target) -> bool| u64::from(target.is_some_and(what));
    (
        is(|target| target.state == State::Ready),
        is(Target::has_unknown_words),
    )
}
