//! `cargo xtask`: what a person or CI does with this repository. It builds, fetches and starts programs and says what
//! it does; it never installs anything outside `target/`.

mod bench;
mod demo;
mod dist;
mod lint;
mod mutants;
mod run;
mod tally;
mod test;
mod toolchain;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Builds, tests and shows Holdfast")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows a request that wakes a sleeping workload, from nothing but this repository
    Demo(demo::Demo),
    /// Runs every test, the least powerful rung first
    Test(test::Test),
    /// Formatting, clippy, documentation, licenses and sources, YAML, contracts and sizes of Rust files
    Lint,
    /// Measures what README quotes
    Bench(bench::Bench),
    /// Names small changes of the code that no test notices; needs cargo-mutants
    Mutants(mutants::Mutants),
    /// Builds target/dist/holdfast.wasm
    Dist(dist::Dist),
    /// Fetches what the tests need into target/tools
    Tools(tools::Tools),
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Demo(demo) => demo.run(),
        Task::Test(test) => test.run(),
        Task::Bench(bench) => bench.run(),
        Task::Lint => lint::run(),
        Task::Mutants(mutants) => mutants.run(),
        Task::Dist(dist) => dist.run(),
        Task::Tools(tools) => tools.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
