//! What is checked of the files themselves: only those that git knows.

use std::fs;

use anyhow::Context as _;
use serde::Deserialize as _;

use crate::run::{output, root, say};

/// A file longer than this says why in its module documentation, in a line that begins with [`EXCUSE`].
const LONGEST: usize = 400;
const EXCUSE: &str = "//! Long because";
const MEDIAN: usize = 150;
/// The contract stands in one of the first lines, after attributes at most.
const FIRST: usize = 12;

/// Every YAML file must be YAML, with no key twice.
pub(crate) fn yaml() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for file in tracked(&["*.yaml", "*.yml"])? {
        let text = fs::read_to_string(root().join(&file)).context(file.clone())?;
        for document in serde_norway::Deserializer::from_str(&text) {
            if let Err(error) = serde_norway::Value::deserialize(document) {
                wrong.push(format!("{file}: {error}"));
                break;
            }
        }
    }
    anyhow::ensure!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
    Ok(())
}

/// Rust files that people write begin with their contract, and are short: at most 400 lines each, at most 150 in the median.
pub(crate) fn rust() -> anyhow::Result<()> {
    let mut sizes = Vec::new();
    let mut wrong = Vec::new();
    for file in tracked(&["*.rs"])?
        .into_iter()
        .filter(|file| !file.contains("/generated/"))
    {
        let text = fs::read_to_string(root().join(&file)).context(file.clone())?;
        if !text.lines().take(FIRST).any(|line| line.starts_with("//!")) {
            wrong.push(format!("{file} does not begin with its contract: `//! ...`"));
        }
        let lines = text.lines().count();
        if lines > LONGEST && !text.lines().any(|line| line.starts_with(EXCUSE)) {
            wrong.push(format!(
                "{file} has {lines} lines: split it, or say `{EXCUSE} ...`"
            ));
        }
        sizes.push(lines);
    }
    sizes.sort_unstable();
    let median = sizes.get(sizes.len() / 2).copied().unwrap_or(0);
    say(&format!(
        "{} Rust files, {median} lines in the median",
        sizes.len()
    ));
    if median > MEDIAN {
        wrong.push(format!("the median is {median} lines, and {MEDIAN} are allowed"));
    }
    anyhow::ensure!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
    Ok(())
}

fn tracked(patterns: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut git = std::process::Command::new("git");
    let listed = output(git.current_dir(root()).args(["ls-files", "--"]).args(patterns))?;
    // A file that was deleted but not yet committed is still listed.
    Ok(listed
        .lines()
        .filter(|file| root().join(file).is_file())
        .map(str::to_owned)
        .collect())
}
