//! Writes YAML documents to an API server, as `kubectl apply --server-side` does.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use serde::Deserialize as _;
use serde_json::Value;

use harness::eventually;

const SERVED_WITHIN: Duration = Duration::from_secs(20);

/// The documents of a YAML text, those of a `List` one by one. Empty ones are left out.
pub(super) fn documents(yaml: &str) -> anyhow::Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in serde_norway::Deserializer::from_str(yaml) {
        let document = Value::deserialize(document).context("not YAML")?;
        match document.get("items").and_then(Value::as_array) {
            Some(items) if document["kind"] == "List" => documents.extend(items.iter().cloned()),
            _ if document.is_null() => {}
            _ => documents.push(document),
        }
    }
    Ok(documents)
}

/// Applies them in order. The first that is refused ends it, with the server's words.
pub(super) async fn apply(client: &Client, documents: Vec<Value>) -> anyhow::Result<()> {
    let mut kinds = BTreeMap::new();
    for document in documents {
        let (kind, name) = (word(&document, "/kind"), word(&document, "/metadata/name"));
        apply_one(client, &mut kinds, document)
            .await
            .with_context(|| format!("{kind} {name}"))?;
    }
    Ok(())
}

/// Installs the definitions in a folder's YAML files, and waits until the server serves them.
pub(super) async fn install_crds(client: &Client, dir: &Path) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
    });
    files.sort();
    let mut installed = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let documents = documents(&text).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        for document in documents {
            if document["kind"] == "CustomResourceDefinition" {
                let name = word(&document, "/metadata/name");
                install(client, document)
                    .await
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                installed.push(name);
            }
        }
    }
    assert!(!installed.is_empty(), "no definitions in {}", dir.display());
    for name in installed {
        established(client, &name).await;
    }
}

type Kinds = BTreeMap<(String, String), (ApiResource, ApiCapabilities)>;

async fn apply_one(client: &Client, kinds: &mut Kinds, mut document: Value) -> anyhow::Result<()> {
    served_by_1_20(&mut document);
    let (api_version, kind) = (word(&document, "/apiVersion"), word(&document, "/kind"));
    if kind == "CustomResourceDefinition" {
        let name = word(&document, "/metadata/name");
        install(client, document).await?;
        established(client, &name).await;
        return Ok(());
    }
    name_protocols(&mut document);
    let key = (api_version.clone(), kind.clone());
    if !kinds.contains_key(&key) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let found = pinned_kind(client, &GroupVersionKind::gvk(group, version, &kind)).await?;
        kinds.insert(key.clone(), found);
    }
    let (resource, capabilities) = &kinds[&key];
    let name = word(&document, "/metadata/name");
    let namespace = document.pointer("/metadata/namespace").and_then(Value::as_str);
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace.unwrap_or("default"), resource),
    };
    let params = PatchParams::apply("e2e").force();
    api.patch(&name, &params, &Patch::Apply(&document)).await?;
    Ok(())
}

/// Not by server-side apply: it refuses fields that the server does not know, such as CEL rules in 1.20.
async fn install(client: &Client, mut document: Value) -> kube::Result<()> {
    let resource = ApiResource::erase::<CustomResourceDefinition>(&());
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let name = word(&document, "/metadata/name");
    if let Some(old) = api.get_opt(&name).await? {
        document["metadata"]["resourceVersion"] = old.metadata.resource_version.into();
        let new: DynamicObject = serde_json::from_value(document).map_err(kube::Error::SerdeError)?;
        api.replace(&name, &PostParams::default(), &new).await?;
    } else {
        let new: DynamicObject = serde_json::from_value(document).map_err(kube::Error::SerdeError)?;
        api.create(&PostParams::default(), &new).await?;
    }
    Ok(())
}

/// Waits until the kind is served and its objects can be listed.
async fn established(client: &Client, name: &str) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = eventually(&format!("{name} is established"), SERVED_WITHIN, || async {
        let definition = api.get(name).await.ok()?;
        let conditions = definition.status.as_ref()?.conditions.as_ref()?;
        let established = conditions
            .iter()
            .any(|condition| condition.type_ == "Established" && condition.status == "True");
        established.then_some(definition)
    })
    .await;
    let version = definition
        .spec
        .versions
        .iter()
        .find(|version| version.served)
        .unwrap();
    let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
    let path = format!("/apis/{group}/{}/{plural}?limit=1", version.name);
    eventually(&format!("{name} is served"), SERVED_WITHIN, || async {
        let request = http::Request::get(&path).body(Vec::new()).unwrap();
        client.request_text(request).await.is_ok()
    })
    .await;
}

/// A PodDisruptionBudget was the same in v1beta1, which is what 1.20 knows.
fn served_by_1_20(document: &mut Value) {
    if document["kind"] == "PodDisruptionBudget" && document["apiVersion"] == "policy/v1" {
        document["apiVersion"] = "policy/v1beta1".into();
    }
}

/// The default of `protocol`, written out: server-side apply of 1.20 wants it, because ports are told apart by it.
fn name_protocols(document: &mut Value) {
    let containers = ["/spec", "/spec/template/spec"]
        .iter()
        .flat_map(|spec| ["containers", "initContainers"].map(|list| format!("{spec}/{list}")));
    let mut owners = Vec::new();
    if document["kind"] == "Service" {
        owners.push("/spec/ports".to_owned());
    }
    for list in containers {
        let count = document
            .pointer(&list)
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        owners.extend((0..count).map(|index| format!("{list}/{index}/ports")));
    }
    for ports in owners {
        let ports = document.pointer_mut(&ports).and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.entry("protocol").or_insert_with(|| "TCP".into());
        }
    }
}

fn word(document: &Value, pointer: &str) -> String {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_as_its_items() {
        let yaml = "# nothing\n---\nkind: List\nitems: [{kind: A}, {kind: B}]\n---\nkind: C\n---\n";
        let kinds: Vec<Value> = documents(yaml)
            .unwrap()
            .into_iter()
            .map(|document| document["kind"].clone())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"], "must be in order, without empty ones");
    }
}
