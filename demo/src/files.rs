//! The files of `local-envoy/` with the demo's ports and paths in place of their own.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::options::{Options, Ports, root};

/// Writes `envoy.json`.
pub(crate) fn envoy(options: &Options) -> anyhow::Result<PathBuf> {
    let ports = options.ports;
    let text = shipped("envoy.yaml")?;
    let mut envoy: Value = serde_norway::from_str(&text).context("local-envoy/envoy.yaml")?;
    visit(&mut envoy, &mut |key, value| match (key, value.as_u64()) {
        ("port_value", Some(port)) => *value = json!(ports.instead_of(port)),
        ("filename", _) => *value = json!(options.wasm),
        _ => {}
    });
    let path = options.dir.join("envoy.json");
    std::fs::write(&path, format!("{envoy:#}"))?;
    Ok(path)
}

/// Writes `targets.yaml`; the workloads keep a journal beside it.
pub(crate) fn targets(options: &Options, idle: &str) -> anyhow::Result<PathBuf> {
    let ports = options.ports;
    let text = shipped("targets.yaml")?;
    let mut documents = Vec::new();
    for document in serde_norway::Deserializer::from_str(&text) {
        let mut target = Value::deserialize(document).context("local-envoy/targets.yaml")?;
        let name = target.pointer("/metadata/name").and_then(Value::as_str);
        let name = name.context("a name")?.to_owned();
        *target.pointer_mut("/spec/idle/after").context("an idle time")? = json!(idle);
        visit(&mut target, &mut |key, value| {
            if let ("port", Some(port)) = (key, value.as_u64()) {
                *value = json!(ports.instead_of(port));
            }
        });
        let command = target
            .pointer_mut("/spec/workload/process/command")
            .and_then(Value::as_array_mut);
        let command = command.context("a command")?;
        for word in command.iter_mut() {
            if let Some(port) = word
                .as_str()
                .and_then(|word| word.strip_prefix("127.0.0.1:")?.parse().ok())
            {
                *word = json!(format!("127.0.0.1:{}", ports.instead_of(port)));
            }
        }
        *command.first_mut().context("a program")? = json!(options.upstream());
        command.extend([json!("--journal"), json!(journal(&options.dir, &name))]);
        documents.push(format!("{target:#}"));
    }
    let path = options.dir.join("targets.yaml");
    std::fs::write(&path, documents.join("\n---\n"))?;
    Ok(path)
}

/// Where the workload of that name keeps its journal.
pub(crate) fn journal(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.journal"))
}

impl Ports {
    /// The demo's port for one that stands in the shipped files.
    fn instead_of(self, port: u64) -> u64 {
        match port {
            9000 => self.traffic.into(),
            8001 => self.admin.into(),
            7001 => self.control.into(),
            50001 => self.http.into(),
            50002 => self.grpc.into(),
            other => other,
        }
    }
}

fn shipped(name: &str) -> anyhow::Result<String> {
    let path = root().join("local-envoy").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Calls `change` with each key of each object and its value.
fn visit(value: &mut Value, change: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                change(key, value);
                visit(value, change);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| visit(item, change)),
        _ => {}
    }
}
