//! Fetches the programs that the tests need, pinned, into `target/tools/`.

mod envoy;
mod grpcio;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

use crate::run::{check, on_path, root, say, target_dir};

pub(crate) use envoy::{OLDEST, envoy, versions};
use grpcio::grpcio;

/// Options of `cargo xtask tools`.
#[derive(clap::Args)]
pub(crate) struct Tools {
    /// Only this one
    tool: Option<Tool>,
    /// The version of Envoy
    #[arg(long, value_name = "VERSION", value_parser = versions())]
    envoy: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tool {
    Envoy,
    /// Of the Python yardstick in `bench/python/`: fetched only when it is named
    Grpcio,
    WasmOpt,
}

impl Tools {
    /// Fetches and prints the paths on standard output, one a line.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let wanted = |tool| self.tool.is_none_or(|only| only == tool);
        if wanted(Tool::Envoy) {
            println!("{}", envoy(self.envoy.as_deref())?.display());
        }
        if self.tool == Some(Tool::Grpcio) {
            println!("{}", grpcio()?.display());
        }
        if wanted(Tool::WasmOpt) {
            println!("{}", wasm_opt()?.display());
        }
        Ok(())
    }
}

/// `wasm-opt`, a program for Node, of the version and hash in `xtask/binaryen/package-lock.json`: npm checks both.
pub(crate) fn wasm_opt() -> anyhow::Result<PathBuf> {
    let lacks = |program| on_path(program).is_none();
    let needs =
        "the filter is built with wasm-opt, which needs Node and npm. On Debian: apt-get install nodejs npm";
    ensure!(!lacks("node"), needs);
    let pinned = root().join("xtask/binaryen");
    let lock = fs::read(pinned.join("package-lock.json"))?;
    let dir = target_dir().join("tools/binaryen");
    let binary = dir.join("node_modules/binaryen/bin/wasm-opt");
    // Copied last, so it says that what lies beside it is whole.
    let installed = dir.join("installed-lock.json");
    if fs::read(&installed).is_ok_and(|known| known == lock) && binary.is_file() {
        return Ok(binary);
    }
    ensure!(!lacks("npm"), needs);
    say(&format!("wasm-opt from npm (20 MB) into {}", dir.display()));
    fs::create_dir_all(&dir)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(pinned.join(file), dir.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel",
        "error",
    ]);
    check(npm.current_dir(&dir))?;
    fs::write(installed, lock)?;
    Ok(binary)
}
