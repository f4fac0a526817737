//! The license texts of all packages in what a release ships, each text once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use spdx::{Expression, ParseMode};

use super::parts::Parts;
use crate::run::root;

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
/// A package that has none among its files is under the Apache License, whose text is ours, too.
///
/// # Errors
/// If a package's files cannot be read, or none of them has the text of a license that it needs.
pub(super) fn collect(parts: &Parts) -> anyhow::Result<String> {
    let apache = fs::read_to_string(root().join("LICENSE"))?;
    let mut out = String::from(
        "Packages in holdfast.wasm and in the programs beside it, with their licenses.\n\
         Rust's standard library (MIT OR Apache-2.0) is in all of them, musl libc (MIT) in the programs.\n\n",
    );
    // Each text, and who has it.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((name, version), package) in parts.foreign() {
        let license = package.license.as_deref().unwrap_or("no license named");
        let mut found = texts_in(
            package
                .manifest_path
                .parent()
                .context("a package is in a folder")?,
        )?;
        if found.is_empty() {
            ensure!(
                may_be_apache(license),
                "{name} {version} has no file with the text of its license, {license}"
            );
            found.push(apache.trim_end().to_owned());
        }
        writeln!(out, "{name} {version}: {license}")?;
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

/// True if the SPDX expression lets us take the package under the Apache License 2.0, and nothing else.
fn may_be_apache(license: &str) -> bool {
    let expression = Expression::parse_mode(license, ParseMode::LAX);
    let apache = spdx::license_id("Apache-2.0");
    expression.is_ok_and(|expression| {
        expression.evaluate(|asked| asked.license.id() == apache && asked.addition.is_none())
    })
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

    #[test]
    fn a_package_without_a_text_has_that_of_the_apache_license_or_is_refused() {
        let dir = std::env::temp_dir().join(format!("holdfast-no-licenses-{}", std::process::id()));
        let mut parts = mk_parts();
        for package in parts.packages.values_mut() {
            package.manifest_path = dir.join("Cargo.toml");
        }
        fs::create_dir_all(&dir).unwrap();
        let refused = collect(&parts).unwrap_err().to_string();
        parts.packages.retain(|(name, _), _| name != "b");
        let text = collect(&parts);
        fs::remove_dir_all(&dir).unwrap();
        assert!(
            refused.starts_with("b 2.0.0 has no file"),
            "Zlib's is not ours: {refused}"
        );
        let text = text.unwrap();
        assert!(
            text.contains("\na 1.0.0\n") && text.contains("Apache License"),
            "{text}"
        );
    }
}
