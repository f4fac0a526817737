//! A workload that is ready when the test says so.

use tokio::net::TcpListener;

use crate::{Target, free_port};

/// The port that the control plane takes for a workload's readiness. The workload itself listens long before.
pub struct Door(u16);

impl Door {
    /// Puts a closed door before the target: what wakes it is held until the door is opened, four minutes at most.
    pub fn before(target: Target) -> (Target, Self) {
        let port = free_port();
        let target = target
            .spec("workload.process.ready.tcp.port", port)
            .spec("workload.process.startTimeout", "5m")
            .spec("hold.timeout", "4m");
        (target, Self(port))
    }

    /// From now on the workload counts as ready. Dropping the listener closes the door for the next start.
    pub async fn open(&self) -> TcpListener {
        TcpListener::bind(("127.0.0.1", self.0)).await.unwrap()
    }
}
