//! What the filter asks of its host for a warm request and for a change, counted and not timed: by Node, with the host of the
//! filter's own tests.

use std::process::Command;

use anyhow::{Context as _, ensure};
use harness::binaries;

/// Host calls of one request, the most of several numbers of targets.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct HostCalls {
    pub(crate) by_cluster: f64,
    pub(crate) by_host: f64,
}

/// What a change of one target takes, the relay's part and a gate's together: the mean of many.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct OfAChange {
    pub(crate) calls: f64,
    /// Bytes of shared data, read and written.
    pub(crate) bytes: f64,
}

/// Counts those of a warm request.
pub(crate) fn of_a_warm_request() -> anyhow::Result<HostCalls> {
    count(REQUEST, &[])
}

/// Counts those of a change, where so many targets are known.
pub(crate) fn of_a_change(targets: usize) -> anyhow::Result<OfAChange> {
    count(CHANGE, &[targets])
}

fn count<T: serde::de::DeserializeOwned>(script: &str, numbers: &[usize]) -> anyhow::Result<T> {
    let mut command = Command::new("node");
    command.args(["--input-type=module", "--eval", script, "--"]);
    command.args(numbers.iter().map(usize::to_string));
    command
        .current_dir(binaries::root())
        .env("MODULE", binaries::wasm());
    let output = command.output().context("node cannot be run")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "node: {errors}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("node: {errors}"))
}

const CHANGE: &str = r#"
    const { costsOfAChange } = await import(`${process.cwd()}/wasm-filter/tests/host.mjs`);
    const { sharedBytes, calls } = costsOfAChange(process.env.MODULE, Number(process.argv.at(-1)));
    console.log(JSON.stringify({ calls, bytes: sharedBytes }));
"#;

const REQUEST: &str = r#"
    const { name, total, warm } = await import(`${process.cwd()}/wasm-filter/tests/host.mjs`);
    const count = (by, request) => Math.max(...[1, 10_000].map((targets) => {
        const { action, calls } = warm(process.env.MODULE, targets, { by }).request(1000, request(name(targets - 1)));
        if (action !== 0) throw new Error(`must pass with ${targets} targets, by ${by}`);
        return total(calls);
    }));
    console.log(JSON.stringify({
        by_cluster: count("cluster", (cluster) => ({ cluster })),
        by_host: count("host", (n) => ({ cluster: "shared", headers: { ":authority": `${n}.example.com` } })),
    }));
"#;
