//! The log on standard error, which there is only with `-l`, as in the Python SDK.

use anyhow::anyhow;
use tracing::level_filters::LevelFilter;

/// Levels by their names in Python and in Rust.
fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_uppercase().as_str() {
        "TRACE" | "NOTSET" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "WARN" | "WARNING" => LevelFilter::WARN,
        "ERROR" | "CRITICAL" | "FATAL" => LevelFilter::ERROR,
        _ => return None,
    })
}

/// Logs from `name` on.
pub(super) fn begin(name: &str) -> anyhow::Result<()> {
    let level = level(name)
        .ok_or_else(|| anyhow!("LOG_LEVEL: there is no level `{name}`: DEBUG, INFO, WARNING or ERROR"))?;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| anyhow!("cannot log: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_names_of_python_in_either_case() {
        for (name, expected) in [
            ("INFO", Some(LevelFilter::INFO)),
            ("debug", Some(LevelFilter::DEBUG)),
            ("WARNING", Some(LevelFilter::WARN)),
            ("CRITICAL", Some(LevelFilter::ERROR)),
            ("LOUD", None),
        ] {
            assert_eq!(level(name), expected, "{name}");
        }
    }
}
