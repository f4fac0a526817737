//! The documents against the tree: what they name exists, and what they promise of the tree's structure holds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask stands in the root")
        .to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks, looks like a path, and starts with a folder or file of the root.
fn paths_in(text: &str) -> Vec<&str> {
    let named = text.split('`').skip(1).step_by(2);
    let is_path = |word: &&str| {
        let first = word.split('/').next().unwrap_or_default();
        word.contains('/')
            && !word.contains([' ', '*', '<', '{', ':', '$'])
            && !first.is_empty()
            && !first.contains('.')
            || word.ends_with(".md") && !word.contains(' ')
    };
    // Media types look like paths.
    named
        .filter(is_path)
        .filter(|word| !word.starts_with("application/"))
        .collect()
}

fn check_paths(document: &str) {
    let text = read(document);
    let paths = paths_in(&text);
    assert!(!paths.is_empty(), "{document}: must name some path");
    let missing: Vec<_> = paths
        .into_iter()
        .filter(|path| !path.starts_with("target/") && !root().join(path).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "{document} names what does not exist: {missing:?}"
    );
}

#[test]
fn every_path_in_the_architecture_exists() {
    check_paths("ARCHITECTURE.md");
}

#[test]
fn every_path_in_the_readme_exists() {
    check_paths("README.md");
    check_paths("CONTRIBUTING.md");
}

#[test]
fn the_decisions_know_no_host_runtime_or_cluster() {
    let manifest = read("hold/Cargo.toml");
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("hold has dependencies");
    let names: Vec<_> = dependencies
        .lines()
        .filter_map(|line| line.split(['.', ' ']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["protocol", "rustc-hash"]);
    for file in rust_files("hold/src") {
        let text = std::fs::read_to_string(&file).unwrap();
        for banned in [
            "Instant::now",
            "SystemTime",
            "std::net",
            "std::fs",
            "std::thread",
            "println!",
        ] {
            assert!(
                !text.contains(banned),
                "{}: must not use {banned}",
                file.display()
            );
        }
    }
}

#[test]
fn host_calls_are_made_in_one_module() {
    for file in rust_files("wasm-filter/src") {
        let text = std::fs::read_to_string(&file).unwrap();
        let is_host = file.ends_with("host.rs");
        assert_eq!(
            text.contains("hostcalls"),
            is_host,
            "{}: only host.rs may make host calls",
            file.display()
        );
    }
}

fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push(path);
            }
        }
    }
    assert!(!out.is_empty(), "{folder}: must have Rust files");
    out
}
