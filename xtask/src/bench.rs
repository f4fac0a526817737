//! `cargo xtask bench`: builds everything that is measured, and measures.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run::{cargo, check, target_dir};
use crate::test::Parts;
use crate::{dist, toolchain};

/// The variable in which the crate `bench` finds them.
pub(crate) const MODULES: &str = "HOLDFAST_BENCH_MODULES";

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Handed on; `cargo xtask bench -- --help` lists them: names of benchmarks, --quick, --write
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Bench {
    /// Fails if something could not be measured; a goal that was missed is shown, and no failure.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let parts = Parts::build(None, "release")?;
        let modules = modules()?;
        // Started directly: `cargo run` would build its dependencies anew, with the features that it alone asks for.
        let mut command = Command::new(target_dir().join("release/bench"));
        parts.tell(&mut command);
        command.env(MODULES, modules);
        command.arg("--out").arg(target_dir().join("bench"));
        check(command.args(&self.args))
    }
}

/// Builds the modules that Holdfast is compared with, and returns their folder.
pub(crate) fn modules() -> anyhow::Result<PathBuf> {
    let args = [
        "build",
        "--profile",
        "wasm",
        "--target",
        dist::TRIPLE,
        "--package",
        "bench-modules",
        "--examples",
    ];
    toolchain::add_target(dist::TRIPLE)?;
    check(&mut cargo(args))?;
    let dir = target_dir().join(dist::TRIPLE).join("wasm/examples");
    // Asks as Holdfast does, so it has the callbacks that Holdfast has, and no more. The others are as the SDK makes them.
    let asking = dist::shipped(&dir.join("ask.wasm"), "ask")?;
    fs::copy(&asking, dir.join("ask.shipped.wasm"))?;
    Ok(dir)
}
