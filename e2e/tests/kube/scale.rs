//! Writes of replicas on the real API server: whatever has a scale subresource, with the version read, once.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster::Metrics;
use cluster::failure::{Failure, Kind};
use cluster::observe::Workload;
use cluster::resource::{Found, Scalable, find};
use cluster::scale::{Done, Order, Outcome, Scaler};
use e2e::kube::Cluster;
use fleet_actor::{Clock, Fence};
use futures_util::future::BoxFuture;
use http::Method;
use kube::api::{Api, Patch, PatchParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::DynamicObject;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const DOWN_FROM_2: Order = Order::Down { from: 2 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_has_a_scale_subresource_is_scaled() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.apply(FLEET).await;
    let client = cluster.client_as("holdfast").await;
    for (api_version, kind, path, object) in [
        ("apps/v1", "Deployment", "/spec/replicas", workload("Deployment")),
        (
            "apps/v1",
            "StatefulSet",
            "/spec/replicas",
            workload("StatefulSet"),
        ),
        (
            "e2e.holdfast.dev/v1",
            "Fleet",
            "/spec/size",
            FLEET_OBJECT.to_owned(),
        ),
    ] {
        cluster.apply(&object).await;
        let scalable = scalable(&client, api_version, kind).await;
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &scalable.resource);
        let mut scaler = mk_scaler(client.clone(), &scalable, "web");

        let done = scaler
            .carry_out(up(2), |failure| panic!("{kind}: {failure:?}"))
            .await;
        assert_eq!(done.outcome, Outcome::Written, "{kind} must be written");
        let there = objects.get("web").await.unwrap();
        assert_eq!(there.data.pointer(path), Some(&json!(2)), "{kind} must have 2");
        let seen = Workload::reduce(&there, scalable.replicas_at);
        assert!(
            seen.version.reaches(&done.scale.version),
            "{kind}: the object must show the write"
        );
        assert!(
            done.scale.selector.is_some(),
            "{kind} must tell its selector: {:?}",
            done.scale
        );

        let done = scaler
            .carry_out(DOWN_FROM_2, |failure| panic!("{kind}: {failure:?}"))
            .await;
        assert_eq!(
            (done.outcome, done.scale.replicas),
            (Outcome::Written, 0),
            "{kind} must be at 0"
        );
        let done = scaler
            .carry_out(DOWN_FROM_2, |failure| panic!("{kind}: {failure:?}"))
            .await;
        assert_eq!(done.outcome, Outcome::Already, "{kind} must not be written again");
    }
    let audit = cluster.audit();
    for request in audit.of("holdfast").iter().filter(|request| request.is_write()) {
        assert_eq!(request.verb, "update", "{request:?}");
        assert!(
            request.uri.contains("fieldManager=holdfast"),
            "must say who: {}",
            request.uri
        );
    }
    assert_eq!(
        audit.scale_writes("default", "web").len(),
        6,
        "must write twice for each kind"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_cannot_be_scaled_is_told_from_one_that_is_not_there_yet() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let client = cluster.admin();
    for (api_version, kind, words) in [
        ("v1", "ConfigMap", "has no scale subresource"),
        ("v1", "Node", "is not namespaced"),
        ("apps/v1", "Nope", "knows no Nope"),
        ("e2e.holdfast.dev/v1", "Fleet", "knows no Fleet"),
    ] {
        let found = find(&client, api_version, kind).await;
        let Found::Not(failure) = found else {
            panic!("must not be scalable: {found:?}");
        };
        assert!(failure.reason.contains(words), "must say why: {failure:?}");
    }
    cluster.apply(FLEET).await;
    let fleet = scalable(&client, "e2e.holdfast.dev/v1", "Fleet").await;

    let mut told = mk_scaler(client.clone(), &fleet, "none");
    let failure = first_failure(&mut told, up(1)).await;
    assert_eq!(
        failure.kind,
        Kind::WorkloadNotFound,
        "must know that it is missing: {failure:?}"
    );
    cluster.stop_api_server();
    let found = find(&client, "apps/v1", "Deployment").await;
    assert!(
        matches!(found, Found::Unknown(_)),
        "silence must say nothing of the kind: {found:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_meanwhile_stands() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let admin = cluster.admin();
    let deployment = scalable(&admin, "apps/v1", "Deployment").await;
    let objects: Api<DynamicObject> = Api::namespaced_with(admin.clone(), "default", &deployment.resource);
    let label = |value: &str| json!({"metadata": {"labels": {"seen": value}}});
    for (start, order, meanwhile, outcome, end, landed) in [
        (0, up(1), label("a"), Outcome::Written, 1, 1),
        (0, up(1), replicas(5), Outcome::Already, 5, 0),
        (2, DOWN_FROM_2, label("b"), Outcome::Written, 0, 1),
        (2, DOWN_FROM_2, replicas(5), Outcome::Abandoned, 5, 0),
        (2, DOWN_FROM_2, replicas(0), Outcome::Already, 0, 0),
    ] {
        cluster.apply(&workload("Deployment")).await;
        set(&objects, &replicas(start)).await;
        let case = format!("{order} while {meanwhile}");
        let (others, patch) = (objects.clone(), meanwhile.clone());
        let meanwhile = Box::pin(async move { set(&others, &patch).await });
        let (client, counts) = tampered(&admin, Tamper::AfterRead(meanwhile));

        let done = mk_scaler(client, &deployment, "web")
            .carry_out(order, |failure| panic!("{case}: {failure:?}"))
            .await;

        assert_eq!((done.outcome, done.scale.replicas), (outcome, end), "{case}");
        assert_ne!(counts.conflicts.load(Ordering::SeqCst), 0, "must meet it: {case}");
        assert_eq!(
            counts.landed.load(Ordering::SeqCst),
            landed,
            "must write no more: {case}"
        );
        let there = objects.get("web").await.unwrap();
        assert_eq!(
            there.data.pointer("/spec/replicas"),
            Some(&json!(end)),
            "must stand: {case}"
        );
        let seen = Workload::reduce(&there, deployment.replicas_at);
        if landed == 0 {
            assert_eq!(seen.set_by.as_deref(), Some("another"), "must be named: {case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_twice_and_nothing_lost_when_the_api_server_fails() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.apply(&workload("Deployment")).await;
    let client = cluster.client_as("holdfast").await;
    let deployment = scalable(&client, "apps/v1", "Deployment").await;

    // The answer is lost on the way.
    let (cut, _) = tampered(&client, Tamper::CutAnswer);
    let done = mk_scaler(cut, &deployment, "web")
        .carry_out(up(2), |failure| panic!("{failure:?}"))
        .await;
    assert_eq!(
        (done.outcome, done.scale.replicas),
        (Outcome::Written, 2),
        "must know it for ours"
    );

    // It is away for a while.
    cluster.stop_api_server();
    let order = tokio::spawn({
        let mut scaler = mk_scaler(client.clone(), &deployment, "web");
        async move {
            scaler
                .carry_out(DOWN_FROM_2, |failure| panic!("{failure:?}"))
                .await
        }
    });
    cluster.start_api_server().await;
    let done: Done = order.await.unwrap();
    assert_eq!(
        (done.outcome, done.scale.replicas),
        (Outcome::Written, 0),
        "must be written in the end"
    );

    let audit = cluster.audit();
    let written = audit.scale_writes("default", "web").len();
    assert_eq!(written, 2, "must be written once each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_may_not_scale_says_so_and_goes_on_when_it_may() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    cluster.apply(&workload("Deployment")).await;
    let deployment = scalable(&cluster.admin(), "apps/v1", "Deployment").await;
    let kubeconfig = cluster.kubeconfig_for_service_account("default", "default").await;
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();

    let (tell, mut told) = mpsc::unbounded_channel();
    let mut scaler = mk_scaler(client, &deployment, "web");
    let order = tokio::spawn(async move {
        let tell = move |failure: Option<Failure>| tell.send(failure).unwrap();
        scaler.carry_out(up(1), tell).await
    });
    let failure = told.recv().await.unwrap().unwrap();
    assert_eq!(failure.kind, Kind::Refused, "{failure:?}");
    assert!(
        failure.reason.contains("Deployment default/web"),
        "must name it: {failure:?}"
    );
    cluster.apply(MAY_SCALE).await;

    assert_eq!(
        order.await.unwrap().outcome,
        Outcome::Written,
        "must go on by itself"
    );
    assert_eq!(told.recv().await.unwrap(), None, "must take it back");
}

const FLEET: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.e2e.holdfast.dev}
spec:
  group: e2e.holdfast.dev
  scope: Namespaced
  names: {kind: Fleet, plural: fleets, singular: fleet}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
      subresources:
        status: {}
        scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size, labelSelectorPath: .spec.selector}
";

const FLEET_OBJECT: &str = "{apiVersion: e2e.holdfast.dev/v1, kind: Fleet, metadata: {name: web}, spec: {size: 0, selector: app=web}}";

const MAY_SCALE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: scaler}
rules: [{apiGroups: [apps], resources: [deployments/scale], verbs: [get, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: scaler}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: scaler}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
";

fn workload(kind: &str) -> String {
    let service = if kind == "StatefulSet" {
        "serviceName: web, "
    } else {
        ""
    };
    format!(
        "
apiVersion: apps/v1
kind: {kind}
metadata: {{name: web}}
spec:
  {{{service}replicas: 0, selector: {{matchLabels: {{app: web}}}}, template: {{metadata: {{labels: {{app: web}}}},
    spec: {{containers: [{{name: main, image: upstream}}]}}}}}}
"
    )
}

fn up(want: u32) -> Order {
    Order::Up(NonZeroU32::new(want).unwrap())
}

fn replicas(replicas: u32) -> Value {
    json!({"spec": {"replicas": replicas}})
}

async fn scalable(client: &Client, api_version: &str, kind: &str) -> Scalable {
    match find(client, api_version, kind).await {
        Found::Scalable(scalable) => scalable,
        other => panic!("{kind} of {api_version} must be scalable: {other:?}"),
    }
}

fn mk_scaler(client: Client, kind: &Scalable, name: &str) -> Scaler {
    let clock = Clock::start();
    let fence = Fence::new(clock, Duration::from_secs(600));
    fence.renew(clock.now());
    Scaler::new(client, kind, "default", name, fence, Metrics::default())
}

/// What an order is told to fail for first.
async fn first_failure(scaler: &mut Scaler, order: Order) -> Failure {
    let (tell, mut told) = mpsc::unbounded_channel();
    let order = scaler.carry_out(order, move |failure| tell.send(failure).unwrap());
    tokio::select! {
        done = order => panic!("must not be done: {done:?}"),
        failure = told.recv() => failure.unwrap().expect("a failure"),
    }
}

/// As another client, through the object itself: a server of 1.20 does not note the writer of its scale.
async fn set(objects: &Api<DynamicObject>, patch: &Value) {
    let params = PatchParams {
        field_manager: Some("another".to_owned()),
        ..PatchParams::default()
    };
    objects.patch("web", &params, &Patch::Merge(patch)).await.unwrap();
}

/// What happens once between a scaler and the API server.
enum Tamper {
    /// When a read has been answered, before anything is done with it.
    AfterRead(BoxFuture<'static, ()>),
    /// A write arrives, its answer does not.
    CutAnswer,
}

/// Writes by their answers.
#[derive(Default)]
struct Counts {
    landed: AtomicUsize,
    conflicts: AtomicUsize,
}

/// A client whose requests go through `tamper`.
fn tampered(client: &Client, tamper: Tamper) -> (Client, Arc<Counts>) {
    let (client, tamper) = (client.clone(), Arc::new(Mutex::new(Some(tamper))));
    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, tamper, counts) = (client.clone(), Arc::clone(&tamper), Arc::clone(&counts));
        async move {
            let write = *request.method() == Method::PUT;
            let answer = client.send(request).await?;
            match answer.status().as_u16() {
                200 if write => counts.landed.fetch_add(1, Ordering::SeqCst),
                409 if write => counts.conflicts.fetch_add(1, Ordering::SeqCst),
                _ => 0,
            };
            let tamper = tamper.lock().unwrap().take_if(|tamper| match tamper {
                Tamper::AfterRead(_) => !write,
                Tamper::CutAnswer => write,
            });
            match tamper {
                Some(Tamper::AfterRead(then)) => then.await,
                Some(Tamper::CutAnswer) => return Err(kube::Error::Service("cut".into())),
                None => {}
            }
            Ok(answer)
        }
    });
    (Client::new(service, "default"), counted)
}
