//! What xtask tells the demo.

use std::path::{Path, PathBuf};

/// Options of the demo. All ports are on 127.0.0.1.
#[derive(Debug, clap::Parser)]
#[command(about = "Wakes two sleeping workloads through a real Envoy; started by `cargo xtask demo`")]
pub(crate) struct Options {
    /// Leave everything running and print what to try
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) ports: Ports,
    /// Envoy's program
    #[arg(long)]
    pub(crate) envoy: PathBuf,
    /// The filter
    #[arg(long)]
    pub(crate) wasm: PathBuf,
    /// Folder of the programs `control-plane` and `upstream`
    #[arg(long)]
    pub(crate) bin_dir: PathBuf,
    /// Folder for logs and configurations; what is in it is deleted first
    #[arg(long)]
    pub(crate) dir: PathBuf,
}

/// Where each server listens.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Ports {
    #[arg(long = "port")]
    pub(crate) traffic: u16,
    #[arg(long = "admin-port")]
    pub(crate) admin: u16,
    #[arg(long = "control-port")]
    pub(crate) control: u16,
    #[arg(long = "http-port")]
    pub(crate) http: u16,
    #[arg(long = "grpc-port")]
    pub(crate) grpc: u16,
}

impl Options {
    pub(crate) fn control_plane(&self) -> PathBuf {
        self.bin_dir.join("control-plane")
    }

    pub(crate) fn upstream(&self) -> PathBuf {
        self.bin_dir.join("upstream")
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    // This package lies directly below it.
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}
