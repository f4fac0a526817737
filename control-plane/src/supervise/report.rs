//! What a supervisor tells the control plane: one JSON object a line on its standard output.

use serde::{Deserialize, Serialize};

/// What the supervisor says, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The workload runs.
    Started {
        /// Its process id, which is its group's as well.
        pid: i32,
    },
    /// It could not be started; nothing follows.
    NotStarted {
        /// Why.
        error: String,
    },
    /// A line of its standard output. Said only if its output was asked for.
    Out {
        /// Without the line's end.
        line: String,
    },
    /// A line of its standard error. Said only if its output was asked for.
    Err {
        /// Without the line's end.
        line: String,
    },
    /// It prints more than is passed on.
    LeftOut {
        /// Lines that were left out since the last time.
        lines: u64,
    },
    /// The answer to `words`.
    Words {
        /// The last line of its standard error that is not empty.
        last: Option<String>,
    },
    /// It has ended and nothing of it is left; nothing follows.
    Gone {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
        /// The last line of its standard error that is not empty.
        last: Option<String>,
    },
}
