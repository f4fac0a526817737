//! `cargo xtask mutants`: changes the code in one small way at a time and names the changes that no test notices.
//!
//! What is changed, and what not, is said in `.cargo/mutants.toml`. Runs cargo-mutants, which it does not install.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::run::{cargo, check, on_path, output, root, say, target_dir};

/// Options of `cargo xtask mutants`.
#[derive(clap::Args)]
pub(crate) struct Mutants {
    /// Only changes of lines that differ from this commit, such as origin/main
    #[arg(long, value_name = "REF")]
    in_diff: Option<String>,
    /// Only changes of files that match this glob; may be repeated
    #[arg(long, value_name = "GLOB")]
    file: Vec<String>,
    /// Changes that are tried at the same time
    #[arg(long, default_value_t = 1)]
    jobs: u16,
}

impl Mutants {
    /// Fails if a change survives. What happened to each is in `mutants.out` of the target directory.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        ensure!(
            on_path("cargo-mutants").is_some(),
            "cargo-mutants is not installed: cargo install cargo-mutants --locked"
        );
        let out = target_dir();
        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let mut mutants = cargo(["mutants", "--no-shuffle", "--jobs"]);
        mutants.arg(self.jobs.to_string()).arg("--output").arg(&out);
        for glob in &self.file {
            mutants.arg("--file").arg(glob);
        }
        if let Some(reference) = &self.in_diff {
            let diff = diff_from(reference)?;
            if diff.is_empty() {
                say(&format!("nothing differs from {reference}"));
                return Ok(());
            }
            let file = out.join("mutants.diff");
            fs::write(&file, diff).with_context(|| format!("cannot write {}", file.display()))?;
            mutants.arg("--in-diff").arg(file);
        }
        check(&mut mutants)
    }
}

/// What the working tree has that the commit has not.
fn diff_from(reference: &str) -> anyhow::Result<String> {
    let mut git = std::process::Command::new("git");
    output(git.current_dir(root()).args(["diff", reference, "--", "*.rs"]))
}
