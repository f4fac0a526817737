//! What rustc needs for a target other than this machine's: it is looked for, and fetched by rustup where it is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::{check, output, root, say};

/// Makes sure that rustc can build for `triple`.
///
/// # Errors
/// One line that says what to do, if the target is missing and rustup is, too, or cannot fetch it.
pub(crate) fn add_target(triple: &str) -> anyhow::Result<()> {
    let programs = Programs {
        rustc: std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into(),
        rustup: "rustup".into(),
    };
    programs.add_target(triple)
}

struct Programs {
    rustc: std::path::PathBuf,
    rustup: std::path::PathBuf,
}

impl Programs {
    fn add_target(&self, triple: &str) -> anyhow::Result<()> {
        if self.has_target(triple)? {
            return Ok(());
        }
        say(&format!("Rust's target {triple} is missing: rustup adds it"));
        // In the root, where rust-toolchain.toml says to which toolchain.
        let mut rustup = Command::new(&self.rustup);
        rustup.current_dir(root()).args(["target", "add", triple]);
        let added = match check(&mut rustup) {
            Err(error) if is_missing(&error) => anyhow::bail!(
                "Rust's standard library for {triple} is missing, and so is rustup, which would add it: install Rust \
                 from https://rustup.rs, or that library from where you have rustc from"
            ),
            result => result,
        };
        added.with_context(|| format!("Rust's target {triple} is missing and cannot be added"))?;
        ensure!(
            self.has_target(triple)?,
            "rustup has added {triple} to another toolchain than that of {}: see `rustup show`",
            self.rustc.display()
        );
        Ok(())
    }

    /// True if the standard library for `triple` is where rustc looks for it.
    fn has_target(&self, triple: &str) -> anyhow::Result<bool> {
        let mut rustc = Command::new(&self.rustc);
        rustc.current_dir(root());
        let folder = output(rustc.args(["--print", "target-libdir", "--target", triple]))?;
        Ok(Path::new(folder.trim()).is_dir())
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    /// A toolchain of shell scripts, whose libraries are a folder.
    struct Fake {
        dir: PathBuf,
        programs: Programs,
    }

    impl Fake {
        fn new(name: &str, rustup: Option<&str>) -> Self {
            let dir = std::env::temp_dir().join(format!("holdfast-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            let script = |name: &str, text: String| {
                let path = dir.join(name);
                fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
                path
            };
            let lib = dir.display();
            let rustc = script("rustc", format!("echo {lib}/lib-$4"));
            let rustup = match rustup {
                Some(text) => script("rustup", text.replace("LIB", &lib.to_string())),
                None => dir.join("no-rustup"),
            };
            let programs = Programs { rustc, rustup };
            Self { dir, programs }
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn a_target_that_is_missing_is_added() {
        let fake = Fake::new("adds", Some("mkdir LIB/lib-$3; echo $* >> LIB/asked"));
        fake.programs.add_target("wasm32-wasip1").unwrap();
        fake.programs.add_target("wasm32-wasip1").unwrap();
        let asked = fs::read_to_string(fake.dir.join("asked")).unwrap();
        assert_eq!(asked, "target add wasm32-wasip1\n", "must be added, and once");
    }

    #[test]
    fn without_rustup_one_line_says_what_to_do() {
        let fake = Fake::new("lacks", None);
        let error = fake.programs.add_target("wasm32-wasip1").unwrap_err();
        let text = format!("{error:#}");
        assert_eq!(text.lines().count(), 1, "must be one line: {text}");
        assert!(
            text.contains("wasm32-wasip1") && text.contains("rustup.rs"),
            "{text}"
        );
    }

    #[test]
    fn a_target_that_rustup_cannot_add_is_an_error() {
        let fails = Fake::new("fails", Some("exit 1"));
        assert!(fails.programs.add_target("wasm32-wasip1").is_err());
        let elsewhere = Fake::new("elsewhere", Some("exit 0"));
        let error = elsewhere.programs.add_target("wasm32-wasip1").unwrap_err();
        assert!(error.to_string().contains("another toolchain"), "{error}");
    }
}
