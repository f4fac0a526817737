//! The programs of a release: static, for Linux on each architecture that this machine has a linker for.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

use super::tree::Tree;
use crate::run::{check, on_path, say};
use crate::toolchain;

/// Packages whose program of the same name is shipped.
pub(super) const PROGRAMS: [&str; 1] = ["control-plane"];

const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// The target whose dependencies stand for those of all programs.
pub(super) const TRIPLE: &str = "x86_64-unknown-linux-musl";

/// Builds each program into `release`, as `NAME-ARCHITECTURE-linux`.
///
/// # Errors
/// If a build fails, or a program is not static. An architecture without a linker is left out, and said.
pub(super) fn build(tree: &Tree, release: &Path) -> anyhow::Result<()> {
    for architecture in ARCHITECTURES {
        let Some(compiler) = compiler(architecture, std::env::consts::ARCH, |name| {
            on_path(name).is_some()
        }) else {
            say(&left_out(architecture));
            continue;
        };
        let triple = format!("{architecture}-unknown-linux-musl");
        toolchain::add_target(&triple)?;
        let mut command = tree.cargo(["build", "--release", "--locked", "--target", &triple]);
        for program in PROGRAMS {
            command.args(["--package", program, "--bin", program]);
        }
        let variable = triple.replace('-', "_");
        command
            .env(
                format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()),
                &compiler,
            )
            .env(format!("CC_{variable}"), &compiler)
            // Ubuntu's compiler asks for glibc's checked functions on its own, which musl does not have.
            .env(format!("CFLAGS_{variable}"), "-U_FORTIFY_SOURCE");
        check(command.args(tree.without_its_paths(&triple)))?;
        for program in PROGRAMS {
            let built = tree.target.join(&triple).join("release").join(program);
            let bytes = fs::read(&built).with_context(|| built.display().to_string())?;
            ensure!(is_static(&bytes), "{} is not static", built.display());
            fs::copy(&built, release.join(format!("{program}-{architecture}-linux")))?;
        }
    }
    Ok(())
}

fn left_out(architecture: &str) -> String {
    format!(
        "left out: programs for {architecture}, because there is no {architecture}-linux-gnu-gcc to link them \
         (Debian: apt-get install gcc-{0}-linux-gnu libc6-dev-{1}-cross)",
        architecture.replace('_', "-"),
        if architecture == "aarch64" {
            "arm64"
        } else {
            "amd64"
        },
    )
}

/// The C compiler that links for `architecture` on a machine that is a `host`. Rust brings musl along, for both.
fn compiler(architecture: &str, host: &str, is_there: impl Fn(&str) -> bool) -> Option<String> {
    let cross = format!("{architecture}-linux-gnu-gcc");
    let native = (architecture == host).then(|| "cc".to_owned());
    native.into_iter().chain([cross]).find(|name| is_there(name))
}

/// True if this is an ELF file for 64 bits, little endian, that asks for no loader (no program header `PT_INTERP`).
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(bytes)?)?;
        let value = bytes
            .iter()
            .rev()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    };
    let interpreted = || {
        let (first, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
        let mut kinds = Vec::new();
        for header in 0..count {
            kinds.push(number(first + header * size, 4)?);
        }
        Some(kinds.is_empty() || kinds.contains(&3))
    };
    elf.starts_with(b"\x7fELF\x02\x01") && interpreted() == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_without_a_linker_is_left_out() {
        let has = |there: &'static [&str]| move |name: &str| there.contains(&name);
        let host = "x86_64";
        assert_eq!(compiler("x86_64", host, has(&["cc"])).as_deref(), Some("cc"));
        assert_eq!(
            compiler("aarch64", host, has(&["cc"])),
            None,
            "the host's must not be taken"
        );
        let both = has(&["cc", "aarch64-linux-gnu-gcc"]);
        assert_eq!(
            compiler("aarch64", host, both).as_deref(),
            Some("aarch64-linux-gnu-gcc")
        );
    }

    #[test]
    fn what_is_left_out_is_said_in_one_line_with_what_is_missing() {
        let said = left_out("aarch64");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("left out: programs for aarch64, "), "{said}");
        assert!(said.contains("apt-get install gcc-aarch64-linux-gnu "), "{said}");
        assert!(left_out("x86_64").contains("gcc-x86-64-linux-gnu "));
    }

    #[test]
    fn a_program_that_asks_for_a_loader_is_not_static() {
        // Two program headers, PT_LOAD and another.
        let elf = |kind: u8| {
            let mut elf = vec![0; 0x40];
            elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
            (elf[0x20], elf[0x36], elf[0x38]) = (0x40, 56, 2);
            for kind in [1, kind] {
                elf.extend([kind, 0, 0, 0]);
                elf.extend([0; 52]);
            }
            elf
        };
        assert!(is_static(&elf(1)));
        assert!(!is_static(&elf(3)), "PT_INTERP names a loader");
        assert!(!is_static(&elf(1)[..0x50]), "must notice a cut");
        assert!(!is_static(b"#!/bin/sh"));
    }
}
