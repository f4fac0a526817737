//! Keeps the lines that the gate wants logged until the shell takes them. Never writes a log itself.

use std::collections::VecDeque;

/// How important a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Each hold, confirm and release: only while [`crate::Gate::set_verbose`] says so.
    Debug,
    /// For the operator: at most one line for each epoch and cluster.
    Warn,
}

/// Lines in the order in which they were left.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Whether lines of [`LogLevel::Debug`] are kept.
    verbose: bool,
    lines: VecDeque<(LogLevel, String)>,
}

impl Log {
    pub(super) fn set_verbose(&mut self, verbose: bool) {
        self.verbose = verbose;
    }

    pub(super) fn warn(&mut self, line: String) {
        self.lines.push_back((LogLevel::Warn, line));
    }

    /// `line` is called only if the log is verbose, so that a line that is not read costs nothing.
    pub(super) fn debug(&mut self, line: impl FnOnce() -> String) {
        if self.verbose {
            self.lines.push_back((LogLevel::Debug, line()));
        }
    }

    pub(super) fn next(&mut self) -> Option<(LogLevel, String)> {
        self.lines.pop_front()
    }
}
