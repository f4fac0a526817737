//! What `cargo xtask mutants` leaves out is there: a function that has another name by now would be left out no more, and its reason
//! stand for nothing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests"
)]

use std::path::{Path, PathBuf};

#[test]
fn what_is_left_out_by_name_exists() {
    let text = std::fs::read_to_string(root().join(".cargo/mutants.toml")).unwrap();
    let settings: toml::Table = text.parse().unwrap();
    let mut sources = String::new();
    for folder in globs(&settings) {
        read_all(&root().join(&folder), &mut sources);
    }
    let patterns = texts(&settings, "exclude_re");
    let names: Vec<_> = patterns.iter().flat_map(|pattern| functions(pattern)).collect();
    assert!(names.len() > 10, "must name functions: {names:?}");
    for (owner, function) in names {
        let owned = owner.is_empty()
            || [" ", "<"]
                .iter()
                .any(|end| sources.contains(&format!("impl {owner}{end}")))
            || sources.contains(&format!(" for {owner} "));
        let defined = ["(", "<"]
            .iter()
            .any(|end| sources.contains(&format!("fn {function}{end}")));
        assert!(owned && defined, "no such function: {owner}::{function}");
    }
}

/// Folders of the crates that are looked at.
fn globs(settings: &toml::Table) -> Vec<String> {
    let globs = texts(settings, "examine_globs");
    globs
        .iter()
        .map(|glob| glob.split("/**").next().unwrap_or_default().to_owned())
        .collect()
}

fn texts(settings: &toml::Table, key: &str) -> Vec<String> {
    let list = settings
        .get(key)
        .and_then(toml::Value::as_array)
        .expect("must be a list");
    list.iter()
        .map(|text| text.as_str().expect("must be a text").to_owned())
        .collect()
}

/// Types and functions that a pattern names, as `Type::function`, `(One|Other)::function` or `in function`.
fn functions(pattern: &str) -> Vec<(String, String)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = Vec::new();
    for (at, _) in pattern.match_indices("::") {
        let function: String = pattern
            .get(at + 2..)
            .unwrap_or_default()
            .chars()
            .take_while(|c| is_name(*c))
            .collect();
        // What a pattern deletes is no function: `.ProxyWatermark::Applied.*`.
        if function.starts_with(|c: char| c.is_ascii_uppercase()) {
            continue;
        }
        let before = pattern.get(..at).unwrap_or_default();
        let owners = match before.strip_suffix(')') {
            Some(group) => group.rsplit('(').next().unwrap_or_default(),
            None => before.rsplit(|c| !is_name(c)).next().unwrap_or_default(),
        };
        out.extend(
            owners
                .split('|')
                .map(|owner| (owner.to_owned(), function.clone())),
        );
    }
    out
}

fn read_all(folder: &Path, out: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, out);
        } else if path.extension().is_some_and(|end| end == "rs") {
            out.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask stands in the root")
        .to_owned()
}
