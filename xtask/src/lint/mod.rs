//! Everything that is wrong without a test: each check is named, and all of them run before the first failure ends it.

mod deny;
mod files;

use crate::dist::TRIPLE;
use crate::run::{cargo, check, say};
use crate::toolchain;

/// What links only for WebAssembly.
pub(crate) const WASM: [&str; 2] = ["wasm-filter", "bench-modules"];

type Check = fn() -> anyhow::Result<()>;

/// Runs all checks.
pub(crate) fn run() -> anyhow::Result<()> {
    let checks: [(&str, Check); 8] = [
        ("formatting", formatting),
        ("clippy", clippy),
        ("clippy, control plane without Kubernetes", clippy_local_only),
        ("clippy, wasm32", clippy_wasm),
        ("documentation", documentation),
        ("licenses, sources and bans", deny::check),
        ("YAML", files::yaml),
        ("Rust files", files::rust),
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
    let mut native = cargo(["clippy", "--workspace", "--all-targets"]);
    for package in WASM {
        native.args(["--exclude", package]);
    }
    check(native.args(["--", "-D", "warnings"]))
}

/// What the demo builds; its tests are those with the feature.
fn clippy_local_only() -> anyhow::Result<()> {
    let args = [
        "clippy",
        "--package",
        "control-plane",
        "--no-default-features",
        "--all-targets",
    ];
    check(cargo(args).args(["--", "-D", "warnings"]))
}

/// `--all-features` includes the test-only panic.
fn clippy_wasm() -> anyhow::Result<()> {
    toolchain::add_target(TRIPLE)?;
    for package in WASM {
        for features in [None, Some("--all-features")] {
            let args = ["clippy", "--package", package, "--lib", "--examples"];
            let mut command = cargo(args);
            command.args(["--target", TRIPLE]).args(features);
            check(command.args(["--", "-D", "warnings"]))?;
        }
    }
    Ok(())
}

/// A link to a private item leads nowhere on the page, but tells the reader of the source where to look.
fn documentation() -> anyhow::Result<()> {
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    let mut native = cargo(["doc", "--workspace", "--no-deps"]);
    let mut wasm = cargo(["doc", "--target", TRIPLE, "--no-deps"]);
    for package in WASM {
        native.args(["--exclude", package]);
        wasm.args(["--package", package]);
    }
    check(native.env("RUSTDOCFLAGS", flags))?;
    check(wasm.env("RUSTDOCFLAGS", flags))
}
