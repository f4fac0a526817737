//! Starts the test backend. Everything else is in the library, so that tests can call it.

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use clap::Parser;
use tracing::error;
use tracing_subscriber::{EnvFilter, fmt};
use upstream::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    fmt()
        .with_env_filter(filter)
        // Its own complaints go by `eprintln!`, which panics where stderr cannot be written.
        .log_internal_errors(false)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
    match upstream::run(Options::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}
