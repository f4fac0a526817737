//! Where the modules that Holdfast is compared with are found.

use std::path::PathBuf;

/// A module of `bench/modules/examples/`, built. Panics if it is not there: `cargo xtask bench` builds it.
pub(crate) fn module(name: &str) -> PathBuf {
    let dir = std::env::var_os("HOLDFAST_BENCH_MODULES").map(PathBuf::from);
    let dir =
        dir.expect("HOLDFAST_BENCH_MODULES: run `cargo xtask bench`, which builds the modules and sets it");
    let path = dir.join(format!("{name}.wasm"));
    assert!(path.is_file(), "no module {}", path.display());
    path
}
