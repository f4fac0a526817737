//! The test ladder: every rung is run, counted from what its test runner prints, and summed up in one line;
//! another says what was skipped, why, and how many.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::run::{cargo, check, in_ci, on_path, root, say, target_dir};
use crate::tally::{Count, Tally};
use crate::{bench, demo, dist, lint, toolchain, tools};

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Test {
    /// Only these rungs
    #[arg(long, value_enum)]
    rung: Vec<Rung>,
    /// Only the rung `oldest`, with this version of Envoy in place of the oldest
    #[arg(long, value_name = "VERSION", value_parser = tools::versions(), conflicts_with = "rung")]
    envoy: Option<String>,
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
    /// The demo, and holds, sleep and outages end to end, with the oldest Envoy that is supported
    Oldest,
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
        let all = [Rung::Native, Rung::Wasm, Rung::E2e, Rung::Oldest];
        let mut report = Report::default();
        for rung in all.into_iter().filter(|rung| self.wants(*rung)) {
            say(&format!("rung {rung:?}"));
            let start = Instant::now();
            let result = rung.run(self);
            report.add(rung, result, start.elapsed());
        }
        println!("\n{}\n{}", report.lines.join("\n"), report.took());
        println!("{}", report.total.shown());
        anyhow::ensure!(!report.failed, "not everything passed");
        Ok(())
    }

    fn wants(&self, rung: Rung) -> bool {
        if self.envoy.is_some() {
            return rung == Rung::Oldest;
        }
        self.rung.is_empty() || self.rung.contains(&rung)
    }
}

/// What is printed when all rungs have run.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    took: Vec<String>,
    total: Count,
    failed: bool,
}

impl Report {
    fn add(&mut self, rung: Rung, result: anyhow::Result<Result<Outcome, Missing>>, took: Duration) {
        self.took.push(format!("{rung:?} {} s", took.as_secs()));
        let (failed, what) = match result {
            Ok(Ok(outcome)) => {
                let failed = !outcome.succeeded || !outcome.tally.may_stand(in_ci());
                let word = if failed { "FAILED" } else { "ok" };
                self.total = self.total.plus(outcome.tally.count);
                let skips = outcome.tally.skips();
                let skips = skips.map(|skips| format!("rung {rung:?}: SKIPPED: {skips}"));
                let lines = std::iter::once(format!("{word}: {}", outcome.tally.count.shown()));
                (failed, lines.chain(skips).collect::<Vec<_>>().join("\n"))
            }
            Ok(Err(missing)) if in_ci() => (true, format!("FAILED: {missing}")),
            Ok(Err(missing)) => (false, format!("SKIPPED: {missing}")),
            Err(error) => (true, format!("FAILED: {error:#}")),
        };
        self.failed |= failed;
        self.lines.push(format!("rung {rung:?}: {what}"));
    }

    /// How long each rung took, in one line; `.ci/run` looks for its first word.
    fn took(&self) -> String {
        format!("took: {}", self.took.join(", "))
    }
}

/// A part that this machine lacks, and how to get it.
type Missing = &'static str;

impl Rung {
    fn run(self, options: &Test) -> anyhow::Result<Result<Outcome, Missing>> {
        let filter = options.filter.as_deref();
        match self {
            Self::Native => native(filter).map(Ok),
            Self::Wasm if on_path("node").is_none() => Ok(Err("no node on PATH: apt-get install nodejs")),
            Self::Wasm => wasm(filter).map(Ok),
            Self::E2e | Self::Oldest if on_path("setpriv").is_none() => {
                Ok(Err("no setpriv on PATH: apt-get install util-linux"))
            }
            Self::E2e | Self::Oldest if on_path("node").is_none() => {
                Ok(Err("no node on PATH: apt-get install nodejs npm"))
            }
            Self::E2e => e2e(filter).map(Ok),
            Self::Oldest => with_envoy(options.envoy.as_deref().unwrap_or(tools::OLDEST), filter).map(Ok),
        }
    }
}

fn native(filter: Option<&str>) -> anyhow::Result<Outcome> {
    let mut command = cargo(["test", "--workspace", "--no-fail-fast"]);
    for package in END_TO_END.into_iter().chain(lint::WASM) {
        command.args(["--exclude", package]);
    }
    counted(command.args(filter))
}

fn wasm(filter: Option<&str>) -> anyhow::Result<Outcome> {
    toolchain::add_target("wasm32-unknown-unknown")?;
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
    // Linking the module and making it small keep one core busy, and so does Node.
    thread::scope(|scope| {
        let again = scope.spawn(dist::filter_is_reproducible);
        let warm = node("warm.mjs", &[&shipped, &steps])?;
        let members = node("members.mjs", &[&shipped])?;
        let reproducible = one("reproducible", joined(again));
        Ok(warm.plus(members).plus(reproducible))
    })
}

/// What the thread returned.
fn joined<T>(thread: ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow::anyhow!("a thread of xtask has panicked")))
}

fn e2e(filter: Option<&str>) -> anyhow::Result<Outcome> {
    tools::envoy(None)?;
    // Modules keep one core busy, and are built in other folders than programs: at the same time as those.
    let (parts, [panics, next, modules]) = thread::scope(|scope| {
        let modules = scope.spawn(|| {
            dist::filter()?;
            let (panics, next) = (dist::filter_that_panics()?, dist::filter_of_the_next_format()?);
            Ok([panics, next, bench::modules()?])
        });
        let programs = Parts::programs(PROFILE).and_then(|bin_dir| {
            check(end_to_end().arg("--no-run"))?;
            Ok(bin_dir)
        });
        let modules = joined(modules)?;
        anyhow::Ok((Parts::with(None, programs?)?, modules))
    })?;
    let mut command = end_to_end();
    parts.tell(&mut command);
    command.env("HOLDFAST_WASM_TEST", panics);
    command.env("HOLDFAST_WASM_NEXT", next);
    command.env(bench::MODULES, modules);
    counted(command.args(filter))
}

/// The packages whose tests start servers.
const END_TO_END: [&str; 3] = ["harness", "e2e", "bench"];

/// The profile of what runs end to end: that of a release, but for the tests' own code.
const PROFILE: &str = "bench";

/// Tests of all of these packages, whichever are run, so that nothing is built with other features.
fn end_to_end() -> Command {
    let mut command = cargo(["test", "--profile", PROFILE, "--no-fail-fast"]);
    for package in END_TO_END {
        command.args(["--package", package]);
    }
    // They wait more than they work: with two threads on two cores half of the machine is idle.
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env("RUST_TEST_THREADS", (2 * cores).min(8).to_string());
    }
    command
}

/// Modules of the end-to-end tests that show whether an Envoy does what Holdfast builds on.
const CORE: [&str; 3] = ["hold::", "sleep::", "outage::"];

/// The demo and the core of the end-to-end tests with that version of Envoy. The demo counts as one test.
fn with_envoy(version: &str, filter: Option<&str>) -> anyhow::Result<Outcome> {
    let parts = Parts::build(Some(version), PROFILE)?;
    let mut command = end_to_end();
    command.args(["--test", "envoy", "--"]);
    parts.tell(&mut command);
    let tests = match filter {
        Some(filter) => counted(command.arg(filter))?,
        None => counted(command.args(CORE))?,
    };
    let demo = one("demo", demo::try_out(&parts.envoy));
    let local_only = one("demo_without_kubernetes", demo::has_no_kubernetes());
    Ok(tests.plus(demo).plus(local_only))
}

/// A test that no runner counts.
fn one(name: &str, result: anyhow::Result<()>) -> Outcome {
    let succeeded = result.is_ok();
    match result {
        Ok(()) => println!("test {name} ... ok"),
        Err(error) => println!("test {name} ... FAILED\n{error:#}"),
    }
    Outcome {
        tally: Tally::of_one(succeeded),
        succeeded,
    }
}

/// The programs that end-to-end tests and benchmarks run.
pub(crate) struct Parts {
    envoy: PathBuf,
    wasm: PathBuf,
    bin_dir: PathBuf,
}

impl Parts {
    /// Fetches and builds what is not there yet, for the Envoy of that version, or the one that is there.
    pub(crate) fn build(envoy: Option<&str>, profile: &str) -> anyhow::Result<Self> {
        Self::with(envoy, Self::programs(profile)?)
    }

    fn with(envoy: Option<&str>, bin_dir: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            envoy: tools::envoy(envoy)?,
            wasm: dist::filter()?,
            bin_dir,
        })
    }

    /// Builds the programs and returns their folder.
    ///
    /// All packages that end-to-end tests and benchmarks build are named, so that their dependencies get one set of features
    /// and are built once.
    fn programs(profile: &str) -> anyhow::Result<PathBuf> {
        let args = ["build", "--profile", profile, "--bins", "--example", "grpc-echo"];
        let mut command = cargo(args);
        for package in ["control-plane", "upstream", "extproc-processors"]
            .into_iter()
            .chain(END_TO_END)
        {
            command.args(["--package", package]);
        }
        check(&mut command)?;
        // Both profiles' programs.
        Ok(target_dir().join("release"))
    }

    /// Sets the variables in which the crate `harness` looks for them.
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
