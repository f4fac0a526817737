//! `serve`: wires everything, waits for the end, and ends in order: polls answered, then workloads stopped.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::args::{BackendKind, ServeArgs};
use crate::backend::Backend;
use crate::backend::local::Local;
use crate::backend::manual::Manual;
use crate::config::{ScaleTarget, TargetsFile, watch};
use crate::fleet::proxies::Limits;
use crate::fleet::{FleetHandle, Settings, actor};
use crate::http::auth::Token;
use crate::http::{App, router, server};
use crate::life::Policy;
use crate::logs;
use crate::metrics::Metrics;
use crate::time::Clock;
use crate::view::View;

/// Two estimates of an arrival that are closer than this are the same one: network and scheduling move them.
const ARRIVAL_JITTER: std::time::Duration = std::time::Duration::from_millis(100);

/// How long the proxies have to confirm that they hold, before what they would pass into is stopped.
const LAST_WORD: std::time::Duration = std::time::Duration::from_millis(500);

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    if let Err(refusal) = logs::start(args.log_format, &args.log) {
        complain(&refusal);
        return ExitCode::from(2);
    }
    let served = tokio::runtime::Runtime::new()
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(serve(args)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let ServeArgs {
        backend,
        targets,
        listen,
        token,
        token_file,
        heartbeat,
        proxy_forget_after,
        lease_duration,
        retry_initial,
        retry_max,
        max_proxies,
        log_format: _,
        log: _,
        test_delay,
    } = args;
    let file = TargetsFile {
        path: targets,
        needs: backend.needs(),
    };
    let specs = file.read()?;
    let token = read_token(token, token_file)?;
    let listener = bind(listen).await?;

    let stop = CancellationToken::new();
    let metrics = Metrics::new();
    let clock = Clock::start();
    let limits = Limits {
        heartbeat: heartbeat.get(),
        forget_after: proxy_forget_after.get(),
        max: usize::try_from(max_proxies)?,
    };
    let settings = Settings {
        instance: format!("{:016x}", random()),
        started: clock.now(),
        lease: lease_duration.get(),
        policy: Policy {
            drain_pause: test_delay.draining,
            retry_initial: retry_initial.get(),
            retry_max: retry_max.get(),
            ..Policy::default()
        },
        limits,
        sleeps_when_idle: backend != BackendKind::Manual,
        arrival_jitter: ARRIVAL_JITTER,
        seed: random(),
        workloads_end_with_us: backend == BackendKind::Local,
    };
    let app = |fleet| App {
        fleet,
        metrics: metrics.clone(),
        token,
        heartbeat: limits.heartbeat,
        forget_after: limits.forget_after,
        manual: backend == BackendKind::Manual,
        stop: stop.clone(),
    };
    // The actor outlives the polls, so that their answers are the last thing it sees.
    let end = CancellationToken::new();
    let metrics = metrics.clone();
    match backend {
        BackendKind::Local => {
            let mount = move |fleet| Local::new(own_executable(), fleet, test_delay.local);
            let (fleet, actor) = actor::new(settings, clock, metrics, mount, end.clone());
            operate(
                Running {
                    app: app(fleet),
                    listener,
                    file,
                    specs,
                    end,
                },
                actor,
            )
            .await
        }
        BackendKind::Manual => {
            let (fleet, actor) = actor::new(settings, clock, metrics, |_| Manual::default(), end.clone());
            operate(
                Running {
                    app: app(fleet),
                    listener,
                    file,
                    specs,
                    end,
                },
                actor,
            )
            .await
        }
    }
}

struct Running {
    app: App,
    listener: TcpListener,
    file: TargetsFile,
    specs: Vec<ScaleTarget>,
    end: CancellationToken,
}

async fn operate<B: Backend>(
    running: Running,
    actor: impl Future<Output = B> + Send + 'static,
) -> anyhow::Result<()> {
    let Running {
        app,
        listener,
        file,
        specs,
        end,
    } = running;
    let (fleet, stop) = (app.fleet.clone(), app.stop.clone());
    let mut actor = tokio::spawn(actor);
    fleet
        .configure(specs.iter().cloned().map(Into::into).collect())
        .await?;
    // The file has been read: nobody need be told to come back.
    fleet
        .view()
        .wait_for(View::is_complete)
        .await
        .context("the fleet ended at its start")?;
    info!(event = "listening", address = %listener.local_addr()?, targets = specs.len(), "listening");
    let metrics = app.metrics.clone();
    let mut server = tokio::spawn(server::serve(listener, router(app), metrics, stop.clone()));
    let mut follower = tokio::spawn(follow(file, specs, fleet.clone()));
    let outcome = tokio::select! {
        signal = signalled() => signal.map(|name| info!(event = "stopping_all", "{name}: shutting down")),
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

async fn signalled() -> anyhow::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

async fn bind(listen: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("{listen} is in use: choose another address with --listen or HOLDFAST_LISTEN")
        }
        _ => anyhow!("{listen} cannot be listened on: {e} (--listen)"),
    })
}

fn read_token(token: Option<String>, file: Option<PathBuf>) -> anyhow::Result<Option<Token>> {
    let (text, origin) = match (token, file) {
        (Some(text), _) => (text, "--token".to_owned()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|e| anyhow!("--token-file {} cannot be read: {e}", path.display()))?;
            (text, format!("--token-file {}", path.display()))
        }
        (None, None) => return Ok(None),
    };
    Token::try_new(&text)
        .map(Some)
        .map_err(|reason| anyhow!("{origin}: {reason}"))
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

/// Seeded by the operating system. For names and spreads, not for secrets.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// One line on stdout.
pub(crate) fn print(line: &str) {
    // A reader that has gone away has read enough.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One line on stderr.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "control-plane: {line}");
}
