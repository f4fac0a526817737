//! Everything that the Kubernetes backend has around it: API server, kubelet, mesh, Envoy, and the control plane with the
//! rights that `kubernetes/base` gives it.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::replicas::ReadyReplicas;
use super::{Cluster, Eds, Kubelet, Scales, Workload, assets};
use harness::{
    Client, Control, ControlBuilder, Envoy, EnvoyBuilder, Journal, Target, binaries, eventually, grpc,
};

/// Namespace and service account of the control plane.
pub const NAMESPACE: &str = "holdfast-system";
/// See [`NAMESPACE`].
pub const ACCOUNT: &str = "holdfast-control-plane";

/// A lease has to be taken, everything to be read, and Envoy to be told.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const CHANGES_WITHIN: Duration = Duration::from_secs(30);

type Change<B> = Box<dyn FnOnce(B) -> B + Send>;

/// What is special about a stack.
pub struct KubeStackBuilder {
    workloads: Vec<Workload>,
    manifests: Vec<String>,
    gateway_api: bool,
    lag: Duration,
    keep_terminating: bool,
    replicas: usize,
    own_accounts: bool,
    lease: String,
    heartbeat: String,
    control: Vec<Box<dyn Fn(ControlBuilder) -> ControlBuilder + Send>>,
    envoy: Vec<Change<EnvoyBuilder>>,
}

impl KubeStackBuilder {
    /// Adds a workload.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.workloads.push(workload);
        self
    }

    /// Applies YAML before the control plane starts.
    #[must_use]
    pub fn apply(mut self, yaml: &str) -> Self {
        self.manifests.push(yaml.to_owned());
        self
    }

    /// Installs the definitions of `../shared/crds` (Gateway API, Istio, Envoy Gateway) first.
    #[must_use]
    pub fn gateway_api(mut self) -> Self {
        self.gateway_api = true;
        self
    }

    /// How much later than the harness Envoy learns of endpoints. Default: none.
    #[must_use]
    pub fn lag(mut self, lag: Duration) -> Self {
        self.lag = lag;
        self
    }

    /// The mesh keeps terminating endpoints until they are gone.
    #[must_use]
    pub fn keep_terminating(mut self) -> Self {
        self.keep_terminating = true;
        self
    }

    /// Number of control planes. Default: 1.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Gives each control plane a service account of its own ([`account`]) with the rights of the one that they share,
    /// so that the audit log tells them apart.
    #[must_use]
    pub fn own_accounts(mut self) -> Self {
        self.own_accounts = true;
        self
    }

    /// `--lease-duration`. Default: 1s.
    #[must_use]
    pub fn lease(mut self, duration: &str) -> Self {
        duration.clone_into(&mut self.lease);
        self
    }

    /// `--heartbeat`. Default: 200ms.
    #[must_use]
    pub fn heartbeat(mut self, interval: &str) -> Self {
        interval.clone_into(&mut self.heartbeat);
        self
    }

    /// Changes every control plane. Not for `--lease-duration`, `--heartbeat`, `--identity`, `--log-format`.
    #[must_use]
    pub fn control(mut self, change: impl Fn(ControlBuilder) -> ControlBuilder + Send + 'static) -> Self {
        self.control.push(Box::new(change));
        self
    }

    /// Changes Envoy.
    #[must_use]
    pub fn envoy(mut self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder + Send + 'static) -> Self {
        self.envoy.push(Box::new(change));
        self
    }

    /// Starts everything. One control plane leads, and Envoy has synced with it. `None`: see [`Cluster::start`].
    pub async fn start(self) -> Option<KubeStack> {
        let definitions = if self.gateway_api {
            Some(assets::definitions_or_skip()?)
        } else {
            None
        };
        let cluster = Cluster::start().await?;
        let kubelet = Kubelet::start(&cluster).await;
        if let Some(definitions) = definitions {
            cluster.install_crds(&definitions).await;
        }
        cluster
            .apply_folder(&binaries::root().join("kubernetes/base"), |document| {
                // Its replicas are processes of the harness's own, which a test can stop and kill.
                document["kind"] != "Deployment"
            })
            .await;
        for yaml in &self.manifests {
            cluster.apply(yaml).await;
        }
        for workload in &self.workloads {
            let documents = workload.documents(&journal_path(&cluster, &workload.name));
            cluster.apply_documents(documents).await.unwrap();
        }
        let scales = Scales::start(&cluster).await;
        let follows = self.workloads.iter().map(Workload::follow).collect();
        let eds = if self.keep_terminating {
            Eds::start_with_terminating(&cluster, self.lag, follows).await
        } else {
            Eds::start(&cluster, self.lag, follows).await
        };
        let mut controls = Vec::new();
        for replica in 0..self.replicas {
            let name = if self.own_accounts {
                let own = account(replica);
                cluster.apply_documents(documents_of_account(&own)).await.unwrap();
                own
            } else {
                ACCOUNT.to_owned()
            };
            let kubeconfig = cluster.kubeconfig_for_service_account(NAMESPACE, &name).await;
            let identity = format!("replica-{replica}");
            let options = [
                ["--log-format", "json"],
                ["--heartbeat", &self.heartbeat],
                ["--lease-duration", &self.lease],
                ["--lease-namespace", NAMESPACE],
                ["--identity", &identity],
            ];
            let builder = ControlBuilder::new()
                .kubernetes(&kubeconfig)
                .args(options.concat());
            let builder = self
                .control
                .iter()
                .fold(builder, |builder, change| change(builder));
            controls.push(builder.start_replica(cluster.dir()).await);
        }
        let ports: Vec<u16> = controls.iter().map(Control::port).collect();
        let ready = ReadyReplicas::watch(cluster.dir(), ports);
        let builder = EnvoyBuilder::new(0, &in_envoy(&self.workloads, &eds)).control_eds(ready.path());
        let builder = self
            .envoy
            .into_iter()
            .fold(builder, |builder, change| change(builder));
        let envoy = builder.start(cluster.dir()).await;
        let stack = KubeStack {
            envoy,
            controls,
            eds,
            kubelet,
            workloads: self.workloads,
            scales,
            _ready: ready,
            cluster,
        };
        eventually("Envoy has synced with the leader", STARTS_WITHIN, || async {
            match stack.try_leader().await {
                Some(leader) => leader.metric("holdfast_open_polls", &[]).await >= 1.0,
                None => false,
            }
        })
        .await;
        Some(stack)
    }
}

/// Everything that runs. Dropping it stops everything.
pub struct KubeStack {
    /// The Envoy.
    pub envoy: Envoy,
    /// The control planes.
    pub controls: Vec<Control>,
    /// The mesh.
    pub eds: Eds,
    /// The node.
    pub kubelet: Kubelet,
    /// The workloads.
    pub workloads: Vec<Workload>,
    /// What replicas were set to.
    pub scales: Scales,
    _ready: ReadyReplicas,
    /// The API server.
    pub cluster: Cluster,
}

impl KubeStack {
    /// Nothing special yet.
    pub fn builder() -> KubeStackBuilder {
        KubeStackBuilder {
            workloads: Vec::new(),
            manifests: Vec::new(),
            gateway_api: false,
            lag: Duration::ZERO,
            keep_terminating: false,
            replicas: 1,
            own_accounts: false,
            lease: "1s".to_owned(),
            heartbeat: "200ms".to_owned(),
            control: Vec::new(),
            envoy: Vec::new(),
        }
    }

    /// The workload of that name.
    pub fn workload(&self, name: &str) -> &Workload {
        let found = self.workloads.iter().find(|workload| workload.name == name);
        found.unwrap_or_else(|| panic!("no workload {name}"))
    }

    /// Another Envoy of the same mesh. It reaches the control plane on this port of 127.0.0.1 alone. Give it another node id.
    pub async fn another_envoy(
        &self,
        control_port: u16,
        change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
    ) -> Envoy {
        let builder = EnvoyBuilder::new(control_port, &in_envoy(&self.workloads, &self.eds));
        change(builder).start(self.cluster.dir()).await
    }

    /// A client of the workload through Envoy. HTTP/1.1; [`Client::http2`] makes it one HTTP/2 connection.
    pub fn client(&self, name: &str) -> Client {
        self.envoy.client(&self.workload(name).authority())
    }

    /// A gRPC client of the workload through Envoy.
    pub fn grpc(&self, name: &str) -> grpc::Echo {
        grpc::echo(self.envoy.port(), &self.workload(name).authority())
    }

    /// What the workload's processes wrote down so far.
    pub fn journal(&self, name: &str) -> Journal {
        Journal::read(&journal_path(&self.cluster, name))
    }

    /// The first control plane: the one, where there is one.
    pub fn control(&self) -> &Control {
        &self.controls[0]
    }

    /// The control plane that leads. Waits until one does.
    pub async fn leader(&self) -> &Control {
        eventually("a control plane leads", STARTS_WITHIN, || self.try_leader()).await
    }

    /// The control plane that says it leads, if any does now.
    pub async fn try_leader(&self) -> Option<&Control> {
        for control in &self.controls {
            if control.process().exited().is_none() && control.is_ready().await {
                return Some(control);
            }
        }
        None
    }

    /// Waits until the leader says that the target is in `state`.
    pub async fn wait_for(&self, name: &str, state: &str) {
        self.leader().await.wait_for(name, state).await;
    }

    /// Sets the replicas of a workload's Deployment, as a person does.
    pub async fn scale(&self, name: &str, replicas: u32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let params = PatchParams::default();
        self.deployments(name)
            .patch_scale(name, &params, &patch)
            .await
            .unwrap();
    }

    /// The replicas that a workload's Deployment is set to.
    pub async fn replicas(&self, name: &str) -> i32 {
        let scale = self.deployments(name).get_scale(name).await.unwrap();
        // 0 is omitted.
        scale.spec.and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// A workload's `ScaleTarget` as the API server has it.
    pub async fn scale_target(&self, name: &str) -> Value {
        let namespace = &self.workload(name).namespace;
        let path = format!("/apis/holdfast.dev/v1alpha1/namespaces/{namespace}/scaletargets/{name}");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.cluster.admin().request(request).await.unwrap()
    }

    /// Waits until a workload has no replica, no pod and no process.
    pub async fn gone(&self, name: &str) {
        let pods = Api::<k8s_openapi::api::core::v1::Pod>::namespaced(
            self.cluster.admin(),
            &self.workload(name).namespace,
        );
        let of_it = kube::api::ListParams::default().labels(&format!("app={name}"));
        eventually(&format!("{name} has no pod"), CHANGES_WITHIN, || async {
            self.replicas(name).await == 0 && pods.list(&of_it).await.is_ok_and(|list| list.items.is_empty())
        })
        .await;
    }

    fn deployments(&self, name: &str) -> Api<Deployment> {
        Api::namespaced(self.cluster.admin(), &self.workload(name).namespace)
    }
}

/// Clusters and virtual hosts of an Envoy that follows the mesh.
fn in_envoy(workloads: &[Workload], eds: &Eds) -> Vec<Target> {
    let in_envoy = |workload: &Workload| workload.in_envoy(&eds.path(&workload.follow().cluster));
    workloads.iter().map(in_envoy).collect()
}

/// The service account of a replica, see [`KubeStackBuilder::own_accounts`].
pub fn account(replica: usize) -> String {
    format!("{ACCOUNT}-{replica}")
}

/// A service account with the rights of [`ACCOUNT`].
fn documents_of_account(name: &str) -> Vec<Value> {
    let bound = |kind: &str, role: &str, mut metadata: Value| {
        metadata["name"] = json!(name);
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
        })
    };
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}}),
        bound("ClusterRoleBinding", "ClusterRole", json!({})),
        bound("RoleBinding", "Role", json!({"namespace": NAMESPACE})),
    ]
}

fn journal_path(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.dir().join(format!("{name}.journal"))
}
