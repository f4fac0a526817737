//! `extproc serve`: serves one processor, or several, each on a port of its own.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use extproc::{Bound, Chain, Erased, Health, Listen, Server, Tls, uds};
use tokio::{net::TcpListener, task::JoinSet};

use super::logging;
use crate::{
    catalog::{Entry, find},
    processors::is_truthy,
    settings::Settings,
};

/// What is served, and where.
#[derive(Clone, Debug, Args)]
pub(super) struct Serve {
    /// The processor: `trivial`, `TrivialExtProcService` or `examples.TrivialExtProcService`; NAME,NAME are several in one
    /// filter, in this order; NAME=PORT gives a port of its own, and may be given several times
    #[arg(
        short,
        long = "service",
        value_name = "NAME[,NAME..][=PORT]",
        default_value = "BaseExtProcService"
    )]
    service: Vec<Service>,

    /// Port to listen on, on every address; 0 takes a free one
    #[arg(short, long, env = "GRPC_PORT", default_value_t = 50051)]
    port: u16,

    /// Listen on this address instead; repeatable
    #[arg(long, value_name = "ADDRESS", conflicts_with = "port")]
    listen: Vec<SocketAddr>,

    /// Listen on a unix socket at this path as well; repeatable
    #[arg(long, value_name = "PATH")]
    uds: Vec<PathBuf>,

    /// PEM file with the server's certificate chain: TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// PEM file with authorities: clients must show a certificate of one of them
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,

    /// Serve metrics for Prometheus at `/metrics` of this address
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,

    /// Seconds that open exchanges have to end after SIGTERM or SIGINT; a second signal cuts it short
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        env = "SHUTDOWN_GRACE_PERIOD",
        default_value_t = 5
    )]
    grace_period: u64,

    /// At SIGTERM end what has no answer yet at once, so that an Envoy with a retry policy asks another processor
    #[arg(long)]
    hand_over: bool,

    /// Log on standard error
    #[arg(short, long)]
    logging: bool,

    /// From which level on to log: DEBUG, INFO, WARNING or ERROR
    #[arg(long, value_name = "LEVEL", env = "LOG_LEVEL", default_value = "INFO")]
    log_level: String,

    /// Whether responses name the processors that they went through: t, true, y or yes; anything else is no
    #[arg(
        long,
        value_name = "BOOL",
        env = "REVEAL_EXTPROC_CHAIN",
        default_value = "True"
    )]
    reveal_extproc_chain: String,

    /// The header that names them
    #[arg(
        long,
        value_name = "NAME",
        env = "EXTPROCS_APPLIED_HEADER",
        default_value = "x-ext-procs-applied"
    )]
    extprocs_applied_header: String,

    /// A response header with the nanoseconds that the processor took, such as x-extproc-duration-ns
    #[arg(long, value_name = "NAME")]
    duration_header: Option<String>,

    /// A setting of the processor, NAME.KEY=VALUE where there are several; repeatable. `extproc list` names them
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// A processor, or several in one filter, and the port where they are served, if not that of `--port`.
#[derive(Clone, Debug)]
struct Service {
    entries: Vec<&'static Entry>,
    port: Option<u16>,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once('=') {
            None => (text, None),
            Some((name, port)) => {
                let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
                (name, Some(port))
            }
        };
        let entries = name.split(',').map(find).collect::<Result<_, _>>();
        let entries = entries.map_err(|error| error.to_string())?;
        Ok(Self { entries, port })
    }
}

impl Service {
    /// As it was written, with the short names.
    fn names(&self) -> String {
        let names: Vec<_> = self.entries.iter().map(|entry| entry.name).collect();
        names.join(",")
    }

    /// Sets up what is served, and takes its settings.
    fn make(&self, settings: &mut Settings, is_only: bool) -> anyhow::Result<Erased> {
        let mut made = Vec::new();
        for entry in &self.entries {
            let mut own = settings.of(entry.name, is_only);
            let processor = entry
                .make(&mut own)
                .and_then(|processor| own.finish().map(|()| processor))
                .with_context(|| format!("processor {}", entry.name))?;
            made.push(processor);
        }
        Ok(match <[Erased; 1]>::try_from(made) {
            Ok([only]) => only,
            Err(several) => Erased::new(Chain::of(several)),
        })
    }
}

impl Serve {
    /// Serves until SIGTERM or SIGINT.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        if self.logging {
            logging::begin(&self.log_level)?;
        }
        let servers = self.bind().await?;
        let mut serving = JoinSet::new();
        for server in servers {
            serving.spawn(server.serve());
        }
        while let Some(served) = serving.join_next().await {
            served.context("a server has died")??;
        }
        Ok(())
    }

    /// Listens everywhere before anything is served.
    async fn bind(&self) -> anyhow::Result<Vec<Bound<Erased>>> {
        let has_one_port = self.service.len() == 1;
        ensure!(
            has_one_port || (self.listen.is_empty() && self.uds.is_empty() && self.metrics.is_none()),
            "--listen, --uds and --metrics are for one server: several have a port each (-s NAME=PORT)"
        );
        let is_only = self
            .service
            .iter()
            .map(|service| service.entries.len())
            .sum::<usize>()
            == 1;
        let mut settings = Settings::parse(&self.settings)?;
        let mut servers = Vec::new();
        for service in &self.service {
            let names = service.names();
            if !has_one_port && service.port.is_none() {
                bail!("each of several servers needs a port of its own: -s {names}=PORT");
            }
            let processor = service.make(&mut settings, is_only)?;
            let listen = self.listen_on(service.port).await?;
            let server = listen.into_iter().fold(self.server(processor), Server::listen);
            let server = server.bind().await?;
            for address in server.addresses() {
                eprintln!("extproc: {names} listens on {address}");
            }
            if let Some(address) = server.metrics_address() {
                eprintln!("extproc: metrics of {names} at http://{address}/metrics");
            }
            for path in &self.uds {
                eprintln!("extproc: {names} listens on {}", path.display());
            }
            servers.push(server);
        }
        settings.finish()?;
        Ok(servers)
    }

    fn server(&self, processor: Erased) -> Server<Erased> {
        let reveals = is_truthy(self.reveal_extproc_chain.as_bytes());
        let chain = Some(self.extprocs_applied_header.as_str()).filter(|_| reveals);
        let mut server = Server::new(processor).health(Health::new()).reflection(true);
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let tls = Tls::pem(certificate, key);
            server = server.tls(match &self.tls_client_ca {
                Some(authorities) => tls.client_ca(authorities),
                None => tls,
            });
        }
        if let Some(address) = self.metrics {
            server = server.metrics(address);
        }
        server
            .chain_header(chain)
            .duration_header(self.duration_header.as_deref())
            .grace(Duration::from_secs(self.grace_period))
            .hand_over(self.hand_over)
    }

    async fn listen_on(&self, port: Option<u16>) -> anyhow::Result<Vec<Listen>> {
        let mut listen: Vec<_> = self.listen.iter().copied().map(Listen::from).collect();
        if listen.is_empty() && (self.uds.is_empty() || port.is_some()) {
            listen.push(everywhere(port.unwrap_or(self.port)).await?.into());
        }
        listen.extend(self.uds.iter().map(uds));
        Ok(listen)
    }
}

/// Listens on every address; where there is no IPv6, on those of IPv4.
async fn everywhere(port: u16) -> anyhow::Result<TcpListener> {
    if let Ok(listener) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .with_context(|| format!("cannot listen on port {port}"))
}
