//! `serve`: makes what every backend is served with, and hands it to the one that was asked for.

mod files;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::args::{BackendKind, ServeArgs};
use crate::config::{TargetsFile, read_regular};
use crate::fleet::Settings;
use crate::fleet::proxies::Limits;
use crate::http::active::Seat;
use crate::http::answers::Answers;
use crate::http::auth::Token;
use crate::http::{App, router, server};
use crate::kubernetes;
use crate::life::Policy;
use crate::logs;
use crate::metrics::Metrics;
use crate::time::Clock;

/// Two estimates of an arrival that are closer than this are the same one: network and scheduling move them.
const ARRIVAL_JITTER: Duration = Duration::from_millis(100);

/// A fifth of it is the longest that one request for the lease may take.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// Largest token file read, in bytes: a header of it must have room in a request.
const MAX_TOKEN_FILE: u64 = 16 << 10;

/// What every backend is served with.
pub(crate) struct Stage {
    /// What the handlers share. Nobody answers before the seat is taken.
    pub app: App,
    /// Who answers.
    pub seat: Seat,
    /// Bound already, so that a port in use is told before anything is done.
    pub listener: TcpListener,
    /// What fleets are made with.
    pub blueprint: Blueprint,
}

/// What fleets are made with.
pub(crate) struct Blueprint {
    /// The one clock of this process.
    pub clock: Clock,
    /// All but what each has of its own.
    settings: Settings,
}

impl Blueprint {
    /// Settings of a fleet that starts now, with a name of its own.
    pub(crate) fn fleet_settings(&self) -> Settings {
        Settings {
            instance: format!("{:016x}", random()),
            started: self.clock.now(),
            seed: random(),
            ..self.settings.clone()
        }
    }
}

/// Answers on `listener` until `app.stop` is cancelled and what was under way has ended.
pub(crate) fn answer(listener: TcpListener, app: App) -> JoinHandle<()> {
    let (metrics, stop) = (app.metrics.clone(), app.stop.clone());
    tokio::spawn(server::serve(listener, router(app), metrics, stop))
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
        listen,
        token,
        token_file,
        heartbeat,
        proxy_forget_after,
        lease_duration,
        retry_initial,
        retry_max,
        max_proxies,
        cluster,
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
    let stage = async |workloads_end_with_us| {
        let token = read_token(token, token_file)?;
        let listener = bind(listen).await?;
        let clock = Clock::start();
        let (seat, sight) = Seat::new();
        anyhow::Ok(Stage {
            app: App {
                sight,
                metrics,
                token,
                heartbeat: limits.heartbeat,
                forget_after: limits.forget_after,
                manual: backend == BackendKind::Manual,
                answers: Answers::default(),
                stop: CancellationToken::new(),
            },
            seat,
            listener,
            blueprint: Blueprint {
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
            let specs = file.read()?;
            let delays = (backend == BackendKind::Local).then_some(test_delay.local);
            files::run(stage(delays.is_some()).await?, file, specs, delays).await
        }
        (Some(_), None) => bail!("--targets is required by the local and the manual backend"),
        (None, Some(_)) => {
            bail!(
                "--targets is for local and manual: with --backend kubernetes targets are ScaleTarget resources"
            )
        }
        (None, None) if lease_duration.get() < SHORTEST_LEASE => {
            bail!("--lease-duration is too short to elect a leader by: write 100ms or more")
        }
        (None, None) => {
            let wiring = kubernetes::Wiring {
                lease: lease_duration.get(),
                client: kubernetes::client::connect().await?,
                args: cluster,
                stage: stage(false).await?,
            };
            kubernetes::run(wiring).await
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

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
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
            let text = read_regular(&path, MAX_TOKEN_FILE)
                .map_err(|reason| anyhow!("--token-file {} {reason}", path.display()))?;
            (text, format!("--token-file {}", path.display()))
        }
        (None, None) => return Ok(None),
    };
    Token::try_new(&text)
        .map(Some)
        .map_err(|reason| anyhow!("{origin}: {reason}"))
}

/// Seeded by the operating system. For names and spreads, not for secrets.
pub(crate) fn random() -> u64 {
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
