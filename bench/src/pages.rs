//! Puts results between the marks of `bench/README.md` and `README.md`, so that no figure there is copied by hand.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, ensure};
use e2e::binaries::root;

use crate::report::Report;

/// Puts the tables into `bench/README.md`, and the goals into `README.md`.
pub(crate) fn put(report: &Report) -> anyhow::Result<()> {
    replace("bench/README.md", &report.name, &report.markdown())
}

fn replace(file: &str, name: &str, with: &str) -> anyhow::Result<()> {
    let path = root().join(file);
    let text = fs::read_to_string(&path).with_context(|| file.to_owned())?;
    let text = replaced(&text, name, with).with_context(|| file.to_owned())?;
    fs::write(&path, text).with_context(|| file.to_owned())
}

/// The text with other words between `<!-- NAME -->` and `<!-- /NAME -->`.
fn replaced(text: &str, name: &str, with: &str) -> anyhow::Result<String> {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&start).with_context(|| format!("no {start}"))?;
    let (old, after) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    ensure!(!old.contains("<!-- "), "{end} does not follow {start}");
    let mut out = String::new();
    let _ = write!(out, "{before}{start}{with}{end}{after}");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n";

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let new = replaced(PAGE, "x", "new\n").unwrap();
        assert_eq!(new, PAGE.replace("old", "new"));
        assert_eq!(replaced(&new, "x", "new\n").unwrap(), new, "twice is once");
    }

    #[test]
    fn a_missing_mark_is_named() {
        let error = replaced(PAGE, "z", "").unwrap_err();
        assert!(error.to_string().contains("<!-- z -->"), "{error}");
    }
}
