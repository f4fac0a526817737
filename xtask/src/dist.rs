//! Builds the filter into `target/dist/`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::run::{cargo, check, say, target_dir};

const TRIPLE: &str = "wasm32-wasip1";

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Dist {
    /// The test-only build that panics when told to: holdfast-test.wasm
    #[arg(long)]
    test_panic: bool,
}

impl Dist {
    /// Builds and prints the path, alone on the last line of standard output.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let path = if self.test_panic {
            filter_that_panics()?
        } else {
            filter()?
        };
        println!("{}", path.display());
        Ok(())
    }
}

/// The filter as it ships.
pub(crate) fn filter() -> anyhow::Result<PathBuf> {
    build(None, "holdfast.wasm")
}

/// The filter with the feature `test-panic`, for tests only.
pub(crate) fn filter_that_panics() -> anyhow::Result<PathBuf> {
    build(Some("test-panic"), "holdfast-test.wasm")
}

fn build(feature: Option<&str>, name: &str) -> anyhow::Result<PathBuf> {
    let mut command = cargo([
        "build",
        "--profile",
        "wasm",
        "--target",
        TRIPLE,
        "--package",
        "wasm-filter",
    ]);
    if let Some(feature) = feature {
        command.args(["--features", feature]);
    }
    check(&mut command).with_context(|| format!("if the target is missing: rustup target add {TRIPLE}"))?;
    let built = target_dir().join(TRIPLE).join("wasm/holdfast.wasm");
    let dist = target_dir().join("dist");
    fs::create_dir_all(&dist)?;
    // Moved into place, so that an Envoy that starts meanwhile reads the old module or the new one.
    let (new, path) = (dist.join(format!("{name}.new")), dist.join(name));
    fs::copy(&built, &new).with_context(|| built.display().to_string())?;
    fs::rename(&new, &path)?;
    say(&format!(
        "{name}: {} KiB",
        fs::metadata(&path)?.len().div_ceil(1024)
    ));
    Ok(path)
}
