//! Wires the backend to the cluster and to the lease.

use std::time::Duration;

use anyhow::bail;

use crate::args::ClusterArgs;
use crate::serve::Stage;

/// What [`run`] is given.
#[expect(dead_code, reason = "the backend is not written yet")]
pub(crate) struct Wiring {
    /// Speaks to the API server.
    pub client: kube::Client,
    /// App, seat, listener and clock. `stage.fleet_settings()` makes the settings of the fleet of each leadership;
    /// `stage.seat.take(fleet, Some(fence))` lets it answer, `stage.seat.leave()` turns everybody away;
    /// [`crate::serve::answer`] serves until `stage.app.stop` is cancelled; [`crate::serve::signalled`] waits for the end.
    pub stage: Stage,
    /// Options of this backend.
    pub args: ClusterArgs,
    /// How long a lease is.
    pub lease: Duration,
}

/// Serves until a signal comes.
pub(crate) async fn run(_wiring: Wiring) -> anyhow::Result<()> {
    bail!("the kubernetes backend is not there yet")
}
