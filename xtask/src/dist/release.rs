//! Everything that a release ships, in one folder, and the check that another clone makes the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::parts::Parts;
use super::tree::Tree;
use super::{licenses, programs, sbom};
use crate::run::{output, say};

/// Makes `target/dist/release/` and returns its path.
///
/// # Errors
/// If something cannot be built. A program for an architecture that has no linker here is left out, and said.
pub(super) fn make() -> anyhow::Result<PathBuf> {
    make_in(&Tree::here())
}

/// Makes everything once more from a copy of the repository elsewhere.
///
/// # Errors
/// Names the files of `release` that the copy makes otherwise, byte for byte.
pub(super) fn check(release: &Path) -> anyhow::Result<()> {
    let other = make_in(&Tree::elsewhere()?)?;
    let (here, there) = (contents(release)?, contents(&other)?);
    let differ = different(&here, &there);
    ensure!(
        differ.is_empty(),
        "a clone elsewhere makes other bytes of: {}; compare {} and {}",
        differ.join(", "),
        release.display(),
        other.display()
    );
    say(&format!("a clone elsewhere makes the same {} files", here.len()));
    Ok(())
}

/// The same, of the filter alone.
///
/// # Errors
/// If the copy makes another filter.
pub(super) fn check_filter(filter: &Path) -> anyhow::Result<()> {
    let other = super::build(&Tree::elsewhere()?, None, "holdfast")?;
    ensure!(
        fs::read(filter)? == fs::read(&other)?,
        "a clone elsewhere makes another filter: compare {} and {}",
        filter.display(),
        other.display()
    );
    Ok(())
}

fn make_in(tree: &Tree) -> anyhow::Result<PathBuf> {
    let release = tree.dist()?.join("release");
    if release.exists() {
        fs::remove_dir_all(&release)?;
    }
    fs::create_dir_all(&release)?;
    let filter = super::filter_of(tree)?;
    fs::copy(&filter, release.join("holdfast.wasm"))?;
    programs::build(tree, &release)?;
    let parts = Parts::read(tree)?;
    fs::write(release.join("holdfast.cdx.json"), sbom::write(&parts)?)?;
    fs::write(
        release.join("THIRD-PARTY-LICENSES.txt"),
        licenses::collect(&parts)?,
    )?;
    fs::copy(crate::run::root().join("LICENSE"), release.join("LICENSE"))?;
    let sums = checksums(&release)?;
    fs::write(release.join("SHA256SUMS"), sums)?;
    Ok(release)
}

/// What `sha256sum --check` reads.
fn checksums(folder: &Path) -> anyhow::Result<String> {
    let names = contents(folder)?.into_keys();
    let mut command = Command::new("sha256sum");
    output(command.current_dir(folder).args(names)).context("sha256sum, of coreutils")
}

/// Name and bytes of each file.
fn contents(folder: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        out.insert(name, fs::read(entry.path())?);
    }
    Ok(out)
}

/// Names that only one of them has, or whose bytes differ.
fn different(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut names: Vec<_> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    let differ = |name: &&String| one.get(*name) != other.get(*name);
    names.into_iter().filter(differ).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_or_are_missing_are_named() {
        let files = |pairs: &[(&str, &str)]| -> BTreeMap<String, Vec<u8>> {
            let pairs = pairs.iter();
            pairs
                .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
                .collect()
        };
        let one = files(&[("same", "x"), ("other", "x"), ("only here", "")]);
        let two = files(&[("same", "x"), ("other", "y"), ("only there", "")]);
        assert_eq!(different(&one, &two), ["only here", "only there", "other"]);
        assert!(different(&one, &one).is_empty(), "must be equal to itself");
    }
}
