//! Stands in for scheduler, kubelet and container runtime: runs each pod's first container as a local process.
//!
//! There are no containers here: an image is never pulled or unpacked. The command comes from the pod, or, for images
//! named `upstream` and `control-plane`, is the program under test. What it does as a kubelet does: bind, start, ask for
//! readiness, restart with a back-off, SIGTERM, grace period, SIGKILL, and the deletion of the pod once its process has
//! ended. Failures that a container runtime would meet are reported as a kubelet would word them.
//!
//! | a pod | gets |
//! |---|---|
//! | IP | a loopback address that no other pod has or had; `POD_IP` in its environment, `$(POD_IP)` in its arguments |
//! | `0.0.0.0:` or `[::]:` in arguments and variables | its IP: it has no network namespace |
//! | service account other than `default` | `KUBECONFIG` with a token of it, in place of the mounted one |
//! | mounted secrets and config maps | files in a folder, whose path takes the place of the mounted one in its arguments |
//! | image `missing` | `ErrImagePull`, then `ImagePullBackOff` |
//! | a config map or secret in `env` that is not there | `CreateContainerConfigError` |
//! | a command that ends twice | `CrashLoopBackOff`, from 500 ms to 5 s |
//! | a `nodeSelector` other than the node's labels | `PodScheduled` False, reason `Unschedulable` |
//!
//! | annotation `e2e.holdfast.dev/...` | what |
//! |---|---|
//! | `probe-period-ms` | period of the readiness probe |
//! | `term-delay-ms` | from the deletion to SIGTERM, as a preStop hook takes |
//! | `never-ready: "true"` | runs, but is never ready |
//! | `unschedulable: "true"` | as if no node had room |
//! | `waiting: "Reason: message"` | the container waits with that, and is never started |
//!
//! Not done: volumes other than secrets and config maps, init containers, probes other than `httpGet` and `tcpSocket` for readiness, resource limits.

mod container;
mod env;
mod journal;
mod life;
mod network;
mod object;
mod probe;
mod report;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use serde_json::json;
use tokio::sync::watch;

pub use journal::{Entry, What};

use self::journal::Journal;
use self::network::Network;
use super::task::Task;
use super::watching::watching;
use super::{Cluster, Tokens};
use harness::{Process, eventually};

/// The one node.
const NODE: &str = "e2e";
/// Its labels, which a `nodeSelector` may ask for.
const LABELS: [(&str, &str); 3] = [
    ("kubernetes.io/hostname", NODE),
    ("kubernetes.io/os", "linux"),
    ("kubernetes.io/arch", "amd64"),
];

/// A running kubelet. Dropping it kills every process that it has started.
pub struct Kubelet {
    shared: Arc<Shared>,
    _task: Task,
}

/// What all pods have in common.
struct Shared {
    client: Client,
    tokens: Tokens,
    dir: PathBuf,
    network: Network,
    journal: Journal,
    /// By uid of the pod. `None` once the kubelet has been dropped: nothing may be started any more.
    processes: Mutex<Option<BTreeMap<String, Arc<Process>>>>,
}

/// By uid: the sender of what is seen of it, and the task that lives it.
type Lives = BTreeMap<String, (watch::Sender<Option<Arc<Pod>>>, Task)>;

/// What was last seen of a pod; `None`: it is gone.
type Seen = watch::Receiver<Option<Arc<Pod>>>;

impl Kubelet {
    /// Registers the node and starts with the pods that are there.
    pub async fn start(cluster: &Cluster) -> Self {
        // Where they must be built first, that must not take a pod's time.
        harness::binaries::upstream();
        let client = cluster.client_as("e2e-kubelet").await;
        register(&client).await;
        let dir = cluster.dir().join("pods");
        std::fs::create_dir_all(&dir).unwrap();
        let shared = Arc::new(Shared {
            client,
            tokens: cluster.tokens(),
            dir,
            network: Network::reserve(),
            journal: Journal::default(),
            processes: Mutex::new(Some(BTreeMap::new())),
        });
        let task = Task::spawn(run(shared.clone()));
        Self { shared, _task: task }
    }

    /// What has happened so far, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        self.shared.journal.entries()
    }

    /// What has happened so far to the pods of one Deployment or StatefulSet: those whose name begins with `name-`.
    pub fn journal_of(&self, namespace: &str, name: &str) -> Vec<Entry> {
        let prefix = format!("{name}-");
        let mut entries = self.journal();
        entries.retain(|entry| entry.namespace == namespace && entry.pod.starts_with(&prefix));
        entries
    }

    /// How often this has happened to the pods of one Deployment or StatefulSet.
    pub fn count(&self, namespace: &str, name: &str, what: impl Fn(&What) -> bool) -> usize {
        self.journal_of(namespace, name)
            .iter()
            .filter(|entry| what(&entry.what))
            .count()
    }

    /// Pods that were told to end and are not gone yet, with their IPs.
    pub fn terminating(&self) -> Vec<Entry> {
        let journal = self.journal();
        let gone: BTreeSet<_> = journal
            .iter()
            .filter(|entry| entry.what == What::Deleted)
            .map(|entry| (&entry.namespace, &entry.pod))
            .collect();
        journal
            .iter()
            .filter(|entry| {
                entry.what == What::Terminating && !gone.contains(&(&entry.namespace, &entry.pod))
            })
            .cloned()
            .collect()
    }

    /// How many processes run.
    pub fn running(&self) -> usize {
        let processes = self
            .shared
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.as_ref().map_or(0, BTreeMap::len)
    }

    /// What the processes of a pod have printed.
    pub fn log(&self, namespace: &str, pod: &str) -> String {
        std::fs::read_to_string(self.shared.log(namespace, pod)).unwrap_or_default()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let processes = self
            .shared
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for process in processes.into_iter().flatten() {
            process.1.kill();
        }
    }
}

impl Shared {
    fn log(&self, namespace: &str, pod: &str) -> PathBuf {
        self.dir.join(format!("{namespace}-{pod}.log"))
    }
}

async fn register(client: &Client) {
    let nodes = Api::<Node>::all(client.clone());
    let node = json!({"metadata": {"name": NODE, "labels": BTreeMap::from(LABELS)}});
    let created = nodes
        .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
        .await;
    // Another kubelet before this one.
    if let Err(kube::Error::Api(status)) = &created
        && status.code == 409
    {
        return;
    }
    created.unwrap();
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "5000"});
    let status = json!({"status": {
        "capacity": room,
        "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "e2e"}],
    }});
    eventually(
        "the node is registered",
        std::time::Duration::from_secs(10),
        || async {
            let patch = Patch::Merge(&status);
            nodes
                .patch_status(NODE, &PatchParams::default(), &patch)
                .await
                .is_ok()
        },
    )
    .await;
}

/// One task for each pod, which hears what is seen of it.
async fn run(shared: Arc<Shared>) {
    let pods = Api::<Pod>::all(shared.client.clone());
    let mut events = std::pin::pin!(watching(pods, watcher::Config::default()));
    let mut lives = Lives::new();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.insert(uid(&pod));
                see(&shared, &mut lives, pod);
            }
            Ok(Event::InitDone) => {
                for (uid, (sender, _)) in &lives {
                    if !listed.contains(uid) {
                        let _ = sender.send(None);
                    }
                }
            }
            Ok(Event::Apply(pod)) => see(&shared, &mut lives, pod),
            Ok(Event::Delete(pod)) => {
                if let Some((sender, _)) = lives.get(&uid(&pod)) {
                    let _ = sender.send(None);
                }
            }
            // The API server is away.
            Err(_) => {}
        }
        // A life that has ended no longer listens.
        lives.retain(|_, (sender, _)| !sender.is_closed());
    }
}

fn see(shared: &Arc<Shared>, lives: &mut Lives, pod: Pod) {
    let pod = Arc::new(pod);
    if let Some((sender, _)) = lives.get(&uid(&pod)) {
        let _ = sender.send(Some(pod));
        return;
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let ended = pod.metadata.deletion_timestamp.is_some() && node.is_none();
    if node.is_some_and(|node| node != NODE) || ended {
        return;
    }
    let (sender, seen) = watch::channel(Some(pod.clone()));
    let task = Task::spawn(life::live(shared.clone(), pod.clone(), seen));
    lives.insert(uid(&pod), (sender, task));
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}
