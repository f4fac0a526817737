//! Fetches the programs that the tests need, pinned, into `target/tools/`.

mod envoy;
mod grpcio;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::{cargo, check, on_path, root, say, target_dir};

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
    WasmBindgenTestRunner,
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
        if wanted(Tool::WasmBindgenTestRunner) {
            println!("{}", wasm_bindgen_test_runner()?.display());
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

/// The runner that matches the `wasm-bindgen` in Cargo.lock.
pub(crate) fn wasm_bindgen_test_runner() -> anyhow::Result<PathBuf> {
    let version = locked_version("wasm-bindgen")?;
    let tools = target_dir().join("tools");
    let binary = tools.join("bin/wasm-bindgen-test-runner");
    let has = Command::new(&binary).arg("--version").output();
    if has.is_ok_and(|out| {
        String::from_utf8_lossy(&out.stdout)
            .trim()
            .ends_with(&format!(" {version}"))
    }) {
        return Ok(binary);
    }
    say(&format!(
        "wasm-bindgen-test-runner {version}: building it takes some minutes, once"
    ));
    let mut install = cargo([
        "install",
        "wasm-bindgen-cli",
        "--bin",
        "wasm-bindgen-test-runner",
        "--force",
    ]);
    // In a folder of its own, which cargo deletes afterwards.
    install.env_remove("CARGO_TARGET_DIR");
    check(install.args(["--version", &version, "--root"]).arg(&tools))?;
    Ok(binary)
}

fn locked_version(package: &str) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let lock: Lock = toml::from_str(&fs::read_to_string(root().join("Cargo.lock"))?).context("Cargo.lock")?;
    let found = lock.package.into_iter().find(|locked| locked.name == package);
    found
        .map(|found| found.version)
        .with_context(|| format!("{package} is not in Cargo.lock"))
}
