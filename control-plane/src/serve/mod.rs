//! `serve`: makes what every backend is served with, and hands it to the one that was asked for.

#[cfg_attr(not(feature = "kubernetes"), path = "no_cluster.rs")]
mod cluster;
mod files;
mod secrets;
mod state;

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::args::{BackendKind, ServeArgs, ServerArgs};
use crate::http::answers::Answers;
use crate::http::refusals::Refusals;
use crate::http::server::{Limits as Bearable, Server};
use crate::http::{App, probes, router};
use crate::metrics::Metrics;
use crate::{logs, open_files, targets_file};
use fleet::Settings;
use fleet::config::TargetsFile;
use fleet::lifecycle::Policy;
use fleet::proxies::Limits;
use fleet_actor::Clock;
use fleet_actor::active::ActiveFleet;
use secrets::Secrets;
use state::StateFile;

/// Two estimates of an arrival that are closer than this are the same one: network and scheduling move them.
const ARRIVAL_JITTER: Duration = Duration::from_millis(100);

/// A fifth of it is the longest that one request for the lease may take.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// What every backend is served with.
pub(crate) struct ServerContext {
    /// What the handlers share. They answer once a fleet does.
    pub app: App,
    /// The fleet that answers.
    pub active: ActiveFleet,
    /// Where it is called.
    pub door: Door,
    /// What fleets are made with.
    pub template: FleetTemplate,
}

/// The address at which it is called, and the callers that it answers. Bound already, so that a port in use is told before anything is done.
pub(crate) struct Door {
    listener: TcpListener,
    /// For probes and metrics.
    admin: Option<TcpListener>,
    secrets: Secrets,
    limits: Bearable,
}

impl Door {
    async fn open(args: &ServerArgs, proxies: usize) -> anyhow::Result<Self> {
        let secrets = Secrets::read(args)?;
        let limits = Bearable::of_calls(proxies, open_files::raise());
        let listener = bind(args.listen, "--listen").await?;
        let admin = match args.admin_listen {
            Some(address) => Some(bind(address, "--admin-listen").await?),
            None => None,
        };
        Ok(Self {
            listener,
            admin,
            secrets,
            limits,
        })
    }

    /// Says where.
    pub(crate) fn announce(&self, targets: Option<usize>) -> anyhow::Result<()> {
        let address = self.listener.local_addr()?;
        if let Some(admin) = &self.admin {
            info!(event = "admin_listening", address = %admin.local_addr()?, "listening for probes");
        }
        info!(event = "listening", %address, targets, tls = self.secrets.tls.is_some(), "listening");
        Ok(())
    }
}

/// What fleets are made with.
pub(crate) struct FleetTemplate {
    /// The one clock of this process.
    pub clock: Clock,
    /// All but what each has of its own.
    settings: Settings,
}

impl FleetTemplate {
    /// Settings of a fleet that starts now, with a name of its own.
    pub(crate) fn fleet_settings(&self) -> Settings {
        Settings {
            instance: format!("{:016x}", fastrand::u64(..)),
            started: self.clock.now(),
            seed: fastrand::u64(..),
            ..self.settings.clone()
        }
    }
}

/// Answers at `door` until `app.stop` is cancelled and what was under way has ended.
pub(crate) fn answer(door: Door, app: App) -> JoinHandle<()> {
    let Door {
        listener,
        admin,
        secrets,
        limits,
    } = door;
    let main = Server {
        router: router(app.clone()),
        limits,
        tls: secrets.tls.clone(),
        metrics: app.metrics.clone(),
        refusals: app.refusals.clone(),
        stop: app.stop.clone(),
    };
    let beside = Server {
        router: probes(app),
        limits: Bearable::of_probes(),
        tls: None,
        ..main.clone()
    };
    tokio::spawn(async move {
        let probed = async {
            if let Some(admin) = admin {
                beside.serve(admin).await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(main.serve(listener), probed) } => {}
            () = secrets.follow() => {}
        }
    })
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn run(args: ServeArgs) -> ExitCode {
    let metrics = Metrics::new();
    let log = match logs::start(args.log_format, &args.log, metrics.log_lines_lost.clone()) {
        Ok(log) => log,
        Err(refusal) => {
            complain(&refusal);
            return ExitCode::from(2);
        }
    };
    let served = tokio::runtime::Runtime::new()
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(serve(args, metrics)));
    let code = match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log.complain(&format!("{e:#}"));
            ExitCode::FAILURE
        }
    };
    log.finish();
    code
}

async fn serve(args: ServeArgs, metrics: Metrics) -> anyhow::Result<()> {
    let ServeArgs {
        backend,
        targets,
        server,
        heartbeat,
        proxy_forget_after,
        state_file,
        lease_duration,
        retry_initial,
        retry_max,
        max_proxies,
        cluster: cluster_args,
        log_format: _,
        log: _,
        test_delay,
    } = args;
    // Elsewhere workloads end with the control plane, and a start has a time limit of its own.
    let is_cluster = backend == BackendKind::Kubernetes;
    let policy = Policy {
        drain_pause: test_delay.draining,
        retry_initial: retry_initial.get(),
        retry_max: retry_max.get(),
        start_limit: Policy::default().start_limit.filter(|_| is_cluster),
        leaves_awake: is_cluster,
        ..Policy::default()
    };
    let limits = Limits {
        heartbeat: heartbeat.get(),
        forget_after: proxy_forget_after.get(),
        max: usize::try_from(max_proxies)?,
    };
    let context = async |workloads_end_with_us| {
        let door = Door::open(&server, limits.max).await?;
        let clock = Clock::start();
        let (active, handle) = ActiveFleet::new();
        anyhow::Ok(ServerContext {
            app: App {
                handle,
                metrics,
                keys: door.secrets.keys.clone(),
                knows_callers: door.secrets.knows_callers,
                probes_apart: door.admin.is_some(),
                refusals: Refusals::default(),
                heartbeat: limits.heartbeat,
                forget_after: limits.forget_after,
                manual: backend == BackendKind::Manual,
                answers: Answers::default(),
                stop: CancellationToken::new(),
            },
            active,
            door,
            template: FleetTemplate {
                clock,
                settings: Settings {
                    instance: String::new(),
                    started: clock.now(),
                    lease: lease_duration.get(),
                    policy,
                    limits,
                    sleeps_when_idle: backend != BackendKind::Manual,
                    arrival_jitter: ARRIVAL_JITTER,
                    seed: 0,
                    workloads_end_with_us,
                },
            },
        })
    };
    match (backend.needs(), targets) {
        (Some(needs), Some(path)) => {
            let file = TargetsFile { path, needs };
            let specs = targets_file::read(&file)?;
            let delays = (backend == BackendKind::Local).then_some(test_delay.local);
            let state = state_file.map(StateFile::new);
            files::run(context(delays.is_some()).await?, file, specs, delays, state).await
        }
        (Some(_), None) => bail!("--targets is required by the local and the manual backend"),
        (None, Some(_)) => {
            bail!(
                "--targets is for local and manual: with --backend kubernetes targets are ScaleTarget resources"
            )
        }
        (None, None) if state_file.is_some() => {
            bail!("--state-file is for local and manual: with --backend kubernetes it is kept in the cluster")
        }
        (None, None) if lease_duration.get() < SHORTEST_LEASE => {
            bail!("--lease-duration is too short to elect a leader by: write 100ms or more")
        }
        (None, None) => {
            let client = cluster::connect().await?;
            cluster::run(client, context(false).await?, cluster_args, lease_duration.get()).await
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn signalled() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    info!(event = "stopping_all", "{name}: shutting down");
    Ok(())
}

async fn bind(listen: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let variable = format!("HOLDFAST_{}", option.trim_start_matches('-').replace('-', "_")).to_uppercase();
    TcpListener::bind(listen).await.map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("{listen} is in use: choose another address with {option} or {variable}")
        }
        _ => anyhow!("{listen} cannot be listened on: {e} ({option})"),
    })
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
