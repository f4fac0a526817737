//! Stands in for a mesh: writes the endpoints of Services into files that Envoy reads, each state a set time after it
//! was seen, in order. Never writes what the API server has not said.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Cluster;
use super::task::Task;
use super::watching::watching;
use harness::{eventually, unix_ms};

const SERVICE: &str = "kubernetes.io/service-name";

/// One Envoy cluster and the Service whose endpoints it has.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Name of the Envoy cluster, as a mesh would name it.
    pub cluster: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
    /// Name of the Service's port; `None`: its only one.
    pub port: Option<String>,
}

impl Follow {
    /// The only port of a Service.
    pub fn new(cluster: &str, namespace: &str, service: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: None,
        }
    }
}

/// What one cluster's file said from some moment on.
#[derive(Clone, Debug)]
pub struct Change {
    /// Name of the Envoy cluster.
    pub cluster: String,
    /// When the harness saw it, on the clock of [`harness::unix_ms`].
    pub seen_ms: u64,
    /// When it was written, on the same clock.
    pub written_ms: u64,
    /// The endpoints.
    pub addresses: BTreeSet<SocketAddr>,
}

/// The files, kept up to date. It stops with its handle; the files stay as they are.
pub struct Eds {
    shared: Arc<Shared>,
    _tasks: [Task; 2],
}

struct Shared {
    follows: Vec<Follow>,
    dir: PathBuf,
    keep_terminating: bool,
    state: Mutex<State>,
}

struct State {
    lag: Duration,
    in_files: BTreeMap<String, BTreeSet<SocketAddr>>,
    timeline: Vec<Change>,
}

struct Order {
    cluster: usize,
    addresses: BTreeSet<SocketAddr>,
    seen_ms: u64,
    due: Instant,
}

impl Eds {
    /// Follows the Services. Endpoints that are ready and not terminating are in the files. Returns once every file is
    /// there with what was seen first, without the lag.
    pub async fn start(cluster: &Cluster, lag: Duration, follows: Vec<Follow>) -> Self {
        Self::begin(cluster, lag, follows, false).await
    }

    /// As [`Eds::start`], but endpoints stay in the files until they are gone from the slices, as in meshes that leave
    /// the drain of a terminating pod to the pod.
    pub async fn start_with_terminating(cluster: &Cluster, lag: Duration, follows: Vec<Follow>) -> Self {
        Self::begin(cluster, lag, follows, true).await
    }

    async fn begin(cluster: &Cluster, lag: Duration, follows: Vec<Follow>, keep_terminating: bool) -> Self {
        let client = cluster.client_as("e2e-mesh").await;
        let dir = cluster.dir().join("eds");
        std::fs::create_dir_all(&dir).unwrap();
        let count = follows.len();
        let shared = Arc::new(Shared {
            follows,
            dir,
            keep_terminating,
            state: Mutex::new(State {
                lag,
                in_files: BTreeMap::new(),
                timeline: Vec::new(),
            }),
        });
        // Bounded by the number of changes of the watched slices in one lag.
        let (orders, inbox) = mpsc::unbounded_channel();
        let tasks = [
            Task::spawn(see(shared.clone(), client, orders)),
            Task::spawn(write(shared.clone(), inbox)),
        ];
        let eds = Self {
            shared,
            _tasks: tasks,
        };
        eventually("the mesh knows all Services", Duration::from_secs(20), || async {
            eds.shared.state().in_files.len() == count
        })
        .await;
        eds
    }

    /// The file of a cluster.
    pub fn path(&self, cluster: &str) -> PathBuf {
        let index = self
            .shared
            .follows
            .iter()
            .position(|follow| follow.cluster == cluster);
        self.shared
            .path(index.unwrap_or_else(|| panic!("{cluster} is not followed")))
    }

    /// True if some file has this IP now.
    pub fn in_file(&self, ip: impl Into<std::net::IpAddr>) -> bool {
        let ip = ip.into();
        let state = self.shared.state();
        state
            .in_files
            .values()
            .flatten()
            .any(|address| address.ip() == ip)
    }

    /// What the file of a cluster says now.
    pub fn addresses(&self, cluster: &str) -> BTreeSet<SocketAddr> {
        self.shared
            .state()
            .in_files
            .get(cluster)
            .cloned()
            .unwrap_or_default()
    }

    /// Every state of every file so far, oldest first.
    pub fn timeline(&self) -> Vec<Change> {
        self.shared.state().timeline.clone()
    }

    /// The lag of what is seen from now on. What was seen before is written before it.
    pub fn set_lag(&self, lag: Duration) {
        self.shared.state().lag = lag;
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, index: usize) -> PathBuf {
        self.dir.join(format!("{index}.json"))
    }
}

type Slices = BTreeMap<(String, String), EndpointSlice>;

async fn see(shared: Arc<Shared>, client: Client, orders: mpsc::UnboundedSender<Order>) {
    let config = watcher::Config::default().labels(SERVICE);
    let mut events = std::pin::pin!(watching(Api::<EndpointSlice>::all(client), config));
    let (mut slices, mut listed) = (Slices::new(), Slices::new());
    let mut last: BTreeMap<usize, BTreeSet<SocketAddr>> = BTreeMap::new();
    let mut due = Instant::now();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(slice)) => {
                listed.insert(key(&slice), slice);
                continue;
            }
            Ok(Event::InitDone) => slices = std::mem::take(&mut listed),
            Ok(Event::Apply(slice)) => {
                slices.insert(key(&slice), slice);
            }
            Ok(Event::Delete(slice)) => {
                slices.remove(&key(&slice));
            }
            // The API server is away; what it said last stands.
            Err(_) => continue,
        }
        for (cluster, follow) in shared.follows.iter().enumerate() {
            let addresses = endpoints(follow, &slices, shared.keep_terminating);
            if last.get(&cluster) == Some(&addresses) {
                continue;
            }
            let first = last.insert(cluster, addresses.clone()).is_none();
            let lag = if first { Duration::ZERO } else { shared.state().lag };
            // A shorter lag must not let a newer state overtake an older one.
            due = due.max(Instant::now() + lag);
            let seen_ms = unix_ms();
            let _ = orders.send(Order {
                cluster,
                addresses,
                seen_ms,
                due,
            });
        }
    }
}

async fn write(shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        sleep_until(order.due).await;
        let name = &shared.follows[order.cluster].cluster;
        // Locked meanwhile: a test that asks sees what Envoy can see.
        let mut state = shared.state();
        replace(&shared.path(order.cluster), &assignment(name, &order.addresses));
        state.in_files.insert(name.clone(), order.addresses.clone());
        state.timeline.push(Change {
            cluster: name.clone(),
            seen_ms: order.seen_ms,
            written_ms: unix_ms(),
            addresses: order.addresses,
        });
    }
}

fn key(slice: &EndpointSlice) -> (String, String) {
    let metadata = &slice.metadata;
    (
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn endpoints(follow: &Follow, slices: &Slices, keep_terminating: bool) -> BTreeSet<SocketAddr> {
    let of_service = |slice: &&EndpointSlice| {
        let service = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(SERVICE));
        slice.metadata.namespace.as_ref() == Some(&follow.namespace) && service == Some(&follow.service)
    };
    let mut addresses = BTreeSet::new();
    for slice in slices.values().filter(of_service) {
        let ports = slice.ports.iter().flatten();
        let mut named = ports.filter(|port| follow.port.is_none() || port.name == follow.port);
        let Some(port) = named.next().and_then(|port| u16::try_from(port.port?).ok()) else {
            continue;
        };
        let serving = |endpoint: &&Endpoint| is_serving(endpoint, keep_terminating);
        for endpoint in slice.endpoints.iter().flatten().filter(serving) {
            let parsed = endpoint.addresses.iter().filter_map(|ip| ip.parse().ok());
            addresses.extend(parsed.map(|ip| SocketAddr::new(ip, port)));
        }
    }
    addresses
}

fn is_serving(endpoint: &Endpoint, keep_terminating: bool) -> bool {
    let Some(conditions) = &endpoint.conditions else {
        return true;
    };
    if conditions.terminating == Some(true) {
        return keep_terminating && conditions.serving != Some(false);
    }
    conditions.ready != Some(false)
}

/// What Envoy reads.
pub(super) fn assignment(cluster: &str, addresses: &BTreeSet<SocketAddr>) -> Value {
    let endpoint = |address: &SocketAddr| {
        let socket = json!({"address": address.ip().to_string(), "port_value": address.port()});
        json!({"endpoint": {"address": {"socket_address": socket}}})
    };
    let endpoints: Vec<Value> = addresses.iter().map(endpoint).collect();
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": endpoints}],
    }]})
}

/// In one step: Envoy watches for files that are moved into place.
pub(super) fn replace(path: &Path, content: &Value) {
    let new = path.with_extension("new");
    std::fs::write(&new, content.to_string()).unwrap();
    std::fs::rename(&new, path).unwrap();
}
