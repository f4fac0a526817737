//! What a test on Kubernetes has behind Envoy: a Deployment of the upstream, its Service and its `ScaleTarget`.

use std::path::Path;

use serde_json::{Value, json};

use super::eds::Follow;
use harness::set;
use harness::{Kind, Target};

/// Port of the pods that speaks what [`Kind`] says.
const PORT: u16 = 8080;
const OTHER_PORT: u16 = 8081;

/// A Deployment at zero, whose pods run `upstream`. Its `ScaleTarget` has nothing but the references and `idle`.
///
/// Envoy's cluster is named as Istio names it, so the derived key matches; the virtual host is `<name>.example.com`.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Name of the Deployment, the Service and the `ScaleTarget`.
    pub name: String,
    /// Namespace of all three.
    pub namespace: String,
    /// What it speaks.
    pub kind: Kind,
    cluster: String,
    args: Vec<String>,
    deployment: Value,
    service: Value,
    target: Option<Value>,
}

impl Workload {
    /// Speaks HTTP, in namespace `default`.
    pub fn http(name: &str) -> Self {
        Self::new(name, Kind::Http)
    }

    /// Speaks gRPC, in namespace `default`.
    pub fn grpc(name: &str) -> Self {
        Self::new(name, Kind::Grpc).spec("confirm.grpc", true)
    }

    fn new(name: &str, kind: Kind) -> Self {
        let labels = json!({"app": name});
        let probe = json!({"tcpSocket": {"port": PORT}, "periodSeconds": 1});
        let container = json!({
            "name": "main",
            "image": "upstream",
            "ports": [{"name": "main", "containerPort": PORT}],
            "readinessProbe": probe,
        });
        let annotations = json!({"e2e.holdfast.dev/probe-period-ms": "20"});
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": annotations},
                    "spec": {"terminationGracePeriodSeconds": 10, "containers": [container]},
                },
            },
        });
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": labels, "ports": [{"name": "main", "port": 80, "targetPort": "main"}]},
        });
        let target = json!({
            "apiVersion": "holdfast.dev/v1alpha1",
            "kind": "ScaleTarget",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "service": {"name": name, "port": 80},
            },
        });
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            kind,
            cluster: format!("outbound|80||{name}.default.svc.cluster.local"),
            args: Vec::new(),
            deployment,
            service,
            target: Some(target),
        }
    }

    /// Sets one field of the `ScaleTarget`'s spec, named by its path: `spec("hold.timeout", "2s")`.
    #[must_use]
    pub fn spec(mut self, path: &str, value: impl Into<Value>) -> Self {
        let target = self.target.as_mut().expect("a workload with a target");
        set(target, &pointer("spec", path), value.into());
        self
    }

    /// `idle.after`.
    #[must_use]
    pub fn idle(self, after: &str) -> Self {
        self.spec("idle.after", after)
    }

    /// Leaves the `ScaleTarget` out.
    #[must_use]
    pub fn without_target(mut self) -> Self {
        self.target = None;
        self
    }

    /// Sets one field of the Deployment's spec: `deployment("replicas", 3)`.
    #[must_use]
    pub fn deployment(mut self, path: &str, value: impl Into<Value>) -> Self {
        set(&mut self.deployment, &pointer("spec", path), value.into());
        self
    }

    /// Sets one field of the pods' spec: `pod("nodeSelector", json!({..}))`.
    #[must_use]
    pub fn pod(self, path: &str, value: impl Into<Value>) -> Self {
        self.deployment(&format!("template.spec.{path}"), value)
    }

    /// Sets one field of the container: `container("image", "missing")`.
    #[must_use]
    pub fn container(self, path: &str, value: impl Into<Value>) -> Self {
        self.pod(&format!("containers.0.{path}"), value)
    }

    /// Tells the kubelet something special, see [`super::kubelet`]: `annotation("term-delay-ms", "500")`.
    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.deployment["spec"]["template"]["metadata"]["annotations"][format!("e2e.holdfast.dev/{name}")] =
            json!(value);
        self
    }

    /// Adds options to the upstream's command line.
    #[must_use]
    pub fn upstream<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Another name of Envoy's cluster.
    #[must_use]
    pub fn cluster_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.cluster);
        self
    }

    /// Its documents. The upstream keeps its journal in `journal`.
    pub(super) fn documents(&self, journal: &Path) -> Vec<Value> {
        let (listen, other) = match self.kind {
            Kind::Http => ("--http", "--grpc"),
            Kind::Grpc => ("--grpc", "--http"),
        };
        let (here, there) = (format!("$(POD_IP):{PORT}"), format!("$(POD_IP):{OTHER_PORT}"));
        let journal = journal.display().to_string();
        let args = [
            "--name",
            &self.name,
            listen,
            &here,
            other,
            &there,
            "--journal",
            &journal,
        ];
        let mut args: Vec<String> = args.map(str::to_owned).to_vec();
        args.extend(self.args.iter().cloned());
        let mut deployment = self.deployment.clone();
        let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
        if container["command"].is_null() {
            container["args"] = json!(args);
            container.as_object_mut().expect("a container").remove("command");
        }
        let mut documents = vec![deployment, self.service.clone()];
        documents.extend(self.target.clone());
        documents
    }

    /// Its endpoints, for the mesh.
    pub(super) fn follow(&self) -> Follow {
        Follow::new(&self.cluster, &self.namespace, &self.name)
    }

    /// Its cluster and virtual host, for Envoy.
    pub(super) fn in_envoy(&self, endpoints: &Path) -> Target {
        let target = match self.kind {
            Kind::Http => Target::http(&self.name),
            Kind::Grpc => Target::grpc(&self.name),
        };
        target.cluster_name(&self.cluster).eds(endpoints)
    }

    /// Its `:authority` in Envoy.
    pub fn authority(&self) -> String {
        format!("{}.example.com", self.name)
    }
}

fn pointer(root: &str, path: &str) -> String {
    format!("/{root}/{}", path.replace('.', "/"))
}
