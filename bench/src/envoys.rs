//! Envoys with two workers and without traffic, as shipped, and what their threads take.

use std::path::Path;
use std::time::Duration;

use harness::{Control, Envoy, EnvoyBuilder, eventually};

use crate::{lane, proc};

/// One with the filter and the singleton service, which knows every target.
pub(crate) async fn with_filter(control: &Control, dir: &Path, node: &str, targets: usize) -> Envoy {
    let envoy = builder(control, node).start(dir).await;
    let known = "wasmcustom.holdfast.targets";
    eventually(
        "the relay knows every target",
        Duration::from_secs(20),
        || async { envoy.stat(known).await == targets as u64 },
    )
    .await;
    envoy
}

/// The same without either.
pub(crate) async fn without_filter(control: &Control, dir: &Path, node: &str) -> Envoy {
    let builder = lane::without_filter(builder(control, node));
    builder.start(dir).await
}

fn builder(control: &Control, node: &str) -> EnvoyBuilder {
    EnvoyBuilder::new(control.port(), &[])
        .node(node)
        .log_level("wasm:info")
}

/// CPU time of an Envoy so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// All threads.
    pub(crate) all: Duration,
    /// The main thread, where the singleton is.
    pub(crate) main: Duration,
    /// Both workers.
    pub(crate) workers: Duration,
}

impl Cpu {
    pub(crate) fn of(envoy: &Envoy) -> Self {
        let pid = envoy.process().pid();
        Self {
            all: proc::cpu(pid),
            main: proc::cpu_of_main_thread(pid),
            workers: proc::cpu_of_threads(pid, "wrk:worker_"),
        }
    }

    /// Since then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            all: self.all - before.all,
            main: self.main - before.main,
            workers: self.workers - before.workers,
        }
    }
}
