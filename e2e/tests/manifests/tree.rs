//! Reads the manifests as kustomize does, but for the hash in the names of generated objects.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

/// The control plane.
pub(crate) const BASE: &str = "base";
/// What sleeps in the demo.
pub(crate) const DEMO: &str = "demo";
/// Its routes, for a gateway of the Gateway API.
pub(crate) const ROUTES: &str = "demo/routes";
/// What runs the filter: each is an installation of its own.
pub(crate) const OVERLAYS: [&str; 3] = ["overlays/istio", "overlays/envoy-gateway", "overlays/envoy"];
/// Belongs to `overlays/envoy-gateway`.
pub(crate) const PATCH: &str = "overlays/envoy-gateway/patch";

/// Every folder with a kustomization, in the order in which they are applied.
pub(crate) fn folders() -> Vec<&'static str> {
    [&[BASE], &OVERLAYS[..], &[PATCH, DEMO, ROUTES]].concat()
}

/// All that is in the cluster with this overlay.
pub(crate) fn installation(overlay: &str) -> Vec<Object> {
    let mut folders = vec![BASE, overlay, DEMO];
    match overlay {
        "overlays/envoy" => {}
        "overlays/envoy-gateway" => folders.extend([PATCH, ROUTES]),
        _ => folders.push(ROUTES),
    }
    folders.into_iter().flat_map(render).collect()
}

/// The objects of a folder of `kubernetes/`, in order.
pub(crate) fn render(folder: &str) -> Vec<Object> {
    let kustomization: Kustomization = serde_norway::from_str(&read(&format!("{folder}/kustomization.yaml")))
        .unwrap_or_else(|error| panic!("{folder}/kustomization.yaml: {error}"));
    let listed = kustomization
        .resources
        .iter()
        .flat_map(|file| documents(&format!("{folder}/{file}")));
    let generated = kustomization.config_map_generator.iter().map(|generator| {
        let data: serde_json::Map<_, _> = generator
            .files
            .iter()
            .map(|file| (file.clone(), read(&format!("{folder}/{file}")).into()))
            .collect();
        Object(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generator.name, "namespace": generator.namespace},
            "data": data,
        }))
    });
    listed.chain(generated).collect()
}

/// A file of `kubernetes/`.
pub(crate) fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `kubernetes/`.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubernetes")
}

/// Nothing but what both kustomize 2.0.3, which is in kubectl 1.20, and a current one understand.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    /// Files of the same folder.
    resources: Vec<String>,
    #[serde(default)]
    config_map_generator: Vec<Generator>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    name: String,
    namespace: String,
    files: Vec<String>,
}

/// The objects of a file of `kubernetes/`, in order.
pub(crate) fn documents(path: &str) -> Vec<Object> {
    let text = read(path);
    let documents = serde_norway::Deserializer::from_str(&text).map(|document| {
        Object(Value::deserialize(document).unwrap_or_else(|error| panic!("kubernetes/{path}: {error}")))
    });
    documents.collect()
}

/// One manifest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object(pub(crate) Value);

impl Object {
    pub(crate) fn kind(&self) -> &str {
        self.text("/kind")
    }

    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// Empty for what has none.
    pub(crate) fn namespace(&self) -> &str {
        self.0
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// For messages.
    pub(crate) fn title(&self) -> String {
        format!("{} {}/{}", self.kind(), self.namespace(), self.name())
    }

    /// The text at a JSON pointer, which must be there.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        let value = self.0.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no text at {pointer} of {}", self.0))
    }

    /// The list at a JSON pointer; empty if there is none.
    pub(crate) fn list(&self, pointer: &str) -> &[Value] {
        self.0
            .pointer(pointer)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// The Pod that it makes, if it makes any.
    pub(crate) fn pod(&self) -> Option<&Value> {
        (self.kind() == "Deployment").then(|| &self.0["spec"]["template"])
    }
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(objects: &'a [Object], kind: &str) -> Vec<&'a Object> {
    objects.iter().filter(|object| object.kind() == kind).collect()
}

/// The object of that kind and name, which must be there.
pub(crate) fn find<'a>(objects: &'a [Object], kind: &str, namespace: &str, name: &str) -> &'a Object {
    let found = objects
        .iter()
        .find(|object| object.kind() == kind && object.namespace() == namespace && object.name() == name);
    found.unwrap_or_else(|| panic!("{kind} {namespace}/{name} must be there"))
}

/// The named object of a list such as `containers` or `ports`.
pub(crate) fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item["name"] == name)
}
