use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Form of the log, which goes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, fields at its top level.
    Json,
}

/// Starts the log. Refused: a filter that cannot be read, in one sentence.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter: EnvFilter = filter
        .parse()
        .map_err(|e| format!("--log {filter:?} cannot be read: {e}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr);
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
    Ok(())
}
