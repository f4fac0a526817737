//! Which packages are in what a release ships, and what they depend on: those that `cargo tree` shows for the features and the
//! target that are built, with what `cargo metadata` and `Cargo.lock` say of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Deserialize;

use super::tree::Tree;
use super::{TRIPLE, programs};
use crate::run::output;

/// Name and version.
pub(super) type Id = (String, String);

/// What is shipped, and all packages in it.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Ours that are shipped.
    pub(super) shipped: BTreeSet<Id>,
    pub(super) packages: BTreeMap<Id, Package>,
    /// The packages that each needs.
    pub(super) needs: BTreeMap<Id, BTreeSet<Id>>,
}

/// What a package says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Package {
    name: String,
    version: String,
    /// SPDX expression.
    pub(super) license: Option<String>,
    /// Absent: a member of this workspace.
    pub(super) source: Option<String>,
    pub(super) manifest_path: PathBuf,
    /// SHA-256 of what the registry has.
    #[serde(skip)]
    pub(super) checksum: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Parts {
    /// Asks cargo.
    ///
    /// # Errors
    /// If cargo fails, or its answers do not fit together.
    pub(super) fn read(tree: &Tree) -> anyhow::Result<Self> {
        let mut parts = Self::default();
        let built = programs::PROGRAMS.map(|program| (program, programs::TRIPLE));
        for (package, triple) in [("wasm-filter", TRIPLE)].into_iter().chain(built) {
            let args = [
                "tree",
                "--locked",
                "--edges",
                "normal",
                "--prefix",
                "depth",
                "--package",
            ];
            let mut command = tree.cargo(args);
            command.args([package, "--target", triple, "--format", " {p}"]);
            parts.add_tree(&output(&mut command)?)?;
        }
        let args = ["metadata", "--format-version", "1", "--all-features", "--locked"];
        let metadata: Metadata = serde_json::from_str(&output(&mut tree.cargo(args))?)?;
        let lock = crate::run::root().join("Cargo.lock");
        let lock: Lock = toml::from_str(&std::fs::read_to_string(lock)?).context("Cargo.lock")?;
        let mut checksums: BTreeMap<Id, Option<String>> = lock
            .package
            .into_iter()
            .map(|locked| ((locked.name, locked.version), locked.checksum))
            .collect();
        for mut package in metadata.packages {
            let id = (package.name.clone(), package.version.clone());
            if parts.needs.contains_key(&id) {
                package.checksum = checksums.remove(&id).flatten();
                parts.packages.insert(id, package);
            }
        }
        let unknown = parts.needs.keys().find(|id| !parts.packages.contains_key(*id));
        if let Some((name, version)) = unknown {
            anyhow::bail!("cargo metadata does not know {name} {version}");
        }
        Ok(parts)
    }

    /// Takes in what `cargo tree --prefix depth --format " {p}"` prints: `2 name v1.0.0 (proc-macro) (*)`.
    fn add_tree(&mut self, text: &str) -> anyhow::Result<()> {
        let mut above: Vec<Id> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let parsed = (|| {
                let depth: usize = words.next()?.parse().ok()?;
                let name = words.next()?.to_owned();
                let version = words.next()?.strip_prefix('v')?.to_owned();
                Some((depth, (name, version)))
            })();
            let (depth, id) = parsed.with_context(|| format!("cargo tree printed {line:?}"))?;
            above.truncate(depth);
            match above.last() {
                None => drop(self.shipped.insert(id.clone())),
                Some(parent) => drop(self.needs.entry(parent.clone()).or_default().insert(id.clone())),
            }
            self.needs.entry(id.clone()).or_default();
            above.push(id);
        }
        Ok(())
    }

    /// Packages that are not ours.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (&Id, &Package)> {
        self.packages
            .iter()
            .filter(|(_, package)| package.source.is_some())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `filter` needs `a` and `b`, and `a` needs `b`.
    pub(in crate::dist) fn mk_parts() -> Parts {
        let mut parts = Parts::default();
        let text = "0 filter v0.1.0 (/holdfast/filter)\n1 a v1.0.0\n2 b v2.0.0 (proc-macro)\n1 b v2.0.0 (proc-macro) (*)\n";
        parts.add_tree(text).unwrap();
        for (id, license) in [(id("a", "1.0.0"), "MIT/Apache-2.0"), (id("b", "2.0.0"), "Zlib")] {
            let package = Package {
                name: id.0.clone(),
                version: id.1.clone(),
                license: Some(license.to_owned()),
                source: Some("registry+https://index".to_owned()),
                checksum: Some("00ff".to_owned()),
                ..Package::default()
            };
            parts.packages.insert(id, package);
        }
        parts.packages.insert(id("filter", "0.1.0"), Package::default());
        parts
    }

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn reads_what_each_package_needs() {
        let parts = mk_parts();
        let filter = id("filter", "0.1.0");
        let (a, b) = (id("a", "1.0.0"), id("b", "2.0.0"));
        assert_eq!(parts.shipped, [filter.clone()].into());
        assert_eq!(parts.needs[&filter], [a.clone(), b.clone()].into());
        assert_eq!(parts.needs[&a], [b.clone()].into());
        assert!(parts.needs[&b].is_empty());
    }

    #[test]
    fn what_cargo_does_not_print_is_refused() {
        assert!(Parts::default().add_tree("0 name without version").is_err());
        assert!(Parts::default().add_tree("├── a v1.0.0").is_err());
    }
}
