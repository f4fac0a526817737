//! `extproc list`: names all processors and their settings on standard output.

use std::io::{Write as _, stdout};

use crate::catalog::CATALOG;

pub(super) fn run() -> anyhow::Result<()> {
    let mut out = stdout().lock();
    for entry in CATALOG {
        writeln!(out, "{:<12} {}", entry.name, entry.about)?;
        writeln!(out, "{:<12}   also {}", "", entry.class)?;
        for (key, meaning) in entry.settings {
            writeln!(out, "{:<12}   --set {key}=..  {meaning}", "")?;
        }
    }
    Ok(())
}
