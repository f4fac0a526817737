//! Fetches and builds everything, then hands over to the demo in the crate `e2e`.

use std::net::TcpListener;

use anyhow::Context as _;

use crate::run::{cargo, check};
use crate::test::Parts;

/// Options of `cargo xtask demo`.
#[derive(clap::Args)]
pub(crate) struct Demo {
    /// Leave everything running and print what to try
    #[arg(long)]
    keep: bool,
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
        let parts = Parts::build()?;
        let mut demo = cargo(["run", "--release", "--package", "demo", "--"]);
        parts.tell(&mut demo);
        demo.args(
            ports
                .iter()
                .flat_map(|(option, port)| [(*option).to_owned(), port.to_string()]),
        );
        demo.args(self.keep.then_some("--keep"));
        check(&mut demo)
    }
}
