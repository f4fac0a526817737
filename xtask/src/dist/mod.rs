//! Builds the filter into `target/dist/`: compiles it, takes out the exports that do nothing, and has `wasm-opt` drop what
//! is no longer reached. The names of its functions are left out of what ships, and kept beside it for people.

mod exports;
mod licenses;
mod module;
mod parts;
mod programs;
mod release;
mod sbom;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::{check, say};
use crate::{toolchain, tools};
use tree::Tree;

/// The most that `holdfast.wasm` may weigh, in bytes.
const SIZE_MAX: usize = 400_000;

/// Control flow is taken apart and put together anew before the code is made small: 2 KB less than without.
const SMALLER: [&str; 5] = ["--flatten", "--rereloop", "-Oz", "-Oz", "--debuginfo"];

/// What Envoy's modules are built for.
pub(crate) const TRIPLE: &str = "wasm32-wasip1";

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Dist {
    /// Everything that a release ships, into target/dist/release: the filter, static programs, checksums, bill of materials,
    /// licenses
    #[arg(long, conflicts_with_all = ["test_panic", "test_next_format"])]
    all: bool,
    /// Make it twice, the second time from a copy of the repository elsewhere; fail unless both are equal byte for byte
    #[arg(long, conflicts_with_all = ["test_panic", "test_next_format"])]
    check: bool,
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
        let path = if self.all {
            let release = release::make()?;
            if self.check {
                release::check(&release)?;
            }
            release
        } else if self.test_panic {
            filter_that_panics()?
        } else if self.test_next_format {
            filter_of_the_next_format()?
        } else {
            let filter = filter()?;
            if self.check {
                release::check_filter(&filter)?;
            }
            filter
        };
        println!("{}", path.display());
        Ok(())
    }
}

/// The filter as it ships.
pub(crate) fn filter() -> anyhow::Result<PathBuf> {
    filter_of(&Tree::here())
}

/// A test: a clone elsewhere makes the same filter, byte for byte.
///
/// # Errors
/// If it makes another.
pub(crate) fn filter_is_reproducible() -> anyhow::Result<()> {
    release::check_filter(&filter()?)
}

fn filter_of(tree: &Tree) -> anyhow::Result<PathBuf> {
    let path = build(tree, None, "holdfast")?;
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
    let tree = Tree::here();
    check(&mut tree.cargo(["build", "--target", TRIPLE, "--package", "wasm-filter"]))?;
    Ok(tree.target.join(TRIPLE).join("debug/holdfast.wasm"))
}

/// The filter with the feature `test-panic`, for tests only.
pub(crate) fn filter_that_panics() -> anyhow::Result<PathBuf> {
    build(&Tree::here(), Some("test-panic"), "holdfast-test")
}

/// The filter with the feature `test-next-format`, for tests only.
pub(crate) fn filter_of_the_next_format() -> anyhow::Result<PathBuf> {
    build(&Tree::here(), Some("test-next-format"), "holdfast-next")
}

/// The filter as it ships, with a call to `logger.log_execution` at the beginning of every function and every loop.
pub(crate) fn filter_that_counts_its_steps() -> anyhow::Result<PathBuf> {
    let shipped = filter()?;
    // The one with names also says which features of WebAssembly it uses.
    let named = shipped.with_extension("debug.wasm");
    let counted = Tree::here().dist()?.join("holdfast-steps.wasm");
    wasm_opt(&named, &["--log-execution"], &counted)?;
    Ok(counted)
}

fn build(tree: &Tree, feature: Option<&str>, name: &str) -> anyhow::Result<PathBuf> {
    // What is missing is said before anything is compiled.
    tools::wasm_opt()?;
    toolchain::add_target(TRIPLE)?;
    let mut command = tree.cargo([
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
    check(command.args(tree.without_its_paths(TRIPLE)))?;
    let built = tree.target.join(TRIPLE).join("wasm/holdfast.wasm");
    shipped_into(&tree.dist()?, &built, name)
}

/// A module of the SDK's, linked, as it would ship: `target/dist/NAME.wasm`.
pub(crate) fn shipped(built: &Path, name: &str) -> anyhow::Result<PathBuf> {
    shipped_into(&Tree::here().dist()?, built, name)
}

fn shipped_into(dist: &Path, built: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let built = fs::read(built).with_context(|| built.display().to_string())?;
    let linked = module::with_exports(&built, exports::is_kept)?;
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

fn wasm_opt(input: &Path, args: &[&str], output: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("node");
    command.arg(tools::wasm_opt()?).arg(input).args(args);
    check(command.arg("--output").arg(output))
}
