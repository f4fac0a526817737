//! Stands in for the backend `kubernetes` in a build without that feature: refuses it, in one line.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::bail;

use super::ServerContext;
use crate::args::ClusterArgs;

/// There is no client.
///
/// # Errors
/// Always: says how to build a control plane that has one.
#[expect(clippy::unused_async, reason = "as with the feature")]
pub(super) async fn connect() -> anyhow::Result<Infallible> {
    bail!(
        "this control plane was built without Kubernetes: build it with the feature `kubernetes`, which is on by default"
    )
}

/// Without a client it is never called.
#[expect(clippy::unused_async, reason = "as with the feature")]
pub(super) async fn run(
    client: Infallible,
    _context: ServerContext,
    _args: ClusterArgs,
    _lease: Duration,
) -> anyhow::Result<()> {
    match client {}
}
