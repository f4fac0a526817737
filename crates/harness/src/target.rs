//! A target and the workload behind it: one `ScaleTarget` document, one Envoy cluster, one upstream process.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{binaries, free_port};

/// What the workload speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1, server-sent events, WebSocket.
    Http,
    /// gRPC over HTTP/2 without TLS.
    Grpc,
}

/// Where an Envoy cluster's endpoints come from.
#[derive(Clone, Debug)]
pub(crate) enum Endpoints {
    /// One, on this port of 127.0.0.1, for ever.
    Port(u16),
    /// What this file says; it is moved into place for each change.
    File(PathBuf),
}

/// A target that starts one `upstream` process on demand.
///
/// Its cluster in Envoy has its name, its virtual host is `<name>.example.com`, and it is matched by the cluster.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the document; the namespace is `default`.
    pub name: String,
    /// What the workload speaks.
    pub kind: Kind,
    /// Port of 127.0.0.1 that the workload listens on while it is up.
    pub port: u16,
    document: Value,
    cluster: Value,
    command: Vec<String>,
    host: String,
    cluster_name: String,
    eds: Option<PathBuf>,
}

impl Target {
    /// A target whose upstream speaks HTTP.
    pub fn http(name: &str) -> Self {
        Self::new(name, Kind::Http)
    }

    /// A target whose upstream speaks gRPC.
    pub fn grpc(name: &str) -> Self {
        Self::new(name, Kind::Grpc).spec("confirm.grpc", true)
    }

    fn new(name: &str, kind: Kind) -> Self {
        let port = free_port();
        let (listen, other) = match kind {
            Kind::Http => ("--http", "--grpc"),
            Kind::Grpc => ("--grpc", "--http"),
        };
        let address = format!("127.0.0.1:{port}");
        let program = binaries::upstream().display().to_string();
        let command = [
            program.as_str(),
            "--name",
            name,
            listen,
            &address,
            other,
            "127.0.0.1:0",
        ];
        let command = command.map(str::to_owned).to_vec();
        let document = json!({
            "apiVersion": "holdfast.dev/v1alpha1",
            "kind": "ScaleTarget",
            "metadata": {"name": name},
            "spec": {
                "workload": {"process": {"ready": {"tcp": {"port": port}}}},
                "match": {"clusters": [name]},
            },
        });
        let host = format!("{name}.example.com");
        Self {
            name: name.to_owned(),
            kind,
            port,
            document,
            cluster: json!({}),
            command,
            host,
            cluster_name: name.to_owned(),
            eds: None,
        }
    }

    /// Sets one field of `spec`, named by its path: `spec("hold.timeout", "2s")`.
    #[must_use]
    pub fn spec(mut self, path: &str, value: impl Into<Value>) -> Self {
        let pointer = format!("/spec/{}", path.replace('.', "/"));
        set(&mut self.document, &pointer, value.into());
        self
    }

    /// `idle.after`.
    #[must_use]
    pub fn idle(self, after: &str) -> Self {
        self.spec("idle.after", after)
    }

    /// Adds options to the upstream's command line.
    #[must_use]
    pub fn upstream<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Sets one environment variable of the upstream.
    #[must_use]
    pub fn env(self, name: &str, value: &str) -> Self {
        self.spec(&format!("workload.process.env.{name}"), value)
    }

    /// Sets one field of the Envoy cluster, named by its path: `cluster("outlier_detection", json!({..}))`.
    #[must_use]
    pub fn cluster(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(
            &mut self.cluster,
            &format!("/{}", path.replace('.', "/")),
            value.into(),
        );
        self
    }

    /// Another name of its Envoy cluster than its own, as meshes have.
    #[must_use]
    pub fn cluster_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.cluster_name);
        self
    }

    /// Its Envoy cluster's endpoints come from this file, and change with it; see the crate `e2e`, `kube::Eds`.
    #[must_use]
    pub fn eds(mut self, path: &Path) -> Self {
        self.eds = Some(path.to_owned());
        self
    }

    /// Another `:authority` than `<name>.example.com`.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Its `:authority` in Envoy.
    pub fn authority(&self) -> &str {
        &self.host
    }

    /// The `ScaleTarget` document.
    pub fn document(&self) -> Value {
        let mut document = self.document.clone();
        if document.pointer("/spec/workload/process/command").is_none() {
            set(
                &mut document,
                "/spec/workload/process/command",
                json!(self.command),
            );
        }
        document
    }

    /// The name of its Envoy cluster.
    pub(crate) fn its_cluster(&self) -> &str {
        &self.cluster_name
    }

    /// Where its endpoints come from.
    pub(crate) fn endpoints(&self) -> Endpoints {
        match &self.eds {
            Some(path) => Endpoints::File(path.clone()),
            None => Endpoints::Port(self.port),
        }
    }

    /// The fields of its Envoy cluster that are special.
    pub(crate) fn cluster_patch(&self) -> &Value {
        &self.cluster
    }
}

/// All documents as one YAML stream (JSON is YAML).
pub(crate) fn targets_file(targets: &[Target]) -> String {
    let documents = targets
        .iter()
        .map(|target| serde_json::to_string_pretty(&target.document()).unwrap());
    documents.collect::<Vec<_>>().join("\n---\n") + "\n"
}

/// Sets the value at a JSON pointer and makes the objects on the way.
pub fn set(at: &mut Value, pointer: &str, value: Value) {
    let mut at = at;
    for key in pointer.trim_start_matches('/').split('/') {
        if let Value::Array(items) = at {
            at = &mut items[key.parse::<usize>().expect("an index into an array")];
            continue;
        }
        if !at.is_object() {
            *at = json!({});
        }
        at = at.as_object_mut().unwrap().entry(key).or_insert(Value::Null);
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_makes_the_objects_on_its_way() {
        let mut value = json!({"a": 1});
        set(&mut value, "/b/c", json!(2));
        assert_eq!(value, json!({"a": 1, "b": {"c": 2}}), "the rest must stay");
    }
}
