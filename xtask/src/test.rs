//! The test ladder: every rung is run, counted from what its test runner prints, and summed up in one line;
//! another says what was skipped, why, and how many.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::run::{cargo, check, in_ci, on_path, root, say, target_dir};
use crate::tally::{Count, Tally};
use crate::{bench, dist, lint, tools};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Test {
    /// Only these rungs
    #[arg(long, value_enum)]
    rung: Vec<Rung>,
    /// Only tests whose name contains this
    filter: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Rung {
    /// Unit, property, golden and table tests of all crates
    Native,
    /// The tests of `hold` as WebAssembly, and the filter as it ships in a host that counts, under Node
    Wasm,
    /// The real filter in the real Envoy; the benchmarks, tried with little work
    E2e,
}

struct Outcome {
    tally: Tally,
    /// The runner ended well: a crash is a failure even if no test was counted as failed.
    succeeded: bool,
}

impl Outcome {
    fn plus(self, other: Self) -> Self {
        Self {
            tally: self.tally.plus(other.tally),
            succeeded: self.succeeded && other.succeeded,
        }
    }
}

impl Test {
    /// Runs the rungs in order; a rung that fails does not stop the next.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let all = [Rung::Native, Rung::Wasm, Rung::E2e];
        let mut lines = Vec::new();
        let mut total = Count::default();
        let mut succeeded = true;
        for rung in all
            .into_iter()
            .filter(|rung| self.rung.is_empty() || self.rung.contains(rung))
        {
            say(&format!("rung {rung:?}"));
            match rung.run(self.filter.as_deref()) {
                Ok(Ok(Outcome {
                    tally,
                    succeeded: ended_well,
                })) => {
                    let ended_well = ended_well && tally.may_stand(in_ci());
                    succeeded &= ended_well;
                    let word = if ended_well { "ok" } else { "FAILED" };
                    lines.push(format!("rung {rung:?}: {word}: {}", tally.count.shown()));
                    lines.extend(
                        tally
                            .skips()
                            .map(|skips| format!("rung {rung:?}: SKIPPED: {skips}")),
                    );
                    total = total.plus(tally.count);
                }
                Ok(Err(missing)) => {
                    succeeded &= !in_ci();
                    let word = if in_ci() { "FAILED" } else { "SKIPPED" };
                    lines.push(format!("rung {rung:?}: {word}: {missing}"));
                }
                Err(error) => {
                    succeeded = false;
                    lines.push(format!("rung {rung:?}: FAILED: {error:#}"));
                }
            }
        }
        println!("\n{}\n{}", lines.join("\n"), total.shown());
        anyhow::ensure!(succeeded, "not everything passed");
        Ok(())
    }
}

/// A part that this machine lacks, and how to get it.
type Missing = &'static str;

impl Rung {
    fn run(self, filter: Option<&str>) -> anyhow::Result<Result<Outcome, Missing>> {
        match self {
            Self::Native => native(filter).map(Ok),
            Self::Wasm if on_path("node").is_none() => Ok(Err("no node on PATH: apt-get install nodejs")),
            Self::Wasm => wasm(filter).map(Ok),
            Self::E2e if on_path("setpriv").is_none() => {
                Ok(Err("no setpriv on PATH: apt-get install util-linux"))
            }
            Self::E2e => e2e(filter).map(Ok),
        }
    }
}

fn native(filter: Option<&str>) -> anyhow::Result<Outcome> {
    let mut command = cargo(["test", "--workspace", "--no-fail-fast"]);
    command.args(["--exclude", "e2e", "--exclude", "bench"]);
    for package in lint::WASM {
        command.args(["--exclude", package]);
    }
    counted(command.args(filter))
}

fn wasm(filter: Option<&str>) -> anyhow::Result<Outcome> {
    let runner = tools::wasm_bindgen_test_runner()?;
    let args = [
        "test",
        "--target",
        "wasm32-unknown-unknown",
        "--package",
        "hold",
        "--package",
        "envoy-share",
        "--package",
        "protocol",
    ];
    let mut command = cargo(args);
    command
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner)
        .args(["--tests", "--no-fail-fast"]);
    let of_hold = counted(command.args(filter))?;
    Ok(of_hold.plus(of_the_filter(filter)?))
}

/// The filter as it ships in a host that counts: what a warm request costs (host calls, steps, memory), and what the shell does around
/// `hold`. Building the filter checks its size.
fn of_the_filter(filter: Option<&str>) -> anyhow::Result<Outcome> {
    let (shipped, steps) = (dist::filter()?, dist::filter_that_counts_its_steps()?);
    let node = |script: &str, modules: &[&PathBuf]| {
        let mut node = Command::new("node");
        node.arg(root().join("wasm-filter/tests").join(script))
            .args(modules);
        counted(node.args(filter))
    };
    let warm = node("warm.mjs", &[&shipped, &steps])?;
    Ok(warm.plus(node("members.mjs", &[&shipped])?))
}

fn e2e(filter: Option<&str>) -> anyhow::Result<Outcome> {
    let parts = Parts::build()?;
    let panics = dist::filter_that_panics()?;
    let next = dist::filter_of_the_next_format()?;
    let modules = bench::modules()?;
    let mut command = cargo(["test", "--profile", "bench", "--no-fail-fast"]);
    command.args(["--package", "e2e", "--package", "bench"]);
    parts.tell(&mut command);
    command.env("HOLDFAST_WASM_TEST", panics);
    command.env("HOLDFAST_WASM_NEXT", next);
    command.env(bench::MODULES, modules);
    counted(command.args(filter))
}

/// The programs that end-to-end tests and the demo run.
pub(crate) struct Parts {
    envoy: PathBuf,
    wasm: PathBuf,
    bin_dir: PathBuf,
}

impl Parts {
    /// Fetches and builds what is not there yet.
    pub(crate) fn build() -> anyhow::Result<Self> {
        let envoy = tools::envoy()?;
        let wasm = dist::filter()?;
        let args = ["build", "--release", "--bins", "--example", "grpc-echo"];
        check(cargo(args).args([
            "--package",
            "control-plane",
            "--package",
            "upstream",
            "--package",
            "e2e",
        ]))?;
        Ok(Self {
            envoy,
            wasm,
            bin_dir: target_dir().join("release"),
        })
    }

    /// Sets the variables in which the crate `e2e` looks for them.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env("ENVOY_BIN", &self.envoy);
        command.env("HOLDFAST_WASM", &self.wasm);
        command.env("HOLDFAST_BIN_DIR", &self.bin_dir);
    }
}

/// Runs tests, passes on what they print, and adds it up.
fn counted(command: &mut Command) -> anyhow::Result<Outcome> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let stdout = child.stdout.take().context("the tests have no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        tally.take(&line);
    }
    Ok(Outcome {
        tally,
        succeeded: child.wait()?.success(),
    })
}
