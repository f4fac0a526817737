//! Serves targets from a file: local processes, or workloads that a person minds. Ends in order: polls answered, then
//! workloads stopped.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::state::StateFile;
use super::{ServerContext, answer, signalled};
use crate::backend::local::{Delays, Local};
use crate::targets_file::watch;
use fleet::config::{ScaleTarget, TargetsFile};
use fleet::view::View;
use fleet_actor::manual::Manual;
use fleet_actor::{Backend, FleetHandle, known};

/// How long the proxies have to confirm that they hold, before what they would pass into is stopped.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Serves until a signal comes. `delays`: of the local backend; without them it is the manual one.
pub(super) async fn run(
    context: ServerContext,
    file: TargetsFile,
    specs: Vec<ScaleTarget>,
    delays: Option<Delays>,
    state: Option<StateFile>,
) -> anyhow::Result<()> {
    let (settings, clock, metrics) = (
        context.template.fleet_settings(),
        context.template.clock,
        context.app.metrics.fleet.clone(),
    );
    // The actor outlives the polls, so that their answers are the last thing it sees.
    let end = CancellationToken::new();
    let running = |fleet| Running {
        context,
        fleet,
        file,
        specs,
        state,
        end: end.clone(),
    };
    match delays {
        Some(delays) => {
            let mount = move |fleet| Local::new(own_executable(), fleet, delays);
            let (fleet, actor) = fleet_actor::new(settings, clock, metrics, mount, end.clone());
            operate(running(fleet), actor).await
        }
        None => {
            let (fleet, actor) =
                fleet_actor::new(settings, clock, metrics, |_| Manual::default(), end.clone());
            operate(running(fleet), actor).await
        }
    }
}

struct Running {
    context: ServerContext,
    fleet: FleetHandle,
    file: TargetsFile,
    specs: Vec<ScaleTarget>,
    state: Option<StateFile>,
    end: CancellationToken,
}

async fn operate<B: Backend>(
    running: Running,
    actor: impl Future<Output = B> + Send + 'static,
) -> anyhow::Result<()> {
    let Running {
        context: ServerContext {
            app, active, door, ..
        },
        fleet,
        file,
        specs,
        state,
        end,
    } = running;
    let stop = app.stop.clone();
    let mut actor = tokio::spawn(actor);
    let keeping = CancellationToken::new();
    let kept = match state {
        Some(state) => {
            known::recall(&state, &fleet).await?;
            let kept = known::keep(state, fleet.clone(), app.metrics.fleet.clone(), keeping.clone());
            Some(tokio::spawn(kept))
        }
        None => None,
    };
    fleet
        .configure(specs.iter().cloned().map(Into::into).collect())
        .await?;
    // The file has been read: no proxy need be told to come back.
    fleet
        .view()
        .wait_for(View::is_complete)
        .await
        .context("the fleet ended at its start")?;
    active.take(fleet.clone(), None);
    door.announce(Some(specs.len()))?;
    let mut server = answer(door, app);
    let mut follower = tokio::spawn(follow(file, specs, fleet.clone()));
    let outcome = tokio::select! {
        signal = signalled() => signal,
        ended = &mut actor => return Err(anyhow!("the fleet ended unexpectedly: {:?}", ended.err())),
        ended = &mut server => Err(anyhow!("the server ended unexpectedly: {:?}", ended.err())),
        ended = &mut follower => Err(anyhow!("the targets file is no longer watched: {ended:?}")),
    };
    follower.abort();
    // A proxy that has not confirmed has been told all the same.
    let _ = tokio::time::timeout(LAST_WORD, fleet.close()).await;
    stop.cancel();
    if !server.is_finished()
        && let Err(e) = server.await
    {
        error!("the server failed: {e}");
    }
    keeping.cancel();
    if let Some(kept) = kept
        && let Err(e) = kept.await
    {
        error!("which proxies are known is not kept: {e}");
    }
    end.cancel();
    let backend = actor.await.context("the fleet failed")?;
    backend.shut_down().await;
    info!(event = "stopped", "stopped");
    outcome
}

/// Passes each good configuration on.
async fn follow(file: TargetsFile, specs: Vec<ScaleTarget>, fleet: FleetHandle) -> anyhow::Result<()> {
    // One: the next is read only when this one has been taken.
    let (sender, mut changed) = mpsc::channel(1);
    let watching = watch::follow(file, specs, sender);
    tokio::pin!(watching);
    loop {
        tokio::select! {
            ended = &mut watching => return Ok(ended?),
            Some(specs) = changed.recv() => fleet.configure(specs.into_iter().map(Into::into).collect()).await?,
        }
    }
}

/// This very program, even if its file has been replaced since.
fn own_executable() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        running
    } else {
        std::env::current_exe().unwrap_or(running)
    }
}
