//! The log, on stderr. Whatever becomes of stderr, no caller that logs waits for it or fails with it (see [`lines`]).

mod lines;
mod plain;

use std::io::IsTerminal;
use std::time::Duration;

use clap::ValueEnum;
use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::EnvFilter;

use lines::Lines;
pub(crate) use plain::is_plain;

/// Longest wait for the last lines at the end of the process: stderr may have no reader.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Form of the log, which goes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, fields at its top level.
    Json,
}

/// The log while it is written.
pub(crate) struct Log {
    lines: Lines,
}

impl Log {
    /// One line that is no event: an error that ends the process.
    pub(crate) fn complain(&self, line: &str) {
        self.lines.push(format!("control-plane: {line}\n").as_bytes());
    }

    /// Waits for the last lines, a second at most.
    pub(crate) fn finish(self) {
        self.lines.flush(LAST_LINES);
    }
}

/// Starts the log; `lost` counts the lines that could not be written. Refused, in one sentence: a filter that cannot be
/// read, and a system without a thread to spare.
pub(crate) fn start(format: LogFormat, filter: &str, lost: Counter) -> Result<Log, String> {
    let filter: EnvFilter = filter
        .parse()
        .map_err(|e| format!("--log {filter:?} cannot be read: {e}"))?;
    let lines = Lines::start(std::io::stderr(), lost).map_err(|e| format!("no thread for the log: {e}"))?;
    let pen = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // Its own complaints go by `eprintln!`, which panics where stderr cannot be written.
        .log_internal_errors(false)
        .with_writer(move || pen.clone());
    match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        // The name `target` is ours: a scale target, not a module.
        LogFormat::Json => log
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
    }
    Ok(Log { lines })
}
