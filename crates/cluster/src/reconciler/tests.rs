//! One reconciler against an API server in memory: its orders, and what overrides them.

use std::convert::Infallible;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::Full;
use kube::client::Body;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tower::service_fn;

use super::*;
use crate::crd;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::names::Kind;
use crate::observe::ReplicasAt;
use crate::pods::PodWatches;
use crate::watches::WatchEvent;
use fleet::testing;
use fleet_actor::manual::Manual;
use fleet_actor::{Clock, Fence};
use kube::Client;

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_while_the_scale_is_read_is_carried_out() {
    let mut asked = mk_keeper(ReplicasAt::Scale, Server::Silent);
    assert!(asked.next().await.is_some(), "must read the scale");
    asked.reconciler.up(1);
    assert!(asked.next().await.is_some(), "must go about the order");
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_about_one_workload_is_not_done_to_another() {
    let mut asked = mk_keeper(ReplicasAt::Spec, Server::Silent);
    asked.reconciler.down(1, 1);
    assert_eq!(
        asked.next().await.as_deref(),
        Some("GET web"),
        "must go about the order"
    );
    asked.reconciler.adopt(mk_spec("other"));
    assert_eq!(asked.next().await, None, "must leave the other alone");
    asked.reconciler.down(2, 1);
    assert_eq!(
        asked.next().await.as_deref(),
        Some("GET other"),
        "must do what is decided about it"
    );
}

#[tokio::test(start_paused = true)]
async fn another_workload_waits_for_what_was_written_of_the_first() {
    let mut asked = mk_keeper(ReplicasAt::Spec, Server::FailsToWrite);
    asked.reconciler.down(1, 1);
    assert_eq!(
        asked.next().await.as_deref(),
        Some("GET web"),
        "must go about the order"
    );
    assert_eq!(asked.next().await.as_deref(), Some("PUT web"), "must write");
    let begun = Instant::now();
    asked.reconciler.adopt(mk_spec("other"));
    asked.reconciler.up(2);
    let other = async { while asked.next().await.as_deref() != Some("GET other") {} };
    assert!(
        timeout(Duration::from_secs(60), other).await.is_ok(),
        "must turn to the other"
    );
    assert!(
        begun.elapsed() >= Duration::from_secs(9),
        "must not turn to it before the write can land no more"
    );
}

/// What the API server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// It never answers.
    Silent,
    /// It tells the scale, and answers 500 to writes.
    FailsToWrite,
}

impl Server {
    async fn answer(self, method: &Method) -> Response<Full<bytes::Bytes>> {
        let (status, body) = match (self, method) {
            (Self::Silent, _) => return std::future::pending().await,
            (Self::FailsToWrite, &Method::GET) => (
                200,
                json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 1},
                    "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"}}),
            ),
            (Self::FailsToWrite, _) => (
                500,
                json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 500}),
            ),
        };
        let body = Full::new(bytes::Bytes::from(body.to_string()));
        Response::builder().status(status).body(body).unwrap()
    }
}

/// A reconciler of the workload `web`, and what it asks: method and workload.
struct Asked {
    reconciler: Handle,
    asked: mpsc::UnboundedReceiver<String>,
    _fleet: Box<dyn Send>,
}

impl Asked {
    async fn next(&mut self) -> Option<String> {
        let next = timeout(Duration::from_secs(1), self.asked.recv()).await;
        next.ok().flatten()
    }
}

fn mk_keeper(replicas_at: ReplicasAt, server: Server) -> Asked {
    let (tell, asked) = mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Body>| {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let workload = path.rsplit('/').nth(1).unwrap();
        tell.send(format!("{method} {workload}")).unwrap();
        async move { Ok::<_, Infallible>(server.answer(&method).await) }
    });
    let (client, clock, metrics) = (
        Client::new(service, "default"),
        Clock::start(),
        Metrics::default(),
    );
    let fence = Fence::new(clock, Duration::from_secs(600));
    fence.renew(clock.now());
    // What is told waits in its queue.
    let (fleet, actor) = fleet_actor::new(
        testing::mk_settings(),
        clock,
        fleet_actor::Metrics::default(),
        |_| Manual::default(),
        CancellationToken::new(),
    );
    let context = Context {
        pods: PodWatches::new(client.clone(), metrics.clone()),
        client,
        index: mk_index(replicas_at),
        fence,
        fleet,
        unschedulable_grace: Duration::ZERO,
        metrics,
    };
    Asked {
        reconciler: Handle::start(context, mk_spec("web")),
        asked,
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
    index.workloads(&kind, &WatchEvent::Begin);
    for name in ["web", "other"] {
        let workload: DynamicObject = read(json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"},
            "spec": {"replicas": 1},
        }));
        index.workloads(&kind, &WatchEvent::Apply(workload));
    }
    index.workloads(&kind, &WatchEvent::End);
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
