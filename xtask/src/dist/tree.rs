//! The repository, here or as a copy elsewhere, and how cargo is run in it so that what it makes does not depend on where.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::run::{cargo, output, root, target_dir};

/// A folder with all that git knows of the repository.
pub(super) struct Tree {
    root: PathBuf,
    /// Cargo's target directory for it.
    pub(super) target: PathBuf,
}

impl Tree {
    /// The repository itself.
    pub(super) fn here() -> Self {
        Self {
            root: root().to_owned(),
            target: target_dir(),
        }
    }

    /// A copy below the target directory, with a target directory of its own: what another person's clone has. Its path
    /// is longer than the repository's. What an earlier copy has built is used again.
    ///
    /// # Errors
    /// If git does not list the files, or one cannot be copied.
    pub(super) fn elsewhere() -> anyhow::Result<Self> {
        let folder = target_dir().join("elsewhere");
        let copy = Self {
            root: folder.join("a-clone-that-somebody-else-made"),
            target: folder.join("target"),
        };
        if copy.root.exists() {
            fs::remove_dir_all(&copy.root)?;
        }
        let mut git = Command::new("git");
        for file in output(git.current_dir(root()).arg("ls-files"))?.lines() {
            let (from, to) = (root().join(file), copy.root.join(file));
            // A file that was deleted but not yet committed is still listed.
            if from.is_file() {
                fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
                fs::copy(&from, &to).with_context(|| from.display().to_string())?;
            }
        }
        Ok(copy)
    }

    /// Cargo in this tree.
    pub(super) fn cargo<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = cargo(args);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Arguments for a build for `triple`. Messages of panics name source files, those that build scripts have written among them:
    /// they do not say where those lie.
    pub(super) fn without_its_paths(&self, triple: &str) -> [String; 2] {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
        let remap = |from: &Path, to: &str| format!("\"--remap-path-prefix={}={to}\"", from.display());
        let flags: Vec<_> = [
            (home.as_deref(), "/cargo"),
            (Some(self.root.as_path()), "/holdfast"),
            // The last that fits counts, and this one lies in the root more often than not.
            (Some(self.target.as_path()), "/target"),
        ]
        .into_iter()
        .filter_map(|(from, to)| Some(remap(from?, to)))
        .collect();
        let config = format!("target.{triple}.rustflags=[{}]", flags.join(", "));
        ["--config".to_owned(), config]
    }

    /// The folder `dist` of its target directory.
    pub(super) fn dist(&self) -> anyhow::Result<PathBuf> {
        let dist = self.target.join("dist");
        fs::create_dir_all(&dist)?;
        Ok(dist)
    }
}
