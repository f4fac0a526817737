//! An Envoy under test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::envoy_config::{Config, render};
use crate::{Client, Process, Target, binaries, eventually, free_port};

/// Compiling the module takes most of it; two tests may be doing so on one core.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// What is special about an Envoy. Made by [`EnvoyBuilder::new`] or within [`crate::StackBuilder::envoy`].
#[derive(Clone)]
pub struct EnvoyBuilder {
    config: Config,
    workers: u32,
    args: Vec<String>,
    env: Vec<(String, String)>,
    log_level: String,
}

impl EnvoyBuilder {
    /// Two workers, with the singleton service, as in `local-envoy/envoy.yaml`.
    pub fn new(control_port: u16, targets: &[Target]) -> Self {
        let config = Config {
            node: "envoy-1".into(),
            singleton: true,
            wasm: binaries::wasm().display().to_string(),
            traffic_port: free_port(),
            admin_port: free_port(),
            control_port,
            control_eds: None,
            second: None,
            targets: targets.to_vec(),
            settings: Vec::new(),
            hcm: Vec::new(),
            before: Vec::new(),
            patches: Vec::new(),
            lds: None,
            cds: None,
            removed: Vec::new(),
        };
        Self {
            config,
            workers: 2,
            args: Vec::new(),
            env: Vec::new(),
            log_level: "wasm:debug".into(),
        }
    }

    /// Number of worker threads.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// With the singleton service, or with a relay elected among the workers.
    #[must_use]
    pub fn singleton(mut self, singleton: bool) -> Self {
        self.config.singleton = singleton;
        self
    }

    /// Envoy's node id, which is the proxy's id for the control plane.
    #[must_use]
    pub fn node(mut self, id: &str) -> Self {
        id.clone_into(&mut self.config.node);
        self
    }

    /// Port of the control plane that its cluster leads to.
    pub fn control_port(&self) -> u16 {
        self.config.control_port
    }

    /// The control plane's endpoints come from this file, and change with it: several replicas, of which one is active.
    #[must_use]
    pub fn control_eds(mut self, path: &Path) -> Self {
        self.config.control_eds = Some(path.to_owned());
        self
    }

    /// Another build of the filter: [`binaries::wasm_test`].
    #[must_use]
    pub fn wasm(mut self, path: &Path) -> Self {
        self.config.wasm = path.display().to_string();
        self
    }

    /// A second listener ([`Envoy::second_port`]) whose filter (and service) has its own `vm_id`.
    #[must_use]
    pub fn second_vm(mut self, vm_id: &str) -> Self {
        self.config.second = Some((vm_id.to_owned(), free_port()));
        self
    }

    /// Sets one field of the plugin's configuration: `setting("limits.requests", 5)`.
    #[must_use]
    pub fn setting(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.config
            .settings
            .push((format!("/{}", path.replace('.', "/")), value.into()));
        self
    }

    /// Sets one field of the HTTP connection manager: `hcm("stream_idle_timeout", "2s")`.
    #[must_use]
    pub fn hcm(mut self, path: &str, value: impl Into<Value>) -> Self {
        self.config
            .hcm
            .push((format!("/{}", path.replace('.', "/")), value.into()));
        self
    }

    /// Puts a filter of Envoy's own before Holdfast's, named as its configuration's type after `envoy.extensions.filters.http.`.
    pub fn filter_before(mut self, kind: &str) -> Self {
        self.config.before.push(kind.to_owned());
        self
    }

    /// Sets anything in the bootstrap, named by JSON pointer, after all else.
    #[must_use]
    pub fn patch(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        self.config.patches.push((pointer.to_owned(), value.into()));
        self
    }

    /// Reads the listeners from a file, so that [`Envoy::reload`] can change them.
    #[must_use]
    pub fn lds(mut self) -> Self {
        self.config.lds = Some(String::new());
        self
    }

    /// Reads the clusters from a file, so that [`Envoy::reload`] can change them.
    #[must_use]
    pub fn cds(mut self) -> Self {
        self.config.cds = Some(String::new());
        self
    }

    /// Exactly these clusters are not there, whichever routes lead to them.
    #[must_use]
    pub fn without_clusters<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.config.removed = names.into_iter().map(str::to_owned).collect();
        self
    }

    /// Adds options to the command line, such as `--drain-time-s 2`.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Sets an environment variable of Envoy, such as `HOLDFAST_TOKEN`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Component log levels; default `wasm:debug`. Set `wasm:info` where thousands of requests are held.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Starts it; files go to `dir`. Waits until Envoy says that it is ready.
    pub async fn start(self, dir: &Path) -> Envoy {
        let envoy = self.launch(dir);
        envoy.ready().await;
        envoy
    }

    /// Starts it without waiting: for configurations that Envoy must refuse.
    pub fn launch(mut self, dir: &Path) -> Envoy {
        let file = |kind: &str| dir.join(format!("{}-{}.{kind}", self.config.node, self.config.admin_port));
        let (bootstrap, log) = (file("json"), file("log"));
        let (listeners, clusters) = (file("lds.json"), file("cds.json"));
        if self.config.lds.is_some() {
            self.config.lds = Some(listeners.display().to_string());
        }
        if self.config.cds.is_some() {
            self.config.cds = Some(clusters.display().to_string());
        }
        let mut envoy = Envoy {
            process: None,
            builder: self,
            bootstrap,
            listeners,
            clusters,
            log,
        };
        envoy.write();
        envoy.spawn();
        envoy
    }
}

/// A running Envoy.
pub struct Envoy {
    process: Option<Process>,
    builder: EnvoyBuilder,
    bootstrap: PathBuf,
    listeners: PathBuf,
    clusters: PathBuf,
    log: PathBuf,
}

impl Envoy {
    /// Port of the listener.
    pub fn port(&self) -> u16 {
        self.builder.config.traffic_port
    }

    /// Port of the listener whose filter has the other `vm_id`.
    pub fn second_port(&self) -> u16 {
        self.builder
            .config
            .second
            .as_ref()
            .expect("built with second_vm")
            .1
    }

    /// The process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a running Envoy")
    }

    /// A client of the listener. HTTP/1.1; [`Client::http2`] makes it one HTTP/2 connection.
    pub fn client(&self, authority: &str) -> Client {
        Client::new(self.port(), authority)
    }

    /// Waits until `/ready` answers 200. Panics if Envoy ends meanwhile.
    pub async fn ready(&self) {
        eventually("Envoy is ready", STARTS_WITHIN, || async {
            if let Some(status) = self.process().exited() {
                panic!("Envoy ended with {status}:\n{}", self.process().log_tail());
            }
            self.admin()
                .get("/ready")
                .try_send()
                .await
                .is_ok_and(|reply| reply.status == 200)
        })
        .await;
    }

    /// SIGKILL, then a new process with the same configuration and ports. Waits until it is ready.
    pub async fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.ready().await;
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// SIGSTOP: the process goes silent without ending.
    pub fn freeze(&self) {
        self.process().signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process().signal(Signal::SIGCONT);
    }

    /// Changes the configuration and replaces the files of listeners and of clusters. Needs [`EnvoyBuilder::lds`] or
    /// [`EnvoyBuilder::cds`]. Waits until Envoy has taken the updates in; old listeners drain for `--drain-time-s`.
    pub async fn reload(&mut self, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) {
        let config = &self.builder.config;
        let mut files = Vec::new();
        for (is_a_file, stat) in [
            (config.lds.is_some(), "listener_manager.lds.update_success"),
            (config.cds.is_some(), "cluster_manager.cds.update_success"),
        ] {
            if is_a_file {
                files.push((stat, self.stat(stat).await));
            }
        }
        self.builder = change(self.builder.clone());
        self.write();
        for (stat, before) in files {
            eventually(
                &format!("the file has been taken in: {stat}"),
                Duration::from_secs(10),
                || async { self.stat(stat).await > before },
            )
            .await;
        }
    }

    /// The value of one counter or gauge; 0 if Envoy does not know it (yet).
    pub async fn stat(&self, name: &str) -> u64 {
        self.stats(name)
            .await
            .into_iter()
            .find_map(|(key, value)| (key == name).then_some(value))
            .unwrap_or(0)
    }

    /// Requests that it holds now, of all targets, from its own gauge.
    pub async fn holds(&self) -> u64 {
        let gauge = "wasmcustom.holdfast.requests_held";
        let mut found = self.stats(gauge).await.into_iter();
        let found = found.find(|(name, _)| name == gauge);
        found.unwrap_or_else(|| panic!("Envoy has no {gauge}")).1
    }

    /// All counters and gauges whose name contains `part`.
    pub async fn stats(&self, part: &str) -> Vec<(String, u64)> {
        let reply = self.admin().get("/stats").send().await;
        let pairs = reply
            .text()
            .lines()
            .filter(|line| line.contains(part))
            .filter_map(|line| line.split_once(": "));
        pairs
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// `/stats/prometheus`.
    pub async fn prometheus(&self) -> String {
        let reply = self.admin().get("/stats/prometheus").send().await;
        reply.text().to_owned()
    }

    /// Bytes that Envoy has allocated, from `/memory`.
    pub async fn allocated(&self) -> u64 {
        let reply = self.admin().get("/memory").send().await.json();
        reply["allocated"].as_str().unwrap().parse().unwrap()
    }

    /// `/config_dump`, as text.
    pub async fn config_dump(&self) -> String {
        self.admin().get("/config_dump").send().await.text().to_owned()
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// A client of the admin port.
    pub fn admin(&self) -> Client {
        Client::new(self.builder.config.admin_port, "admin")
    }

    fn spawn(&mut self) {
        let mut args = vec!["--config-path".to_owned(), self.bootstrap.display().to_string()];
        args.extend([
            "--concurrency".to_owned(),
            self.builder.workers.to_string(),
            "--disable-hot-restart".to_owned(),
        ]);
        args.extend(["--component-log-level".to_owned(), self.builder.log_level.clone()]);
        args.extend(self.builder.args.iter().cloned());
        self.process = None;
        let process = Process::start(
            &self.builder.config.node,
            &binaries::envoy(),
            &args,
            &self.builder.env,
            &self.log,
        );
        self.process = Some(process);
    }

    /// The files are moved into place: Envoy watches for exactly that.
    fn write(&self) {
        let rendered = render(&self.builder.config);
        std::fs::write(&self.bootstrap, format!("{:#}", rendered.bootstrap)).unwrap();
        for (path, resources) in [
            (&self.listeners, rendered.listeners),
            (&self.clusters, rendered.clusters),
        ] {
            let Some(resources) = resources else { continue };
            let new = path.with_extension("new");
            std::fs::write(&new, format!("{resources:#}")).unwrap();
            std::fs::rename(&new, path).unwrap();
        }
    }
}
