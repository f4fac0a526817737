//! Where and with what was measured.

use std::fmt;
use std::process::Command;

use harness::binaries;
use serde::{Deserialize, Serialize};

/// What has to be known to compare figures of two days.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, in its own words.
    pub cpu: String,
    /// Cores that may be used.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Envoy's version.
    pub envoy: String,
    /// The commit that was measured; `+` if files differ from it.
    pub commit: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = cpu.and_then(|rest| Some(rest.split_once(':')?.1.trim().to_owned()));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: kernel.trim().to_owned(),
            envoy: envoy(),
            commit: commit(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cpu,
            cores,
            kernel,
            envoy,
            commit,
        } = self;
        write!(
            f,
            "{cores} cores of {cpu}, Linux {kernel}, Envoy {envoy}, at {commit}"
        )
    }
}

/// `... version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`
fn envoy() -> String {
    let mut command = Command::new(binaries::envoy());
    let text = output(command.arg("--version"));
    let version = text.rsplit(": ").next().and_then(|rest| rest.split('/').nth(1));
    version.unwrap_or("of an unknown version").to_owned()
}

fn commit() -> String {
    let git = |args: &[&str]| output(Command::new("git").current_dir(binaries::root()).args(args));
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    if commit.is_empty() {
        return "an unknown commit".to_owned();
    }
    // The tables themselves are written by the measurement.
    let changed = git(&[
        "status",
        "--porcelain",
        "--",
        ":!README.md",
        ":!bench/README.md",
        ":!bench/results",
    ]);
    let mark = if changed.is_empty() { "" } else { "+" };
    format!("{commit}{mark}")
}

fn output(command: &mut Command) -> String {
    let out = command.output().ok().filter(|out| out.status.success());
    out.map_or_else(String::new, |out| {
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    })
}
