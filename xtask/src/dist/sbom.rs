//! The bill of materials: CycloneDX 1.5, as JSON. It has no time and no serial number, so that two builds write the same.
//!
//! <https://cyclonedx.org/docs/1.5/json/>

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::{Value, json};
use spdx::Expression;

use super::parts::{Id, Package, Parts};

/// The reference of the release as a whole.
const WHOLE: &str = "holdfast";

/// The text of the file.
///
/// # Errors
/// If a package that is not ours names no license, or the text cannot be written as JSON.
pub(super) fn write(parts: &Parts) -> anyhow::Result<String> {
    for ((name, version), package) in parts.foreign() {
        ensure!(package.license.is_some(), "{name} {version} names no license");
    }
    let ours = |id: &Id, package: &Package| component(id, package, "application");
    let shipped: Vec<_> = parts
        .packages
        .iter()
        .filter(|(id, _)| parts.shipped.contains(*id))
        .map(|(id, package)| ours(id, package))
        .collect();
    let libraries: Vec<_> = parts
        .packages
        .iter()
        .filter(|(id, _)| !parts.shipped.contains(*id))
        .map(|(id, package)| component(id, package, "library"))
        .collect();
    let needs = |name: String, needs: &BTreeSet<Id>| {
        let needs: Vec<_> = needs.iter().map(reference).collect();
        json!({"ref": name, "dependsOn": needs})
    };
    let dependencies: Vec<_> = std::iter::once(needs(WHOLE.to_owned(), &parts.shipped))
        .chain(parts.needs.iter().map(|(id, of)| needs(reference(id), of)))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let whole = json!({
        "type": "application",
        "bom-ref": WHOLE,
        "name": "holdfast",
        "version": version,
        "licenses": [{"expression": "Apache-2.0"}],
        "components": shipped,
    });
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": whole},
        "components": libraries,
        "dependencies": dependencies,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&bom)?))
}

fn component((name, version): &Id, package: &Package, kind: &str) -> Value {
    let mut out = json!({
        "type": kind,
        "bom-ref": reference(&(name.clone(), version.clone())),
        "name": name,
        "version": version,
    });
    let Some(fields) = out.as_object_mut() else {
        return out;
    };
    if package.source.is_some() {
        let url = reference(&(name.clone(), version.clone()));
        fields.insert("purl".to_owned(), json!(url));
    }
    if let Some(license) = &package.license {
        let expression = Expression::canonicalize(license).ok().flatten();
        let expression = expression.unwrap_or_else(|| license.clone());
        fields.insert("licenses".to_owned(), json!([{"expression": expression}]));
    }
    if let Some(checksum) = &package.checksum {
        fields.insert(
            "hashes".to_owned(),
            json!([{"alg": "SHA-256", "content": checksum}]),
        );
    }
    out
}

fn reference((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{version}")
}

#[cfg(test)]
mod tests {
    use super::super::parts::tests::mk_parts;
    use super::*;

    #[test]
    fn every_package_is_named_with_license_and_hash() {
        let bom: Value = serde_json::from_str(&write(&mk_parts()).unwrap()).unwrap();
        assert_eq!(bom["bomFormat"], "CycloneDX");
        assert_eq!(bom["metadata"]["component"]["components"][0]["name"], "filter");
        let a = &bom["components"][0];
        assert_eq!(a["purl"], "pkg:cargo/a@1.0.0");
        assert_eq!(
            a["licenses"][0]["expression"], "MIT OR Apache-2.0",
            "must be SPDX"
        );
        assert_eq!(a["hashes"][0]["content"], "00ff");
    }

    #[test]
    fn a_package_without_a_license_is_refused() {
        let mut parts = mk_parts();
        for package in parts.packages.values_mut() {
            package.license = None;
        }
        let error = write(&parts).unwrap_err().to_string();
        assert_eq!(error, "a 1.0.0 names no license", "ours need none of their own");
    }

    #[test]
    fn every_reference_is_of_a_component() {
        let bom: Value = serde_json::from_str(&write(&mk_parts()).unwrap()).unwrap();
        let shipped = bom["metadata"]["component"]["components"].as_array().unwrap();
        let libraries = bom["components"].as_array().unwrap();
        let known: BTreeSet<_> = shipped
            .iter()
            .chain(libraries)
            .chain([&bom["metadata"]["component"]])
            .map(|component| &component["bom-ref"])
            .map(|name| name.as_str().unwrap())
            .collect();
        let dependencies = bom["dependencies"].as_array().unwrap();
        assert_eq!(dependencies.len(), known.len(), "each must say what it needs");
        for dependency in dependencies {
            let needs = dependency["dependsOn"].as_array().unwrap();
            for name in needs.iter().chain([&dependency["ref"]]) {
                assert!(
                    known.contains(name.as_str().unwrap()),
                    "{name} must be a component"
                );
            }
        }
    }
}
