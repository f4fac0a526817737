//! One task for each target: carries its orders out, one after the other, and tells the fleet what it sees.
//!
//! Decides nothing about when to scale. Ends when its handle is dropped: what is written then is taken up by the next
//! reader, for every write names the version that was read.

use std::num::NonZeroU32;
use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::index::Index;
use super::lease::Fence;
use super::names::Key;
use super::outlook::Outlook;
use super::pods::PodWatches;
use super::resource::Scalable;
use super::scale::{self, Done, Scaler};
use crate::config::{ScaleTarget, Workload};
use crate::fleet::{FleetHandle, Gone};
use crate::metrics::Metrics;

/// What all keepers of one leadership share.
#[derive(Clone)]
pub struct Tools {
    /// Speaks to the API server.
    pub client: Client,
    /// What is known.
    pub index: Index,
    /// May we still write.
    pub fence: Fence,
    /// Whom to tell.
    pub fleet: FleetHandle,
    /// Opens watches of Pods.
    pub pods: PodWatches,
    /// How long a Pod may be unschedulable before that counts as a failure.
    pub unschedulable_grace: std::time::Duration,
    /// What is counted.
    pub metrics: Metrics,
}

/// What a keeper has been told to do last. A later one overrides an earlier one.
#[derive(Clone, Debug)]
struct Orders {
    spec: Arc<ScaleTarget>,
    /// Number of the wish; 0: none yet.
    command: u64,
    wish: Wish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// As it is.
    Leave,
    /// Up from zero.
    Up,
    /// Down to zero.
    Down { from: u32 },
}

/// A running keeper. Dropping it ends it.
#[derive(Debug)]
pub struct Handle {
    orders: watch::Sender<Orders>,
    _task: AbortOnDropHandle<()>,
}

impl Handle {
    /// Starts a keeper that only looks, for now.
    pub fn start(tools: Tools, spec: Arc<ScaleTarget>) -> Self {
        let (orders, receiver) = watch::channel(Orders {
            spec,
            command: 0,
            wish: Wish::Leave,
        });
        let task = tokio::spawn(async move {
            // Only the end of the fleet ends it, and then there is nobody left to tell.
            let _ = run(tools, receiver).await;
        });
        Self {
            orders,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// Its document has changed.
    pub fn adopt(&self, spec: Arc<ScaleTarget>) {
        self.orders.send_modify(|orders| orders.spec = spec);
    }

    /// To scale it up from zero, under the number `command`.
    pub fn up(&self, command: u64) {
        self.wish(command, Wish::Up);
    }

    /// To scale it down to zero if there are `from` replicas, under the number `command`.
    pub fn down(&self, command: u64, from: u32) {
        self.wish(command, Wish::Down { from });
    }

    fn wish(&self, command: u64, wish: Wish) {
        self.orders.send_modify(|orders| {
            orders.command = command;
            orders.wish = wish;
        });
    }
}

async fn run(tools: Tools, mut orders: watch::Receiver<Orders>) -> Result<(), Gone> {
    let mut known = Arc::clone(&orders.borrow().spec);
    let mut outlook = Outlook::new(&tools, &known);
    let mut scaler = None;
    loop {
        let Orders { spec, command, wish } = orders.borrow_and_update().clone();
        outlook.turn_to(&tools, &spec);
        if known.workload != spec.workload {
            scaler = None;
            if let Wish::Down { .. } = wish {
                // What was decided about one workload is not done to another: it stands as it is seen.
                outlook.obey(command, None);
            }
        }
        known = Arc::clone(&spec);
        outlook.tell(&tools).await?;
        let scaler = match (&mut scaler, outlook.scalable()) {
            (Some(scaler), _) => Some(scaler),
            (none, Some(scalable)) => Some(none.insert(mk_scaler(&tools, &scalable, &spec))),
            (_, None) => None,
        };
        let order = (command > outlook.command())
            .then(|| wish.order(spec.wake_replicas))
            .flatten();
        match (order, scaler) {
            // Nothing can be written: that is what there is to be told.
            (Some(_), scaler) if outlook.is_unusable(scaler.is_some()) => {
                outlook.obey(command, None);
                continue;
            }
            (Some(order), Some(scaler)) => {
                let news = orders.changed();
                if let Some(done) = carry_out(&tools, &mut outlook, scaler, order, command, news).await? {
                    tell_written(&spec, order, &done);
                    outlook.obey(command, Some(done));
                }
                continue;
            }
            (None, Some(scaler)) if let Some(generation) = outlook.needs_scale() => {
                let read = tokio::select! {
                    read = scaler.read() => Some(read),
                    changed = orders.changed() => changed.map(|()| None).map_err(|_| Gone)?,
                };
                if let Some(read) = read {
                    outlook.take_scale(generation, read);
                }
                // Or there are other orders, of which nobody would hear again.
                continue;
            }
            _ => {}
        }
        tokio::select! {
            changed = orders.changed() => changed.map_err(|_| Gone)?,
            () = outlook.changed() => {}
        }
    }
}

/// Carries an order out, and goes on telling what is seen meanwhile. `None`: there is a newer order.
async fn carry_out(
    tools: &Tools,
    outlook: &mut Outlook,
    scaler: &mut Scaler,
    order: scale::Order,
    command: u64,
    newer: impl Future<Output = Result<(), watch::error::RecvError>>,
) -> Result<Option<Done>, Gone> {
    let (told, mut trouble) = watch::channel(None);
    let writing = scaler.carry_out(order, move |failure| {
        told.send_replace(failure);
    });
    tokio::pin!(writing, newer);
    loop {
        tokio::select! {
            done = &mut writing => {
                outlook.trouble(None);
                return Ok(Some(done));
            }
            changed = &mut newer => {
                outlook.trouble(None);
                return changed.map(|()| None).map_err(|_| Gone);
            }
            Ok(()) = trouble.changed() => {
                let failure = trouble.borrow_and_update().clone();
                if failure.is_some() {
                    // It is tried on, but whoever waits is to know.
                    outlook.obey(command, None);
                }
                outlook.trouble(failure);
            }
            () = outlook.changed() => {}
        }
        outlook.tell(tools).await?;
    }
}

impl Wish {
    fn order(self, wake_replicas: NonZeroU32) -> Option<scale::Order> {
        match self {
            Self::Leave => None,
            Self::Up => Some(scale::Order::Up(wake_replicas)),
            Self::Down { from } => Some(scale::Order::Down { from }),
        }
    }
}

fn mk_scaler(tools: &Tools, scalable: &Scalable, spec: &ScaleTarget) -> Scaler {
    let name = match &spec.workload {
        Workload::Object { name, .. } => name.as_str(),
        // Not in a cluster: the schema requires it.
        Workload::Unnamed | Workload::Process(_) => "",
    };
    Scaler::new(
        tools.client.clone(),
        scalable,
        &Key::of_target(&spec.id).namespace,
        name,
        tools.fence.clone(),
        tools.metrics.clone(),
    )
}

fn tell_written(spec: &ScaleTarget, order: scale::Order, done: &Done) {
    let Done { outcome, scale } = done;
    let (outcome, replicas) = (outcome.name(), scale.replicas);
    info!(
        event = "scaled",
        target = %spec.id,
        %order,
        outcome,
        replicas,
        resource_version = scale.version.as_str(),
        unix_ms = crate::time::unix_ms(),
        "{order}: {outcome}, {replicas} replicas",
    );
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use http::{Request, Response};
    use http_body_util::Full;
    use kube::client::Body;
    use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
    use serde_json::{Value, json};
    use tokio::sync::mpsc;
    use tokio::time::timeout;
    use tokio_util::sync::CancellationToken;
    use tower::service_fn;

    use super::*;
    use crate::backend::manual::Manual;
    use crate::fleet::{actor, world};
    use crate::kubernetes::crd;
    use crate::kubernetes::names::Kind;
    use crate::kubernetes::observe::ReplicasAt;
    use crate::kubernetes::watches::Seen;
    use crate::time::Clock;

    #[tokio::test(start_paused = true)]
    async fn an_order_that_comes_while_the_scale_is_read_is_carried_out() {
        let mut asked = mk_keeper(ReplicasAt::Scale);
        assert!(asked.next().await.is_some(), "must read the scale");
        asked.keeper.up(1);
        assert!(asked.next().await.is_some(), "must go about the order");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_decided_about_one_workload_is_not_done_to_another() {
        let mut asked = mk_keeper(ReplicasAt::Spec);
        let is_of = |path: Option<String>, name: &str| {
            path.is_some_and(|path| path.ends_with(&format!("/{name}/scale")))
        };
        asked.keeper.down(1, 1);
        assert!(is_of(asked.next().await, "web"), "must go about the order");
        asked.keeper.adopt(mk_spec("other"));
        assert_eq!(asked.next().await, None, "must leave the other alone");
        asked.keeper.down(2, 1);
        assert!(
            is_of(asked.next().await, "other"),
            "must do what is decided about it"
        );
    }

    /// A keeper of the workload `web`, and what it asks of an API server that never answers.
    struct Asked {
        keeper: Handle,
        paths: mpsc::UnboundedReceiver<String>,
        _fleet: Box<dyn Send>,
    }

    impl Asked {
        async fn next(&mut self) -> Option<String> {
            let next = timeout(Duration::from_secs(1), self.paths.recv()).await;
            next.ok().flatten()
        }
    }

    fn mk_keeper(replicas_at: ReplicasAt) -> Asked {
        let (asked, paths) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Body>| {
            asked.send(request.uri().path().to_owned()).unwrap();
            std::future::pending::<Result<Response<Full<bytes::Bytes>>, Infallible>>()
        });
        let (client, clock, metrics) = (Client::new(service, "default"), Clock::start(), Metrics::new());
        let fence = Fence::new(clock, Duration::from_secs(600));
        fence.renew(clock.now());
        // What is told waits in its queue.
        let (fleet, actor) = actor::new(
            world::mk_settings(),
            clock,
            metrics.clone(),
            |_| Manual::default(),
            CancellationToken::new(),
        );
        let tools = Tools {
            pods: PodWatches::new(client.clone(), metrics.clone()),
            client,
            index: mk_index(replicas_at),
            fence,
            fleet,
            unschedulable_grace: Duration::ZERO,
            metrics,
        };
        Asked {
            keeper: Handle::start(tools, mk_spec("web")),
            paths,
            _fleet: Box::new(actor),
        }
    }

    fn mk_index(replicas_at: ReplicasAt) -> Index {
        let index = Index::default();
        let kind = Kind::new("apps/v1", "Deployment");
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        index.usable(
            &kind,
            Scalable {
                resource,
                replicas_at,
            },
        );
        index.workloads(&kind, &Seen::Begin);
        for name in ["web", "other"] {
            let workload: DynamicObject = read(json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"},
                "spec": {"replicas": 1},
            }));
            index.workloads(&kind, &Seen::Apply(workload));
        }
        index.workloads(&kind, &Seen::End);
        index
    }

    fn mk_spec(workload: &str) -> Arc<ScaleTarget> {
        let target: crd::ScaleTarget = read(json!({
            "apiVersion": "holdfast.dev/v1alpha1",
            "kind": "ScaleTarget",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload},
                "service": {"name": "web"},
            },
        }));
        Arc::new(target.read().unwrap())
    }

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }
}
