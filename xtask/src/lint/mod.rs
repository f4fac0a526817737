//! Everything that is wrong without a test: each check is named, and all of them run before the first failure ends it.

mod deny;
mod files;
mod spdx;

use crate::run::{cargo, check, say};

type Check = fn() -> anyhow::Result<()>;

/// Runs all checks.
pub(crate) fn run() -> anyhow::Result<()> {
    let checks: [(&str, Check); 7] = [
        ("formatting", formatting),
        ("clippy", clippy),
        ("clippy, wasm32", clippy_wasm),
        ("documentation", documentation),
        ("licenses, sources and bans", deny::check),
        ("YAML", files::yaml),
        ("file sizes", files::sizes),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        say(&format!("lint: {name}"));
        if let Err(error) = check() {
            eprintln!("lint: {name}: {error:#}");
            failed.push(name);
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
    say("lint: clean");
    Ok(())
}

fn formatting() -> anyhow::Result<()> {
    check(&mut cargo(["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    let args = [
        "clippy",
        "--workspace",
        "--exclude",
        "wasm-filter",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    check(&mut cargo(args))
}

/// `--all-features` includes the test-only panic.
fn clippy_wasm() -> anyhow::Result<()> {
    let args = [
        "clippy",
        "--package",
        "wasm-filter",
        "--target",
        "wasm32-wasip1",
        "--",
        "-D",
        "warnings",
    ];
    check(&mut cargo(args))?;
    let args = [
        "clippy",
        "--package",
        "wasm-filter",
        "--target",
        "wasm32-wasip1",
        "--all-features",
    ];
    check(cargo(args).args(["--", "-D", "warnings"]))
}

/// A link to a private item leads nowhere on the page, but tells the reader of the source where to look.
fn documentation() -> anyhow::Result<()> {
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    let mut native = cargo(["doc", "--workspace", "--exclude", "wasm-filter", "--no-deps"]);
    check(native.env("RUSTDOCFLAGS", flags))?;
    let mut wasm = cargo([
        "doc",
        "--package",
        "wasm-filter",
        "--target",
        "wasm32-wasip1",
        "--no-deps",
    ]);
    check(wasm.env("RUSTDOCFLAGS", flags))
}
