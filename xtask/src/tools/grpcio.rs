//! gRPC for Python, pinned with hashes by `bench/python/requirements.txt`: what the Python yardstick of a benchmark runs with.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::{check, root, say, target_dir};

/// The folder that belongs into `PYTHONPATH`. Installs anew where the requirements have changed.
pub(crate) fn grpcio() -> anyhow::Result<PathBuf> {
    let requirements = root().join("bench/python/requirements.txt");
    let pinned = fs::read(&requirements).with_context(|| requirements.display().to_string())?;
    let dir = target_dir().join("tools/grpcio");
    // Copied last, so it says that what lies beside it is whole.
    let installed = dir.join("installed.txt");
    if fs::read(&installed).is_ok_and(|known| known == pinned) {
        return Ok(dir);
    }
    let pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    ensure!(
        pip.is_ok_and(|out| out.status.success()),
        "there is no python3 with pip. On Debian: apt-get install python3-pip"
    );
    say(&format!("grpcio from PyPI (8 MB) into {}", dir.display()));
    let _ = fs::remove_dir_all(&dir);
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--disable-pip-version-check",
    ]);
    check(
        pip.arg("--target")
            .arg(&dir)
            .arg("--requirement")
            .arg(&requirements),
    )?;
    fs::write(installed, pinned)?;
    Ok(dir)
}
