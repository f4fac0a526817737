//! Wires the parts: watches into the index, the index into the configuration, the lease into leaderships.
//!
//! A standby does all but lead, so its index is warm when it takes over.

use std::time::Duration;

use anyhow::anyhow;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::client::{identity, lease_namespace};
use super::configuration::derive;
use super::discovery::Discovery;
use super::discovery::facts::RouteKind;
use super::index::Index;
use super::leadership::{self, Candidate};
use super::lease::{Candidate as Election, Role};
use super::pods::PodWatches;
use super::status::Shown;
use super::watches::{Scope, follow};
use super::{crd, kinds};
use crate::args::ClusterArgs;
use crate::serve::{Stage, answer, random, signalled};

/// The group of Gateway API's kinds.
const GATEWAY: &str = "gateway.networking.k8s.io";

/// What [`run`] is given.
pub(crate) struct Wiring {
    /// Speaks to the API server.
    pub client: Client,
    /// What every backend is served with.
    pub stage: Stage,
    /// Options of this backend.
    pub args: ClusterArgs,
    /// How long a lease is.
    pub lease: Duration,
}

/// Serves until a signal comes.
pub(crate) async fn run(wiring: Wiring) -> anyhow::Result<()> {
    let Wiring {
        client,
        stage,
        args,
        lease,
    } = wiring;
    let Stage {
        app,
        seat,
        door,
        blueprint,
    } = stage;
    let (metrics, fleet_metrics) = (app.metrics.cluster.clone(), app.metrics.fleet.clone());
    let stop = app.stop.clone();
    door.announce(None)?;
    let mut server = answer(door, app);

    let index = Index::default();
    let mut tasks = JoinSet::new();
    let shown = Shown::default();
    watch_all(&mut tasks, &client, &index, &shown);
    tasks.spawn(kinds::watch(client.clone(), index.clone(), metrics.clone()));
    let (told, derived) = watch::channel(None);
    let discovery = Discovery::new(args.cluster_domain.clone());
    tasks.spawn(derive(index.clone(), discovery, blueprint.clock, told));

    let resign = CancellationToken::new();
    let identity = identity(args.identity, random());
    let (roles, role) = watch::channel(Role::Standby { holder: None });
    let place = (lease_namespace(args.lease_namespace), args.lease_name);
    let election = Election::new(
        client.clone(),
        place.clone(),
        identity.clone(),
        lease,
        blueprint.clock,
        metrics.clone(),
    );
    let mut election = tokio::spawn(election.run(roles, resign.clone()));
    let end = CancellationToken::new();
    let candidate = Candidate {
        role,
        derived,
        blueprint,
        seat,
        identity,
        lease: place,
        pods: PodWatches::new(client.clone(), metrics.clone()),
        client,
        index,
        shown,
        unschedulable_grace: args.unschedulable_grace.get(),
        metrics,
        fleet_metrics,
        end: end.clone(),
    };
    let mut leading = tokio::spawn(leadership::run(candidate));

    let outcome = tokio::select! {
        signal = signalled() => signal,
        ended = &mut server => return Err(anyhow!("the server ended unexpectedly: {:?}", ended.err())),
        ended = &mut leading => return Err(anyhow!("the leadership ended unexpectedly: {:?}", ended.err())),
        ended = &mut election => return Err(anyhow!("the election ended unexpectedly: {:?}", ended.err())),
        Some(ended) = tasks.join_next() => return Err(anyhow!("a watch ended unexpectedly: {:?}", ended.err())),
    };
    // Nobody is told anything any more before the lease is given back.
    end.cancel();
    leading.await?;
    resign.cancel();
    election.await?;
    stop.cancel();
    server.await?;
    info!(event = "stopped", "stopped");
    outcome
}

/// Watches of everything but workloads and Pods.
fn watch_all(tasks: &mut JoinSet<()>, client: &Client, told: &Index, shown: &Shown) {
    let told = || told.clone();
    let targets = Api::<crd::ScaleTarget>::all(client.clone());
    let (index, shown) = (told(), shown.clone());
    tasks.spawn(follow("scaletargets", targets, Scope::default(), move |seen| {
        shown.take(&seen);
        index.targets(seen);
    }));
    let services = Api::<Service>::all(client.clone());
    let index = told();
    tasks.spawn(follow("services", services, Scope::default(), move |seen| {
        index.services(&seen)
    }));
    let slices = Api::<EndpointSlice>::all(client.clone());
    let index = told();
    tasks.spawn(follow("endpointslices", slices, Scope::default(), move |seen| {
        index.slices(&seen)
    }));
    for (kind, plural) in [(RouteKind::Http, "httproutes"), (RouteKind::Grpc, "grpcroutes")] {
        let routes = gateway(client, "v1", kind.as_str(), plural);
        let index = told();
        tasks.spawn(follow(plural, routes, Scope::default(), move |seen| {
            index.routes(kind, &seen)
        }));
    }
    let grants = gateway(client, "v1beta1", "ReferenceGrant", "referencegrants");
    let index = told();
    tasks.spawn(follow("referencegrants", grants, Scope::default(), move |seen| {
        index.grants(&seen)
    }));
}

fn gateway(client: &Client, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk(GATEWAY, version, kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
}
