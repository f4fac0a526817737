//! Serves targets from a cluster: watches into the index, the index into the configuration, the lease into leaderships.
//!
//! A standby does all but lead, so its index is warm when it takes over.

use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{ServerContext, answer, signalled};
use crate::args::ClusterArgs;
use cluster::client::{identity, lease_namespace};
use cluster::configuration::derive;
use cluster::discovery::Discovery;
use cluster::index::Index;
use cluster::leadership::{self, Candidate};
use cluster::lease::{Candidate as Election, Role};
use cluster::pods::PodWatches;
use cluster::sources::watch_all;
use cluster::status::Shown;
use cluster::{Client, kinds};

/// The client of the cluster that `KUBECONFIG` names, or that this process runs in.
pub(super) async fn connect() -> anyhow::Result<Client> {
    cluster::client::connect().await
}

/// Serves until a signal comes. `lease`: how long a lease is.
pub(super) async fn run(
    client: Client,
    context: ServerContext,
    args: ClusterArgs,
    lease: Duration,
) -> anyhow::Result<()> {
    let ServerContext {
        app,
        active,
        door,
        template,
    } = context;
    let clock = template.clock;
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
    tasks.spawn(derive(index.clone(), discovery, clock, told));

    let resign = CancellationToken::new();
    let identity = identity(args.identity, fastrand::u64(..));
    let (roles, role) = watch::channel(Role::Standby { holder: None });
    let place = (lease_namespace(args.lease_namespace), args.lease_name);
    let election = Election::new(
        client.clone(),
        place.clone(),
        identity.clone(),
        lease,
        clock,
        metrics.clone(),
    );
    let mut election = tokio::spawn(election.run(roles, resign.clone()));
    let end = CancellationToken::new();
    let candidate = Candidate {
        role,
        derived,
        settings: Box::new(move || template.fleet_settings()),
        clock,
        active,
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
    // From here on no proxy is told anything, until the lease is given back.
    end.cancel();
    leading.await?;
    resign.cancel();
    election.await?;
    stop.cancel();
    server.await?;
    info!(event = "stopped", "stopped");
    outcome
}
