//! Images: those that the manifests name are those that `image/build.sh` makes, under one tag, which is this version.

use std::collections::BTreeSet;

use harness::binaries;

use super::tree;

const OURS: &str = "ghcr.io/holdfast-dev/";
/// The workspace's version: this crate has it too.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn ours_have_one_tag_and_are_all_built() {
    let named: BTreeSet<_> = images()
        .into_iter()
        .filter_map(|image| image.strip_prefix(OURS).map(str::to_owned))
        .collect();
    let script = tree::read("image/build.sh");
    assert!(
        script.contains("\nregistry=ghcr.io/holdfast-dev\n"),
        "must build for {OURS}"
    );
    assert!(
        script.contains(&format!("\ntag={VERSION}\n")),
        "must build {VERSION}"
    );
    let built = ["control-plane", "holdfast-wasm", "upstream"].map(|name| format!("{name}:{VERSION}"));
    assert_eq!(named, BTreeSet::from(built));
    assert!(
        script.contains("\"$registry/holdfast-wasm:$tag\" target/dist"),
        "must build the filter's"
    );
    assert!(
        script.contains("\nfor image in control-plane upstream; do\n"),
        "must build the others"
    );
    let recipe = tree::read("image/Containerfile");
    for stage in ["control-plane", "upstream"] {
        assert!(
            recipe.contains(&format!(" AS {stage}\n")),
            "must have a stage {stage}"
        );
    }
}

#[test]
fn the_filters_image_is_one_file() {
    let recipe = tree::read("image/wasm.Containerfile");
    let lines: Vec<_> = recipe.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["FROM scratch", "COPY holdfast.wasm /plugin.wasm"]);
}

#[test]
fn images_of_others_have_a_version() {
    for image in images() {
        let tag = image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
        assert!(tag.contains('.'), "{image}: must have a version");
    }
}

#[test]
fn the_plain_envoy_is_the_one_that_is_tested() {
    let out = std::process::Command::new(binaries::envoy())
        .arg("--version")
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let envoy = images()
        .into_iter()
        .find(|image| image.contains("/envoy:"))
        .unwrap();
    let version = envoy.rsplit_once(":v").unwrap().1;
    assert!(
        said.contains(&format!("/{version}/")),
        "{envoy}: tested is {said}"
    );
}

/// Every image that a manifest names.
fn images() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in tree::folders() {
        for object in tree::render(folder) {
            let wasm_plugin = object.0["spec"].get("url");
            let policies = object
                .list("/spec/wasm")
                .iter()
                .map(|wasm| &wasm["code"]["image"]["url"]);
            for image in wasm_plugin.into_iter().chain(policies) {
                let image = image.as_str().unwrap();
                found.insert(image.strip_prefix("oci://").unwrap_or(image).to_owned());
            }
            for list in ["initContainers", "containers"] {
                for container in object.list(&format!("/spec/template/spec/{list}")) {
                    found.extend(container["image"].as_str().map(str::to_owned));
                }
            }
        }
    }
    assert!(found.len() >= 5, "must have found images: {found:?}");
    found
}
