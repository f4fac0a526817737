//! One life of the backend: start, delay, perhaps a crash, serve, drain, close. Wires only; what it notes is in the journal.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context;
use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    select,
    signal::unix::{Signal, SignalKind, signal},
    time,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    app::App, duration::HumanDuration, grpc, http::router, journal::Journal, options::Options, record::Event,
    serve::serve,
};

/// Runs until SIGTERM or SIGINT (a second one skips the rest of the drain time) or a crash that was asked for, and
/// returns the exit code.
///
/// # Errors
/// When the journal cannot be opened or an address cannot be bound; the text names the option.
pub async fn run(options: Options) -> anyhow::Result<u8> {
    let Options {
        http,
        grpc,
        name,
        json,
        journal,
        start_delay,
        ready_listen,
        crash,
        crash_while_exists,
        not_serving_while_exists,
        crash_code,
        crash_message,
        drain,
        grace,
        max_concurrency,
    } = options;
    if let Err(failure) = raise_file_limit() {
        warn!("cannot raise the limit of open files: {failure}");
    }
    let stop = Stop::listen().context("cannot listen for signals")?;
    let journal = Journal::open(journal.as_deref()).with_context(|| {
        format!(
            "cannot open the journal {} (--journal)",
            journal.unwrap_or_default().display()
        )
    })?;
    let mut app = App::new(&name, Arc::new(journal), max_concurrency);
    if json {
        app = app.with_json_everywhere();
    }
    app.journal.note(Event::Start { name });
    let life = Life {
        app: app.clone(),
        stop,
        ports: Ports {
            http,
            grpc,
            ready: ready_listen,
        },
        crash: Crash {
            always: crash,
            while_exists: crash_while_exists,
            code: crash_code,
            message: crash_message,
        },
        not_serving_while_exists,
        start_delay,
        drain,
        grace,
    };
    let outcome = life.live().await;
    let code = *outcome.as_ref().unwrap_or(&1);
    app.journal.note(Event::Exit {
        code,
        cut: app.admission.in_flight(),
    });
    outcome
}

struct Life {
    app: App,
    stop: Stop,
    ports: Ports,
    crash: Crash,
    not_serving_while_exists: Option<PathBuf>,
    start_delay: HumanDuration,
    drain: HumanDuration,
    grace: HumanDuration,
}

struct Ports {
    http: SocketAddr,
    grpc: SocketAddr,
    ready: Option<SocketAddr>,
}

struct Crash {
    always: bool,
    while_exists: Option<PathBuf>,
    code: u8,
    message: String,
}

impl Crash {
    fn is_due(&self) -> bool {
        self.always || self.while_exists.as_ref().is_some_and(|file| file.exists())
    }
}

impl Life {
    async fn live(mut self) -> anyhow::Result<u8> {
        let journal = Arc::clone(&self.app.journal);
        if let Some(address) = self.ports.ready {
            self.say_ready(address).await?;
        }
        select! {
            () = time::sleep(self.start_delay.duration()) => {}
            () = self.stop.asked() => {
                journal.note(Event::Sigterm);
                return Ok(0);
            }
        }
        if self.crash.is_due() {
            // Where stderr cannot be written, a panic would be another crash than the one asked for.
            let _ = writeln!(std::io::stderr(), "{}", self.crash.message);
            return Ok(self.crash.code);
        }
        let (http, http_address) = bind(self.ports.http, "--http").await?;
        let (grpc, grpc_address) = bind(self.ports.grpc, "--grpc").await?;
        let (grpc_router, health) = grpc::with_health(self.app.clone()).await?;
        if let Some(file) = self.not_serving_while_exists.take() {
            health.fail().await;
            tokio::spawn(serve_once_gone(file, health.clone(), Arc::clone(&journal)));
        }
        let closing = self.app.closing.clone();
        let http = tokio::spawn(serve(http, router(self.app.clone()), closing.clone()));
        let grpc = tokio::spawn(serve(grpc, grpc_router, closing.clone()));
        journal.note(Event::Ready {
            http: http_address,
            grpc: grpc_address,
        });
        info!("HTTP on {http_address}, gRPC on {grpc_address}");

        self.stop.asked().await;
        journal.note(Event::Sigterm);
        health.fail().await;
        info!("SIGTERM: serving for another {:?}", self.drain.duration());
        select! {
            () = time::sleep(self.drain.duration()) => {}
            () = self.stop.asked() => {}
        }
        closing.cancel();
        let closed = async {
            http.await.context("the HTTP server has died")?;
            grpc.await.context("the gRPC server has died")?;
            self.app.admission.emptied().await;
            anyhow::Ok(())
        };
        match time::timeout(self.grace.duration(), closed).await {
            Ok(closed) => closed?,
            Err(_) => warn!(
                "{} requests had not ended after the grace time",
                self.app.admission.in_flight()
            ),
        }
        Ok(0)
    }

    /// Opens the port that says "ready" whether or not it is true. Its requests are not in the journal; it lives as long
    /// as the process.
    async fn say_ready(&self, address: SocketAddr) -> anyhow::Result<()> {
        let (listener, address) = bind(address, "--ready-listen").await?;
        let journal = Arc::clone(&self.app.journal);
        let router = Router::new()
            .route("/ready", get(readiness))
            .with_state(Arc::clone(&journal));
        tokio::spawn(serve(listener, router, CancellationToken::new()));
        journal.note(Event::SaidReady { address });
        Ok(())
    }
}

/// Nothing says when a file goes, so it is looked for: this is no part of the product.
async fn serve_once_gone(file: PathBuf, health: grpc::Health, journal: Arc<Journal>) {
    let mut looks = time::interval(time::Duration::from_millis(20));
    while file.exists() {
        looks.tick().await;
    }
    if !journal.is_terminating() {
        health.serve().await;
    }
}

async fn readiness(State(journal): State<Arc<Journal>>) -> (StatusCode, &'static str) {
    if journal.is_terminating() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

/// Takes all the files that the system allows: a proxy may open a thousand connections and more in one burst.
fn raise_file_limit() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

async fn bind(address: SocketAddr, option: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let context = || format!("cannot listen on {address} ({option})");
    let listener = TcpListener::bind(address).await.with_context(context)?;
    let address = listener.local_addr().with_context(context)?;
    Ok((listener, address))
}

struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Ends at the next SIGTERM or SIGINT.
    async fn asked(&mut self) {
        select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
