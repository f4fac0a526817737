//! One control plane, one Envoy, some targets: what nearly every test starts with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::target::targets_file;
use crate::{
    Client, Control, ControlBuilder, Envoy, EnvoyBuilder, Journal, Target, WebSocket, eventually, grpc,
};

/// From Envoy's readiness to its first poll at the control plane.
const SYNCS_WITHIN: Duration = Duration::from_secs(10);

type Change<B> = Box<dyn FnOnce(B) -> B + Send>;

/// What is special about a stack.
#[derive(Default)]
pub struct StackBuilder {
    targets: Vec<Target>,
    envoy: Vec<Change<EnvoyBuilder>>,
    control: Vec<Change<ControlBuilder>>,
}

impl StackBuilder {
    /// Adds a target.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// With the singleton service (as if not called), or with a relay elected among the workers.
    #[must_use]
    pub fn singleton(self, singleton: bool) -> Self {
        self.envoy(move |envoy| envoy.singleton(singleton))
    }

    /// Changes Envoy.
    #[must_use]
    pub fn envoy(mut self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder + Send + 'static) -> Self {
        self.envoy.push(Box::new(change));
        self
    }

    /// Changes the control plane.
    #[must_use]
    pub fn control(mut self, change: impl FnOnce(ControlBuilder) -> ControlBuilder + Send + 'static) -> Self {
        self.control.push(Box::new(change));
        self
    }

    /// Starts everything. All targets sleep; Envoy has synced with the control plane.
    pub async fn start(self) -> Stack {
        let Self {
            targets,
            envoy,
            control,
        } = self;
        let dir = tempfile::Builder::new()
            .prefix("holdfast-e2e-")
            .tempdir()
            .unwrap();
        let targets: Vec<Target> = targets
            .into_iter()
            .map(|target| {
                let journal = journal_path(dir.path(), &target.name);
                target.upstream(["--journal", journal.to_str().unwrap()])
            })
            .collect();
        let control = control
            .into_iter()
            .fold(ControlBuilder::new(), |builder, change| change(builder));
        let control = control.start(dir.path(), &targets_file(&targets)).await;
        let builder = EnvoyBuilder::new(control.port(), &targets);
        let builder = envoy.into_iter().fold(builder, |builder, change| change(builder));
        let envoy = builder.start(dir.path()).await;
        let stack = Stack {
            envoy,
            control,
            targets,
            dir,
        };
        stack.synced(1).await;
        stack
    }
}

/// Everything that runs. Dropping it stops everything.
pub struct Stack {
    /// The Envoy.
    pub envoy: Envoy,
    /// The control plane.
    pub control: Control,
    /// The targets.
    pub targets: Vec<Target>,
    /// Where files are. Removed at the end.
    pub dir: TempDir,
}

impl Stack {
    /// Nothing special yet.
    pub fn builder() -> StackBuilder {
        StackBuilder::default()
    }

    /// True if there is a target of that name.
    pub fn has_target(&self, name: &str) -> bool {
        self.targets.iter().any(|target| target.name == name)
    }

    /// The target of that name.
    pub fn target(&self, name: &str) -> &Target {
        self.targets
            .iter()
            .find(|target| target.name == name)
            .unwrap_or_else(|| panic!("no target {name}"))
    }

    /// A client of the target through Envoy. HTTP/1.1; [`Client::http2`] makes it one HTTP/2 connection.
    pub fn client(&self, name: &str) -> Client {
        self.envoy.client(self.target(name).authority())
    }

    /// A client of the target that does not go through Envoy.
    pub fn direct(&self, name: &str) -> Client {
        Client::new(self.target(name).port, self.target(name).authority())
    }

    /// A gRPC client of the target through Envoy.
    pub fn grpc(&self, name: &str) -> grpc::Echo {
        grpc::echo(self.envoy.port(), self.target(name).authority())
    }

    /// Opens a WebSocket to the target through Envoy.
    pub async fn websocket(&self, name: &str) -> anyhow::Result<WebSocket> {
        WebSocket::open(self.envoy.port(), self.target(name).authority(), "/ws").await
    }

    /// What the target's processes wrote down so far.
    pub fn journal(&self, name: &str) -> Journal {
        Journal::read(&journal_path(self.dir.path(), name))
    }

    /// Another Envoy with the same targets and control plane. Give it another node id.
    pub async fn another_envoy(&self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Envoy {
        let envoy = change(EnvoyBuilder::new(self.control.port(), &self.targets))
            .start(self.dir.path())
            .await;
        self.synced(2).await;
        envoy
    }

    /// Waits until the control plane has `polls` open polls at least.
    pub async fn synced(&self, polls: u32) {
        eventually(
            &format!("{polls} open polls at the control plane"),
            SYNCS_WITHIN,
            || async { self.open_polls().await >= polls },
        )
        .await;
    }

    /// Long polls that the control plane has open now.
    pub async fn open_polls(&self) -> u32 {
        let polls = self.control.metric("holdfast_open_polls", &[]).await;
        format!("{polls:.0}").parse().unwrap()
    }

    /// Requests that Envoy holds now, of all targets, from Envoy's own gauge.
    pub async fn envoy_holds(&self) -> u64 {
        self.envoy.holds().await
    }

    /// Requests of the target that Envoy holds now, as the control plane was told.
    pub async fn held(&self, name: &str) -> u64 {
        let target = self.control.target(name).await;
        target["held"]
            .as_u64()
            .unwrap_or_else(|| panic!("no held in {target}"))
    }
}

fn journal_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.journal"))
}
