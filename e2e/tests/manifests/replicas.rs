//! Two replicas of which only the active one is Ready: a roll-out and a drain of nodes must nevertheless come to an end.
//! Shown on the real controllers; there is no kubelet, so the test says what the Pods' probes would have said.

use std::time::Duration;

use e2e::kube::Cluster;
use harness::eventually;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use super::accepted::for_this_server;
use super::tree;

const HOME: &str = "holdfast-system";
const NAME: &str = "holdfast-control-plane";
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_replaces_the_active_replica() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let _pods = one_ready_of_two(&cluster).await;
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), HOME);
    let again = json!({"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}});
    deployments
        .patch(NAME, &PatchParams::default(), &Patch::Merge(&again))
        .await
        .unwrap();
    let sets = Api::<ReplicaSet>::namespaced(cluster.admin(), HOME);
    // The new replicas never become Ready here, as long as the old active one keeps the lease.
    eventually("the old replicas are gone", WITHIN, || async {
        mark_new_pods_running(&cluster).await;
        let sets = sets.list(&ListParams::default()).await.unwrap().items;
        let replicas: Vec<_> = sets
            .iter()
            .filter_map(|set| set.spec.as_ref()?.replicas)
            .collect();
        (replicas.len() == 2 && replicas.contains(&0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_can_be_drained_of_the_active_replica_but_not_of_both_at_once() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let (active, standby) = one_ready_of_two(&cluster).await;
    eventually("the active replica may be evicted", WITHIN, || async {
        evict(&cluster, &active).await.then_some(())
    })
    .await;
    assert!(
        !evict(&cluster, &standby).await,
        "the standby must not be evicted before another is active"
    );
    set_ready(&cluster, &standby, true).await;
    eventually("the new active replica may be evicted", WITHIN, || async {
        evict(&cluster, &standby).await.then_some(())
    })
    .await;
}

/// Applies the base; one of its Pods is Ready, the other runs. Their names.
async fn one_ready_of_two(cluster: &Cluster) -> (String, String) {
    for object in tree::render(tree::BASE) {
        cluster.apply(&for_this_server(&object).0.to_string()).await;
    }
    let pods = eventually("two Pods are made", WITHIN, || async {
        let names = pods_of(cluster, |_| true).await;
        (names.len() == 2).then_some(names)
    })
    .await;
    set_ready(cluster, &pods[0], true).await;
    set_ready(cluster, &pods[1], false).await;
    (pods[0].clone(), pods[1].clone())
}

async fn mark_new_pods_running(cluster: &Cluster) {
    let pending =
        |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
    for name in pods_of(cluster, pending).await {
        set_ready(cluster, &name, false).await;
    }
}

async fn pods_of(cluster: &Cluster, filter: impl Fn(&Pod) -> bool) -> Vec<String> {
    let pods = Api::<Pod>::namespaced(cluster.admin(), HOME);
    let found = pods.list(&ListParams::default()).await.unwrap().items;
    found
        .into_iter()
        .filter(|pod| filter(pod))
        .filter_map(|pod| pod.metadata.name)
        .collect()
}

async fn set_ready(cluster: &Cluster, name: &str, ready: bool) {
    let condition = |kind: &str| json!({"type": kind, "status": if ready { "True" } else { "False" }});
    let status = json!({"status": {
        "phase": "Running",
        "conditions": [condition("Ready"), condition("ContainersReady")],
    }});
    let pods = Api::<Pod>::namespaced(cluster.admin(), HOME);
    // It may have been deleted in the meantime.
    let _ = pods
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&status))
        .await;
}

/// True if it went; false if the budget forbids it now.
async fn evict(cluster: &Cluster, name: &str) -> bool {
    let pods = Api::<Pod>::namespaced(without_retries(cluster).await, HOME);
    match pods.evict(name, &EvictParams::default()).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 429 => false,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// An ordinary client repeats what was answered with 429, for minutes.
async fn without_retries(cluster: &Cluster) -> Client {
    let kubeconfig = Kubeconfig::read_from(cluster.admin_kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}
