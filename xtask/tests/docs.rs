//! The documents against the tree: what they name exists, and what they promise of the tree's structure holds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::os::unix::fs::PermissionsExt as _;
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
    assert!(existing_paths(document) > 0, "{document}: must name some path");
}

/// How many paths the document names, all of which exist.
fn existing_paths(document: &str) -> usize {
    let text = read(document);
    let paths = paths_in(&text);
    let count = paths.len();
    let missing: Vec<_> = paths
        .into_iter()
        .filter(|path| !path.starts_with("target/") && !root().join(path).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "{document} names what does not exist: {missing:?}"
    );
    count
}

#[test]
fn every_path_in_the_architecture_exists() {
    check_paths("ARCHITECTURE.md");
    let mut named = 0;
    for document in files_below("docs", "md") {
        let relative = document.strip_prefix(root()).unwrap().display().to_string();
        named += existing_paths(&relative);
    }
    assert!(named > 50, "docs/ must name paths: {named}");
}

#[test]
fn every_path_in_the_readme_exists() {
    check_paths("README.md");
    check_paths("SECURITY.md");
    check_paths("CONTRIBUTING.md");
}

/// Lines of code are commands as they are typed.
#[test]
fn what_the_readmes_have_kubectl_apply_or_start_is_there() {
    let (mut folders, mut scripts) = (0, 0);
    for document in ["README.md", "kubernetes/README.md"] {
        let text = read(document);
        for line in text.lines().filter_map(|line| line.strip_prefix("    ")) {
            let words: Vec<_> = line.split_whitespace().collect();
            if let ["kubectl", "apply", "-k", folder, ..] = words[..] {
                let kustomization = root().join(folder).join("kustomization.yaml");
                assert!(kustomization.is_file(), "{document}: {line}");
                folders += 1;
            }
            if let Some(script) = words.first().filter(|word| word.ends_with(".sh")) {
                let meta = std::fs::metadata(root().join(script));
                let mode = meta.map_or(0, |meta| meta.permissions().mode());
                assert!(mode & 0o111 != 0, "{document}: {script} must be a program");
                scripts += 1;
            }
        }
    }
    assert!(folders > 4 && scripts > 2, "must be found: {folders}, {scripts}");
}

#[test]
fn every_test_in_the_security_policy_exists() {
    let text = read("SECURITY.md");
    let tests: Vec<_> = promised(&text).collect();
    assert!(tests.len() >= 15, "must name tests: {tests:?}");
    let missing: Vec<_> = tests.into_iter().filter(|test| !is_there(test)).collect();
    assert!(
        missing.is_empty(),
        "SECURITY.md names what is not there: {missing:?}"
    );
    assert!(
        !is_there("hold::fuzz::tests::nothing"),
        "the check must be able to fail"
    );
    assert!(!is_there("e2e/tests/none.rs"), "the check must be able to fail");
    for row in text
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip_while(|line| !line.contains("| promise |"))
    {
        assert!(
            row.contains("| promise |") || promised(row).next().is_some(),
            "must name a test: {row}"
        );
    }
}

/// Tests between backticks: by path of a file, or `crate::module::test`.
fn promised(text: &str) -> impl Iterator<Item = &str> {
    let named = text.split('`').skip(1).step_by(2);
    named.filter(|word| !word.contains(' ') && (word.ends_with(".rs") || word.contains("::")))
}

/// A file of tests, or a function that has `#[test]` near it in a file of that module.
fn is_there(test: &str) -> bool {
    if test.ends_with(".rs") {
        let text = std::fs::read_to_string(root().join(test)).unwrap_or_default();
        return ["#[test]", "#[tokio::test", "both_relays!"]
            .iter()
            .any(|word| text.contains(word));
    }
    let mut parts = test.split("::");
    let package = parts.next().unwrap_or_default().replace('_', "-");
    let folder = match root().join("crates").join(&package) {
        library if library.is_dir() => format!("crates/{package}"),
        _ => package,
    };
    let name = test.rsplit("::").next().unwrap_or_default();
    let modules: Vec<_> = parts.take_while(|part| *part != name).collect();
    rust_files(&format!("{folder}/src")).into_iter().any(|file| {
        let path = file.display().to_string();
        let inside: Vec<_> = modules.iter().filter(|module| **module != "tests").collect();
        inside.iter().all(|module| path.contains(**module))
            && std::fs::read_to_string(&file)
                .unwrap()
                .contains(&format!("fn {name}("))
    })
}

#[test]
fn the_decisions_know_no_host_runtime_or_cluster() {
    check_is_pure("crates/protocol", &["serde", "serde_json", "serde_path_to_error"]);
    check_is_pure("crates/hold", &["protocol", "rustc-hash", "serde"]);
    check_is_pure("crates/envoy-share", &["hold", "protocol"]);
    let texts = ["schemars", "serde", "serde_json", "serde_norway", "thiserror"];
    check_is_pure("crates/fleet", &[&["protocol"], &texts[..]].concat());
}

#[test]
fn the_libraries_around_the_decisions_know_no_server_and_no_command_line() {
    for (folder, banned) in [
        (
            "crates/fleet-actor",
            &["axum", "clap", "hyper", "k8s-openapi", "kube", "control-plane"][..],
        ),
        ("crates/cluster", &["axum", "clap", "hyper", "control-plane"]),
    ] {
        let manifest = read(&format!("{folder}/Cargo.toml"));
        let names: Vec<_> = manifest
            .lines()
            .filter_map(|line| line.split(['.', ' ']).next())
            .collect();
        assert!(names.contains(&"fleet"), "{folder}: must be read: {names:?}");
        for name in banned {
            assert!(!names.contains(name), "{folder}: must not depend on {name}");
        }
    }
    for file in rust_files("control-plane/src") {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            !text.contains("kube::") || file.ends_with("cluster.rs"),
            "{}: the cluster is spoken to in crates/cluster alone",
            file.display()
        );
    }
}

/// A library that depends on these and no more (`optional` ones are for fuzzers), and that neither does I/O nor reads a clock.
fn check_is_pure(folder: &str, depends_on: &[&str]) {
    let manifest = read(&format!("{folder}/Cargo.toml"));
    assert!(
        !manifest.contains(".dependencies]"),
        "{folder}: must not depend on more for some targets"
    );
    let dependencies = manifest
        .split("[dependencies]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .unwrap_or_else(|| panic!("{folder}: must have dependencies"));
    let names: Vec<_> = dependencies
        .lines()
        .filter(|line| !line.contains("optional = true"))
        .filter_map(|line| line.split(['.', ' ']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, depends_on, "{folder}");
    for file in rust_files(&format!("{folder}/src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for banned in [
            "Instant::now",
            "SystemTime",
            // Addresses are data, sockets are not.
            "TcpStream",
            "TcpListener",
            "UdpSocket",
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
    files_below(folder, "rs")
}

fn files_below(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                out.push(path);
            }
        }
    }
    assert!(!out.is_empty(), "{folder}: must have {extension} files");
    out
}
