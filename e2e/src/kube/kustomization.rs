//! Reads the resources of a kustomization. Knows nothing of patches: a kustomization that has any is refused.

use std::path::Path;

use serde_json::Value;

/// Fields that change nothing about the resources.
const KNOWN: [&str; 3] = ["apiVersion", "kind", "resources"];

/// All documents of a folder's `kustomization.yaml`, in its order, those of folders that it names included.
pub(super) fn documents(dir: &Path) -> Vec<Value> {
    let file = dir.join("kustomization.yaml");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let kustomization: Value =
        serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let fields = kustomization.as_object().expect("a kustomization");
    for field in fields.keys() {
        assert!(
            KNOWN.contains(&field.as_str()),
            "{}: {field} needs kustomize itself",
            file.display()
        );
    }
    let mut documents = Vec::new();
    for resource in kustomization["resources"].as_array().into_iter().flatten() {
        let path = dir.join(resource.as_str().expect("a path"));
        if path.is_dir() {
            documents.extend(self::documents(&path));
            continue;
        }
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let read = super::apply::documents(&text);
        documents.extend(read.unwrap_or_else(|error| panic!("{}: {error:#}", path.display())));
    }
    documents
}
