//! The license texts of all packages in what a release ships, each text once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::parts::Parts;

/// How the names of files begin that packages keep their licenses in, in capitals.
const NAMES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

/// The text of the file.
///
/// # Errors
/// If a package's files cannot be read.
pub(super) fn collect(parts: &Parts) -> anyhow::Result<String> {
    let mut out = String::from(
        "Packages in holdfast.wasm and in the programs beside it, with their licenses.\n\
         Rust's standard library (MIT OR Apache-2.0) is in all of them, musl libc (MIT) in the programs.\n\n",
    );
    // Each text, and who has it.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((name, version), package) in parts.foreign() {
        let license = package.license.as_deref().unwrap_or("no license named");
        let found = texts_in(
            package
                .manifest_path
                .parent()
                .context("a package is in a folder")?,
        )?;
        let note = if found.is_empty() {
            " (its package has no license file)"
        } else {
            ""
        };
        writeln!(out, "{name} {version}: {license}{note}")?;
        for text in found {
            let users = texts.entry(text).or_default();
            let user = format!("{name} {version}");
            if !users.contains(&user) {
                users.push(user);
            }
        }
    }
    for (text, users) in texts {
        write!(out, "\n{}\n{}\n\n{text}\n", "=".repeat(80), users.join(", "))?;
    }
    Ok(out)
}

/// The license files of a package, in the order of their names.
fn texts_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_uppercase();
        if path.is_file() && NAMES.iter().any(|begins| name.starts_with(begins)) {
            files.push(path);
        }
    }
    files.sort();
    let texts = files.iter().map(|file| {
        let bytes = fs::read(file).with_context(|| file.display().to_string())?;
        Ok(String::from_utf8_lossy(&bytes)
            .replace("\r\n", "\n")
            .trim_end()
            .to_owned())
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::mk_parts;
    use super::*;

    #[test]
    fn a_text_that_two_have_is_written_once() {
        let dir = std::env::temp_dir().join(format!("holdfast-licenses-{}", std::process::id()));
        let mut parts = mk_parts();
        for ((name, _), package) in &mut parts.packages {
            let folder = dir.join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("License-MIT"), "be kind\r\n").unwrap();
            fs::write(folder.join("lib.rs"), "no license").unwrap();
            package.manifest_path = folder.join("Cargo.toml");
        }
        let text = collect(&parts);
        fs::remove_dir_all(&dir).unwrap();
        let text = text.unwrap();
        assert_eq!(text.matches("be kind").count(), 1, "{text}");
        assert!(
            text.contains("\na 1.0.0, b 2.0.0\n"),
            "must say whose it is: {text}"
        );
        assert!(text.contains("b 2.0.0: Zlib\n"), "must name the license: {text}");
        assert!(!text.contains("no license"), "other files must be left out");
        assert!(!text.contains("filter"), "ours must be left out");
    }
}
