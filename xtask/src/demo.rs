//! `cargo xtask demo`: fetches Envoy, builds what a first run needs and nothing else, and starts the program `demo`.
//!
//! Everything is built as unit tests are, unoptimised: a first run spends its time on compiling.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure};

use crate::run::{become_program, cargo, check, target_dir};
use crate::{dist, tools};

/// What the demo runs besides Envoy and the filter. Built by one call of cargo, so that all share their dependencies, and without
/// default features: the control plane without Kubernetes.
const PACKAGES: [&str; 3] = ["control-plane", "upstream", "demo"];

/// The options that name ports, in the order in which they are handed on.
const OPTIONS: [&str; 5] = [
    "--port",
    "--admin-port",
    "--control-port",
    "--http-port",
    "--grpc-port",
];

/// Each of [`OPTIONS`] with its port.
type Ports = [(&'static str, u16); OPTIONS.len()];

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
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Port of Envoy's admin interface
    #[arg(long, default_value_t = 8001, value_parser = clap::value_parser!(u16).range(1..))]
    admin_port: u16,
    /// Port of the control plane
    #[arg(long, default_value_t = 7001, value_parser = clap::value_parser!(u16).range(1..))]
    control_port: u16,
    /// Port of the HTTP workload
    #[arg(long, default_value_t = 50001, value_parser = clap::value_parser!(u16).range(1..))]
    http_port: u16,
    /// Port of the gRPC workload
    #[arg(long, default_value_t = 50002, value_parser = clap::value_parser!(u16).range(1..))]
    grpc_port: u16,
}

impl Demo {
    /// Looks at the ports before anything is built, and becomes the demo.
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let [traffic, admin, control, http, grpc] = OPTIONS;
        let ports = [
            (traffic, self.port),
            (admin, self.admin_port),
            (control, self.control_port),
            (http, self.http_port),
            (grpc, self.grpc_port),
        ];
        drop(reserve(ports)?);
        let envoy = tools::envoy(self.envoy.as_deref())?;
        let mut demo = build()?.command(&envoy, ports);
        become_program(demo.args(self.keep.then_some("--keep")))
    }
}

/// Listens on each port of 127.0.0.1, as long as the listeners are kept.
///
/// # Errors
/// Names all ports that cannot be had, and the options that would take others.
fn reserve(ports: Ports) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut refused = Vec::new();
    for (option, port) in ports {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => listeners.push(listener),
            Err(error) => refused.push((option, port, error)),
        }
    }
    if refused.is_empty() {
        return Ok(listeners);
    }
    let (mut reasons, mut instead) = (Vec::new(), Vec::new());
    for (option, port, error) in refused {
        let free = TcpListener::bind(("127.0.0.1", 0))?;
        reasons.push(format!("{option} {port}: {error}"));
        instead.push(format!("{option} {}", free.local_addr()?.port()));
        listeners.push(free);
    }
    bail!(
        "the demo cannot listen on all of its ports ({}). Is another demo running? These are free: {}",
        reasons.join("; "),
        instead.join(" ")
    );
}

/// The demo on ports that are free: a test, which fails unless every step of every request was seen.
pub(crate) fn try_out(envoy: &Path) -> anyhow::Result<()> {
    let listeners = reserve(OPTIONS.map(|option| (option, 0)))?;
    let mut ports = [("", 0); OPTIONS.len()];
    for ((port, option), listener) in ports.iter_mut().zip(OPTIONS).zip(&listeners) {
        *port = (option, listener.local_addr()?.port());
    }
    drop(listeners);
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
    fn command(&self, envoy: &Path, ports: Ports) -> Command {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> (TcpListener, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn with(first: u16, second: u16) -> Ports {
        let mut ports = OPTIONS.map(|option| (option, 0));
        (ports[0].1, ports[1].1) = (first, second);
        ports
    }

    #[test]
    fn all_ports_that_are_taken_are_named_in_one_line_with_free_ones() {
        let ((_http, http), (_admin, admin)) = (free(), free());
        let error = reserve(with(http, admin)).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        for taken in [format!("--port {http}: "), format!("--admin-port {admin}: ")] {
            assert!(error.contains(&taken), "must name what is taken: {error}");
        }
        let (_, instead) = error.split_once("These are free: ").unwrap();
        let words: Vec<_> = instead.split(' ').collect();
        assert_eq!([words[0], words[2]], ["--port", "--admin-port"], "{error}");
        let [first, second] = [words[1], words[3]].map(|word| word.parse().unwrap());
        assert!(reserve(with(first, second)).is_ok(), "must be free: {error}");
    }

    #[test]
    fn a_port_that_is_named_twice_is_refused() {
        let (listener, port) = free();
        drop(listener);
        let error = reserve(with(port, port)).unwrap_err().to_string();
        assert!(error.contains(&format!("--admin-port {port}: ")), "{error}");
    }
}
