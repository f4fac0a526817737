//! Puts the published results, `bench/results/`, into `bench/README.md` and `README.md`. No figure there is copied by hand, and
//! a test fails when a page says something else than the results.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use harness::binaries::root;

use crate::args::Name;
use crate::report::Report;

/// Publishes a result.
pub(crate) fn publish(report: &Report) -> anyhow::Result<()> {
    let path = result(&report.name);
    ensure!(!report.quick, "{}: a quick run is not published", report.name);
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(&path, report.json()?).with_context(|| path.display().to_string())?;
    for page in pages()? {
        fs::write(root().join(page.file), page.due).with_context(|| page.file.to_owned())?;
    }
    Ok(())
}

/// A document with figures.
struct Page {
    file: &'static str,
    /// As it has to read.
    due: String,
}

fn pages() -> anyhow::Result<[Page; 2]> {
    let (mut details, mut summary) = (read("bench/README.md")?, read("README.md")?);
    const HEAD: &str = "| | | goal | reached |\n|---|---|---|---|\n";
    let (mut all, mut few) = (HEAD.to_owned(), HEAD.to_owned());
    for name in Name::value_variants() {
        let path = result(&name.to_string());
        if !path.is_file() {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let report: Report = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        details = replaced(&details, &report.name, &report.markdown()).context("bench/README.md")?;
        let quoted = quoted(*name);
        for what in quoted {
            let found = report.goals.iter().any(|goal| goal.what == *what);
            ensure!(found, "{name} has no goal {what:?}");
        }
        for goal in &report.goals {
            let [what, limit, reached] = goal.shown();
            let missed = if goal.met { "" } else { " (missed)" };
            let rest = format!("#{name}) | {what} | {limit} | {reached}{missed} |");
            let _ = writeln!(all, "| [{name}]({rest}");
            if quoted.contains(&goal.what.as_str()) {
                let _ = writeln!(few, "| [{name}](bench/README.md{rest}");
            }
        }
    }
    details = replaced(&details, "summary", &all).context("bench/README.md")?;
    summary = replaced(&summary, "bench", &few).context("README.md")?;
    Ok([
        Page {
            file: "bench/README.md",
            due: details,
        },
        Page {
            file: "README.md",
            due: summary,
        },
    ])
}

/// The goals that `README.md` shows of a benchmark.
fn quoted(name: Name) -> &'static [&'static str] {
    match name {
        Name::Warm => &[
            "HTTP/1: throughput, to the empty filter's, whatever the number of targets",
            "HTTP/2: throughput, to the empty filter's, whatever the number of targets",
        ],
        Name::Hop => &[
            "HTTP/1: throughput per CPU, to that of a second hop",
            "HTTP/1: throughput per CPU, to that of a callout for each request",
        ],
        Name::Held => &["100,000 over HTTP/2: the filter's own share of each"],
        Name::Wake => &["accepts connections to first byte, median"],
        Name::Idle => &["CPU that Holdfast adds to an idle Envoy, 10000 targets"],
        Name::Size => &["bytes of holdfast.wasm"],
        Name::Release | Name::Burst | Name::Bodies | Name::Fleet | Name::Churn => &[],
    }
}

fn result(name: &str) -> PathBuf {
    root().join("bench/results").join(format!("{name}.json"))
}

fn read(file: &str) -> anyhow::Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| file.to_owned())
}

/// The text with other words between `<!-- NAME -->` and `<!-- /NAME -->`.
fn replaced(text: &str, name: &str, with: &str) -> anyhow::Result<String> {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text
        .split_once(&start)
        .with_context(|| format!("no {}", start.trim()))?;
    let (old, after) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    ensure!(!old.contains("<!-- "), "{end} does not follow {}", start.trim());
    // An empty line, or a table would swallow the mark.
    Ok(format!("{before}{start}\n{with}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n";

    #[test]
    fn the_pages_say_what_was_measured() {
        for page in pages().unwrap() {
            let now = read(page.file).unwrap();
            assert!(
                now == page.due,
                "{}: does not say what bench/results/ says: `cargo xtask bench NAME --write` puts it there",
                page.file
            );
        }
    }

    #[test]
    fn every_benchmark_is_published() {
        let missing: Vec<_> = Name::value_variants()
            .iter()
            .filter(|name| !result(&name.to_string()).is_file())
            .collect();
        assert!(missing.is_empty(), "must be in bench/results/: {missing:?}");
    }

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let new = replaced(PAGE, "x", "new\n").unwrap();
        assert_eq!(new, PAGE.replace("old", "\nnew\n"));
        assert_eq!(replaced(&new, "x", "new\n").unwrap(), new, "twice is once");
    }

    #[test]
    fn a_missing_mark_is_named() {
        let error = replaced(PAGE, "z", "").unwrap_err();
        assert!(error.to_string().contains("<!-- z -->"), "{error}");
    }
}
