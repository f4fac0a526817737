//! The shell scripts: POSIX, strict, and each says at its top what it does.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree;

#[test]
fn every_script_is_posix_strict_and_says_what_it_does() {
    let scripts = scripts(&tree::root());
    assert!(scripts.len() >= 7, "must have found them: {scripts:?}");
    for script in scripts {
        let text = std::fs::read_to_string(&script).unwrap();
        let name = script.display();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("#!/bin/sh"), "{name}");
        let what = lines.next().unwrap();
        assert!(
            what.starts_with("# ") && what.len() > 20,
            "{name}: must say what it does"
        );
        assert!(
            text.contains("\nset -eu\n"),
            "{name}: must stop at the first failure"
        );
        let mode = std::fs::metadata(&script).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{name}: must be executable");
        let checked = Command::new("sh").arg("-n").arg(&script).output().unwrap();
        assert!(
            checked.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}

#[test]
fn every_path_in_the_readme_exists() {
    let text = tree::read("README.md");
    let named = text.split('`').skip(1).step_by(2);
    let commands = text
        .split_whitespace()
        .filter(|word| word.starts_with("kubernetes/"));
    let mut looked = 0;
    for word in named.chain(commands) {
        let word = word.trim_end_matches([',', ';', ':', '.', '`']);
        let starts = [
            "base",
            "overlays/",
            "demo/",
            "image/",
            "tls/",
            "patch/",
            "kubernetes/",
            "e2e/",
        ];
        let is_file = word.ends_with(".md") || word.ends_with(".yaml") || word.ends_with(".sh");
        if word.contains(char::is_whitespace)
            || !is_file && !starts.iter().any(|start| word.starts_with(start))
        {
            continue;
        }
        looked += 1;
        // Relative to the root, to this folder, or to the one that the text is about.
        let places = [
            "",
            "..",
            "demo",
            "overlays/istio",
            "overlays/envoy-gateway",
            "overlays/envoy",
        ];
        let exists = places
            .iter()
            .any(|place| tree::root().join(place).join(word).exists());
        assert!(exists, "README.md names what does not exist: {word}");
    }
    assert!(looked > 20, "must have looked at paths, not at {looked}");
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(scripts(&path));
        } else if path.extension().is_some_and(|extension| extension == "sh") {
            found.push(path);
        }
    }
    found
}
