//! Checks licenses, sources and bans of all dependencies against `deny.toml`, which is cargo-deny's: by cargo-deny where it
//! is installed, and from `cargo metadata` alone everywhere.
//!
//! Building cargo-deny takes longer than all the rest of CI, so CI does without. Of its rules these are read here:
//! `licenses.allow`, `bans.deny`, `sources.allow-registry`. Git sources are refused, as the file says.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context as _;
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::run::{cargo, check as succeed, output, root, say};

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// SPDX expression.
    license: Option<String>,
    /// Absent: a member of this workspace.
    source: Option<String>,
}

/// Names every dependency that breaks a rule.
pub(crate) fn check() -> anyhow::Result<()> {
    let rules: Rules = toml::from_str(&fs::read_to_string(root().join("deny.toml"))?).context("deny.toml")?;
    let args = ["metadata", "--format-version", "1", "--all-features", "--locked"];
    let metadata: Metadata = serde_json::from_str(&output(&mut cargo(args))?).context("cargo metadata")?;
    let broken: Vec<String> = metadata
        .packages
        .iter()
        .flat_map(|package| rules.broken_by(package))
        .collect();
    anyhow::ensure!(broken.is_empty(), "\n  {}", broken.join("\n  "));
    say(&format!("{} packages are allowed", metadata.packages.len()));
    let installed = output(&mut cargo(["deny", "--version"])).is_ok();
    if installed {
        // Advisories change from day to day and would need the network: `cargo deny check advisories` is for people.
        succeed(&mut cargo(["deny", "check", "bans", "licenses", "sources"]))?;
    }
    Ok(())
}

impl Rules {
    fn broken_by(&self, package: &Package) -> Vec<String> {
        let mut broken = Vec::new();
        let mut refuse = |why: String| broken.push(format!("{} {}: {why}", package.name, package.version));
        match package.license.as_deref() {
            None => refuse("names no license".into()),
            Some(license) => match Expression::parse_mode(license, ParseMode::LAX) {
                Ok(parsed) if parsed.evaluate(|term| self.licenses.allow.contains(&term.to_string())) => {}
                Ok(_) => refuse(format!("license {license} is not allowed")),
                Err(error) => refuse(format!("license {license}: {}", error.reason)),
            },
        }
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == package.name) {
            refuse(format!("is banned: {}", ban.reason));
        }
        if let Some(source) = &package.source {
            let registry = source.strip_prefix("registry+");
            if !registry.is_some_and(|registry| {
                self.sources
                    .allow_registry
                    .iter()
                    .any(|allowed| allowed == registry)
            }) {
                refuse(format!("comes from {source}"));
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_wrong_with_a_package() {
        let rules = mk_rules();
        let package = |license: Option<&str>, source: &str| Package {
            name: "left-pad".into(),
            version: "1.0.0".into(),
            license: license.map(str::to_owned),
            source: Some(source.into()),
        };
        let good = "registry+https://index";
        assert!(
            rules.broken_by(&package(Some("MIT OR GPL-3.0"), good)).is_empty(),
            "one allowed choice suffices"
        );
        for refused in [
            "GPL-3.0",
            "MIT AND BSD-4-Clause",
            "MIT WITH LLVM-exception",
            "MIT OR",
            "",
            "made up",
        ] {
            assert_eq!(
                rules.broken_by(&package(Some(refused), good)).len(),
                1,
                "must be refused: {refused:?}"
            );
        }
        for allowed in [
            "MIT",
            "GPL-3.0/MIT",
            "(MIT OR GPL-3.0) AND Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(
                rules.broken_by(&package(Some(allowed), good)).is_empty(),
                "must be allowed: {allowed}"
            );
        }
        assert_eq!(
            rules.broken_by(&package(None, good)).len(),
            1,
            "no license must be refused"
        );
        assert_eq!(
            rules.broken_by(&package(Some("MIT"), "git+https://x")).len(),
            1,
            "git must be refused"
        );
    }

    #[test]
    fn a_ban_has_its_reason() {
        let package = Package {
            name: "bad".into(),
            version: "1.0.0".into(),
            license: Some("MIT".into()),
            source: None,
        };
        let broken = mk_rules().broken_by(&package);
        assert_eq!(
            broken,
            ["bad 1.0.0: is banned: because"],
            "the reason must be said"
        );
    }

    fn mk_rules() -> Rules {
        Rules {
            licenses: Licenses {
                allow: ["MIT", "Apache-2.0 WITH LLVM-exception"]
                    .map(str::to_owned)
                    .into(),
            },
            bans: Bans {
                deny: vec![Ban {
                    name: "bad".into(),
                    reason: "because".into(),
                }],
            },
            sources: Sources {
                allow_registry: vec!["https://index".into()],
            },
        }
    }
}
