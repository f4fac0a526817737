//! `cargo xtask demo`: fetches Envoy, builds what a first run needs and nothing else, and starts the program `demo`.
//!
//! Everything is built as unit tests are, unoptimised: a first run spends its time on compiling.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::run::{cargo, check, target_dir};
use crate::{dist, tools};

/// What the demo runs besides Envoy and the filter. Built by one call of cargo, so that all share their dependencies, and without
/// default features: the control plane without Kubernetes.
const PACKAGES: [&str; 3] = ["control-plane", "upstream", "demo"];

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// Leave everything running and print what to try
    #[arg(long)]
    keep: bool,
    /// Fetch this version of Envoy, instead of taking ENVOY_BIN, `envoy` on PATH, or the newest of these
    #[arg(long, value_name = "VERSION", value_parser = tools::versions())]
    envoy: Option<String>,
    /// Port of Envoy for traffic
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// Port of Envoy's admin interface
    #[arg(long, default_value_t = 8001)]
    admin_port: u16,
    /// Port of the control plane
    #[arg(long, default_value_t = 7001)]
    control_port: u16,
    /// Port of the HTTP workload
    #[arg(long, default_value_t = 50001)]
    http_port: u16,
    /// Port of the gRPC workload
    #[arg(long, default_value_t = 50002)]
    grpc_port: u16,
}

impl Demo {
    /// Looks at the ports before anything is built.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let ports = [
            ("--port", self.port),
            ("--admin-port", self.admin_port),
            ("--control-port", self.control_port),
            ("--http-port", self.http_port),
            ("--grpc-port", self.grpc_port),
        ];
        for (option, port) in ports {
            TcpListener::bind(("127.0.0.1", port))
                .with_context(|| format!("port {port} is taken; choose another with {option} PORT"))?;
        }
        let envoy = tools::envoy(self.envoy.as_deref())?;
        let mut demo = build()?.command(&envoy, ports);
        check(demo.args(self.keep.then_some("--keep")))
    }
}

/// The demo on ports that are free: a test, which fails unless every step of every request was seen.
pub(crate) fn try_out(envoy: &Path) -> anyhow::Result<()> {
    let names = [
        "--port",
        "--admin-port",
        "--control-port",
        "--http-port",
        "--grpc-port",
    ];
    let listeners = names.map(|name| (name, TcpListener::bind(("127.0.0.1", 0))));
    let mut ports = [("", 0); 5];
    for (port, (name, listener)) in ports.iter_mut().zip(listeners) {
        *port = (name, listener?.local_addr()?.port());
    }
    check(&mut build()?.command(envoy, ports))
}

/// A test: the demo's control plane has no Kubernetes, and says so.
pub(crate) fn has_no_kubernetes() -> anyhow::Result<()> {
    let mut serve = Command::new(build()?.bin_dir.join("control-plane"));
    let out = serve.args(["serve", "--backend", "kubernetes"]).output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        !out.status.success() && said.contains("built without Kubernetes") && said.lines().count() == 1,
        "must refuse the backend in one line: {said}"
    );
    Ok(())
}

/// What was built for the demo.
struct Built {
    wasm: PathBuf,
    bin_dir: PathBuf,
}

fn build() -> anyhow::Result<Built> {
    let wasm = dist::unoptimised_filter()?;
    let mut command = cargo(["build", "--bins", "--no-default-features"]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    check(&mut command)?;
    Ok(Built {
        wasm,
        bin_dir: target_dir().join("debug"),
    })
}

impl Built {
    fn command(&self, envoy: &Path, ports: [(&str, u16); 5]) -> Command {
        let mut demo = Command::new(self.bin_dir.join("demo"));
        demo.arg("--envoy").arg(envoy);
        demo.arg("--wasm").arg(&self.wasm);
        demo.arg("--bin-dir").arg(&self.bin_dir);
        // No two demos have the same port.
        let [(_, traffic), ..] = ports;
        demo.arg("--dir")
            .arg(target_dir().join(format!("demo/{traffic}")));
        for (option, port) in ports {
            demo.arg(option).arg(port.to_string());
        }
        demo
    }
}
