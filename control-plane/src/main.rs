//! `control-plane`: see the crate's documentation.

use std::process::ExitCode;

use clap::Parser;
use control_plane::args::Args;

fn main() -> ExitCode {
    control_plane::run(Args::parse())
}
