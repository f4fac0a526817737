//! `extproc lint`: looks for known traps in configurations of Envoy.

use std::{
    fs,
    io::{Write as _, stdout},
    path::PathBuf,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use extproc::config::lint;

/// What is looked at.
#[derive(Clone, Debug, Args)]
pub(super) struct Lint {
    /// Configurations of Envoy, parts of them, or objects that have one in them, as YAML
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Lint {
    /// Prints a line for each trap. Fails if there is any.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let mut found = 0;
        for file in &self.files {
            let shown = file.display();
            let text = fs::read_to_string(file).with_context(|| shown.to_string())?;
            for warning in lint(&text).with_context(|| shown.to_string())? {
                found += 1;
                writeln!(stdout().lock(), "{shown}: {warning}")?;
            }
        }
        ensure!(found == 0, "{found} found");
        Ok(())
    }
}
