//! Stands in for the control plane's own Service: Envoy reaches the replicas that are ready, as their readiness probes say.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::eds::{assignment, replace};
use super::task::Task;
use harness::Client;

/// What a readiness probe of one second would take half of, on average; tests are shorter.
const PERIOD: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_millis(500);
/// The cluster in `local-envoy/envoy.yaml`.
const CLUSTER: &str = "holdfast";

/// A file that names the replicas that are ready. It stops with its handle.
pub(super) struct ReadyReplicas {
    path: PathBuf,
    _task: Task,
}

impl ReadyReplicas {
    /// Asks each of them again and again.
    pub(super) fn watch(dir: &Path, ports: Vec<u16>) -> Self {
        let path = dir.join("control-plane.eds.json");
        replace(&path, &assignment(CLUSTER, &BTreeSet::new()));
        let task = Task::spawn(keep(path.clone(), ports));
        Self { path, _task: task }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

async fn keep(path: PathBuf, ports: Vec<u16>) {
    let mut last = BTreeSet::new();
    loop {
        let asked = ports.iter().map(|port| async move {
            let asked = Client::new(*port, "control-plane").get("/readyz").try_send();
            let answer = tokio::time::timeout(TIMEOUT, asked).await;
            let ready = matches!(answer, Ok(Ok(reply)) if reply.status == 200);
            ready.then(|| SocketAddr::from(([127, 0, 0, 1], *port)))
        });
        let ready: BTreeSet<SocketAddr> = futures_util::future::join_all(asked)
            .await
            .into_iter()
            .flatten()
            .collect();
        if ready != last {
            replace(&path, &assignment(CLUSTER, &ready));
            last = ready;
        }
        tokio::time::sleep(PERIOD).await;
    }
}
