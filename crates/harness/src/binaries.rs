//! Where the programs under test are found.
//!
//! `cargo xtask test` builds everything and says so in the environment; under a plain `cargo test -p e2e` the
//! programs are built on demand, once for each test process, into the profile that the tests themselves were built in.
//!
//! | variable | what | otherwise |
//! |---|---|---|
//! | `HOLDFAST_BIN_DIR` | folder of `control-plane`, `upstream`, `extproc`, `examples/grpc-echo` | `cargo build` |
//! | `HOLDFAST_WASM` | the filter | `cargo xtask dist` |
//! | `HOLDFAST_WASM_TEST` | the filter with the feature `test-panic` | `cargo xtask dist --test-panic` |
//! | `HOLDFAST_WASM_NEXT` | the filter with the feature `test-next-format` | `cargo xtask dist --test-next-format` |
//! | `ENVOY_BIN` | Envoy | `cargo xtask tools envoy` |

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The control plane.
pub fn control_plane() -> PathBuf {
    bin_dir().join("control-plane")
}

/// The workload.
pub fn upstream() -> PathBuf {
    bin_dir().join("upstream")
}

/// The program that serves external processors.
pub fn extproc() -> PathBuf {
    bin_dir().join("extproc")
}

/// The gRPC client for people: the example `grpc-echo`.
pub fn grpc_echo() -> PathBuf {
    bin_dir().join("examples/grpc-echo")
}

/// The filter as it ships.
pub fn wasm() -> PathBuf {
    static WASM: OnceLock<PathBuf> = OnceLock::new();
    WASM.get_or_init(|| from_env_or("HOLDFAST_WASM", &["dist"]))
        .clone()
}

/// The filter with the feature `test-panic`: the request header `x-holdfast-test-panic` makes it panic.
pub fn wasm_test() -> PathBuf {
    static WASM: OnceLock<PathBuf> = OnceLock::new();
    WASM.get_or_init(|| from_env_or("HOLDFAST_WASM_TEST", &["dist", "--test-panic"]))
        .clone()
}

/// The filter with the feature `test-next-format`: a later version, as far as shared data is concerned.
pub fn wasm_next() -> PathBuf {
    static WASM: OnceLock<PathBuf> = OnceLock::new();
    WASM.get_or_init(|| from_env_or("HOLDFAST_WASM_NEXT", &["dist", "--test-next-format"]))
        .clone()
}

/// Envoy.
pub fn envoy() -> PathBuf {
    static ENVOY: OnceLock<PathBuf> = OnceLock::new();
    ENVOY
        .get_or_init(|| from_env_or("ENVOY_BIN", &["tools", "envoy"]))
        .clone()
}

fn bin_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        if let Some(dir) = std::env::var_os("HOLDFAST_BIN_DIR") {
            return PathBuf::from(dir);
        }
        // target/<profile>/deps/<test>-<hash>, or target/<profile>/<binary>
        let exe = std::env::current_exe().unwrap();
        let profile = exe
            .ancestors()
            .find(|dir| dir.join("build").is_dir() && dir.join("deps").is_dir());
        let profile = profile.expect("tests run from a target directory");
        eprintln!(
            "e2e: HOLDFAST_BIN_DIR is not set: building control-plane, upstream, extproc and grpc-echo"
        );
        let mut cargo = cargo();
        cargo.args([
            "build",
            "--quiet",
            "--bins",
            "--example",
            "grpc-echo",
            "-p",
            "control-plane",
            "-p",
            "upstream",
            "-p",
            "extproc-processors",
        ]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        run(cargo);
        profile.to_owned()
    })
}

/// The last line that `cargo xtask <args>` prints is the path of what it made.
fn from_env_or(variable: &str, args: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "{variable}={} is not a file", path.display());
        return path;
    }
    eprintln!(
        "e2e: {variable} is not set: running cargo xtask {}",
        args.join(" ")
    );
    let mut cargo = cargo();
    cargo.arg("xtask").args(args);
    let out = run(cargo);
    PathBuf::from(
        out.lines()
            .last()
            .expect("cargo xtask must print the path of what it made"),
    )
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

fn run(mut command: Command) -> String {
    let out = command.stderr(std::process::Stdio::inherit()).output().unwrap();
    assert!(out.status.success(), "{command:?} failed: {}", out.status);
    String::from_utf8(out.stdout).unwrap()
}
