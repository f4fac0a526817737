//! A pod's object in the API server, and what a kubelet writes to it. Every call is repeated until the server has taken it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::time::sleep;

use super::NODE;

/// How soon an unreachable API server is asked again.
const ASKS_AGAIN: Duration = Duration::from_millis(100);

/// One pod; another of the same name is never meant.
pub(super) struct Object {
    api: Api<Pod>,
    name: String,
    uid: String,
}

impl Object {
    pub(super) fn new(client: Client, pod: &Pod) -> Self {
        let of = |value: &Option<String>| value.clone().unwrap_or_default();
        Self {
            api: Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or("default")),
            name: of(&pod.metadata.name),
            uid: of(&pod.metadata.uid),
        }
    }

    /// Gives it the node.
    pub(super) async fn bind(&self) {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.name, "uid": self.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        });
        self.insist(|| async {
            let params = PostParams::default();
            // The answer is a Status.
            let bound: kube::Result<kube::core::Status> = self
                .api
                .create_subresource("binding", &self.name, &params, &binding)
                .await;
            bound.map(drop)
        })
        .await;
    }

    /// Replaces its status.
    pub(super) async fn write(&self, status: &PodStatus) {
        let patch = json!({"metadata": {"uid": self.uid}, "status": status});
        self.insist(|| async {
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            self.api.patch_status(&self.name, &params, &patch).await.map(drop)
        })
        .await;
    }

    /// Its process has ended: nothing is left to wait for.
    pub(super) async fn delete(&self) {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        self.insist(|| async { self.api.delete(&self.name, &params).await.map(drop) })
            .await;
    }

    /// Repeats a call until the API server has taken it, or has said that there is nothing to take it for.
    async fn insist<F: Future<Output = kube::Result<()>>>(&self, call: impl Fn() -> F) {
        loop {
            match call().await {
                Ok(()) => return,
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => return,
                Err(_) => sleep(ASKS_AGAIN).await,
            }
        }
    }
}
