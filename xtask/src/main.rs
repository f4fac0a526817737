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
    /// Builds the filter, target/dist/holdfast.wasm, or all that a release ships
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::root;

    const DOCUMENTS: [&str; 6] = [
        "README.md",
        "CONTRIBUTING.md",
        "bench/README.md",
        "local-envoy/README.md",
        "docs/standalone.md",
        "docs/envoy.md",
    ];

    /// What follows `cargo xtask` in lines of code and between backticks, with a version where a document says `VERSION`.
    fn commands(text: &str) -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("    "));
        let code = lines.filter_map(|line| line.split(" #").next());
        let named = text.split('`').skip(1).step_by(2);
        code.chain(named)
            .filter_map(|words| words.split("cargo xtask ").nth(1))
            .map(|words| words.trim_end_matches([')', ' ']).replace("VERSION", "1.37.0"))
            .collect()
    }

    #[test]
    fn every_command_that_a_document_names_is_understood() {
        let mut found = 0;
        for document in DOCUMENTS {
            let text = std::fs::read_to_string(root().join(document)).unwrap();
            for command in commands(&text) {
                found += 1;
                let words = ["xtask"].into_iter().chain(command.split_whitespace());
                let parsed = Args::try_parse_from(words);
                assert!(
                    parsed.is_ok(),
                    "{document}: cargo xtask {command}: {}",
                    parsed.err().unwrap()
                );
            }
        }
        assert!(found > 20, "must have found the commands: {found}");
    }

    #[test]
    fn commands_are_found_in_code_and_in_sentences() {
        let text =
            "As `cargo xtask demo` does:\n\n    cargo xtask test --envoy VERSION   # slow\n    cargo build\n";
        assert_eq!(commands(text), ["test --envoy 1.37.0", "demo"]);
        let wrong = Args::try_parse_from(["xtask", "demo", "--port", "none"]);
        assert!(wrong.is_err(), "the check must be able to fail");
    }
}
