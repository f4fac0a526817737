//! Builds the filter into `target/dist/`: compiles it, takes out the exports that do nothing, and has `wasm-opt` drop what
//! nobody reaches any more. The names of its functions are left out of what ships, and kept beside it for people.

mod exports;
mod module;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::{cargo, check, root, say, target_dir};
use crate::{toolchain, tools};

/// The most that `holdfast.wasm` may weigh, in bytes.
const SIZE_MAX: usize = 400_000;

/// Control flow is taken apart and put together anew before the code is made small: 2 KB less than without.
const SMALLER: [&str; 5] = ["--flatten", "--rereloop", "-Oz", "-Oz", "--debuginfo"];

/// What Envoy's modules are built for.
pub(crate) const TRIPLE: &str = "wasm32-wasip1";

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Dist {
    /// The test-only build that panics when told to: holdfast-test.wasm
    #[arg(long)]
    test_panic: bool,
    /// The test-only build whose shared data has the next format: holdfast-next.wasm
    #[arg(long, conflicts_with = "test_panic")]
    test_next_format: bool,
}

impl Dist {
    /// Builds and prints the path, alone on the last line of standard output.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let path = if self.test_panic {
            filter_that_panics()?
        } else if self.test_next_format {
            filter_of_the_next_format()?
        } else {
            filter()?
        };
        println!("{}", path.display());
        Ok(())
    }
}

/// The filter as it ships.
pub(crate) fn filter() -> anyhow::Result<PathBuf> {
    let path = build(None, "holdfast")?;
    let size = fs::metadata(&path)?.len();
    ensure!(
        size <= SIZE_MAX as u64,
        "holdfast.wasm has outgrown its {SIZE_MAX} bytes: it has {size}"
    );
    Ok(path)
}

/// The filter as the demo runs it: compiled in a fraction of the time, ten times as large, and needs no Node.
pub(crate) fn unoptimised_filter() -> anyhow::Result<PathBuf> {
    toolchain::add_target(TRIPLE)?;
    check(&mut cargo([
        "build",
        "--target",
        TRIPLE,
        "--package",
        "wasm-filter",
    ]))?;
    Ok(target_dir().join(TRIPLE).join("debug/holdfast.wasm"))
}

/// The filter with the feature `test-panic`, for tests only.
pub(crate) fn filter_that_panics() -> anyhow::Result<PathBuf> {
    build(Some("test-panic"), "holdfast-test")
}

/// The filter with the feature `test-next-format`, for tests only.
pub(crate) fn filter_of_the_next_format() -> anyhow::Result<PathBuf> {
    build(Some("test-next-format"), "holdfast-next")
}

/// The filter as it ships, with a call to `logger.log_execution` at the beginning of every function and every loop.
pub(crate) fn filter_that_counts_its_steps() -> anyhow::Result<PathBuf> {
    let shipped = filter()?;
    // The one with names also says which features of WebAssembly it uses.
    let named = shipped.with_extension("debug.wasm");
    let counted = dist_dir()?.join("holdfast-steps.wasm");
    wasm_opt(&named, &["--log-execution"], &counted)?;
    Ok(counted)
}

fn build(feature: Option<&str>, name: &str) -> anyhow::Result<PathBuf> {
    toolchain::add_target(TRIPLE)?;
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
    command.arg("--config").arg(without_paths_of_this_machine());
    check(&mut command)?;
    let built = target_dir().join(TRIPLE).join("wasm/holdfast.wasm");
    shipped(&built, name)
}

/// A module of the SDK's, linked, as it would ship: `target/dist/NAME.wasm`.
pub(crate) fn shipped(built: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let built = fs::read(built).with_context(|| built.display().to_string())?;
    let linked = module::with_exports(&built, exports::is_kept)?;
    let dist = dist_dir()?;
    let path = dist.join(format!("{name}.wasm"));
    let input = dist.join(format!("{name}.linked.wasm"));
    if path.is_file() && fs::read(&input).is_ok_and(|known| known == linked) {
        return Ok(path);
    }
    let named = dist.join(format!("{name}.debug.wasm"));
    let new = dist.join(format!("{name}.wasm.new"));
    fs::write(&new, &linked)?;
    wasm_opt(&new, &SMALLER, &named)?;
    let shipped = module::without_custom_sections(&fs::read(&named)?)?;
    let found = module::export_names(&shipped)?;
    ensure!(
        found.len() == exports::COUNT,
        "the module lacks an export that Envoy needs; it has {found:?}"
    );
    // Moved into place, so that an Envoy that starts meanwhile reads the old module or the new one.
    fs::write(&new, &shipped)?;
    fs::rename(&new, &path)?;
    fs::write(&input, &linked)?;
    say(&format!(
        "{name}.wasm: {} bytes; {name}.debug.wasm has the names of its functions",
        shipped.len()
    ));
    Ok(path)
}

/// Messages of panics name source files: the module must not depend on where they lie.
fn without_paths_of_this_machine() -> String {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let remap = |from: &Path, to: &str| format!("\"--remap-path-prefix={}={to}\"", from.display());
    let flags: Vec<_> = [(home.as_deref(), "/cargo"), (Some(root()), "/holdfast")]
        .into_iter()
        .filter_map(|(from, to)| Some(remap(from?, to)))
        .collect();
    format!("target.{TRIPLE}.rustflags=[{}]", flags.join(", "))
}

fn dist_dir() -> anyhow::Result<PathBuf> {
    let dist = target_dir().join("dist");
    fs::create_dir_all(&dist)?;
    Ok(dist)
}

fn wasm_opt(input: &Path, args: &[&str], output: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("node");
    command.arg(tools::wasm_opt()?).arg(input).args(args);
    check(command.arg("--output").arg(output))
}
