//! The program `extproc`: serves the processors of this crate.

use std::process::ExitCode;

use clap::Parser;
use extproc_processors::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("extproc: {error:#}");
            ExitCode::FAILURE
        }
    }
}
