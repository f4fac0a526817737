//! A control plane under test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Method;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{Client, Events, Process, Reply, binaries, eventually, free_port};

const KUBERNETES: &str = "kubernetes";
/// A replica that was stopped (SIGSTOP) takes connections and never answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// The longest that [`Control::wait_for`] waits.
const CHANGES_WITHIN: Duration = Duration::from_secs(30);

/// What is special about a control plane. Made by [`ControlBuilder::new`] or within [`crate::StackBuilder::control`].
#[derive(Clone)]
pub struct ControlBuilder {
    port: u16,
    /// With `--admin-listen`.
    probes: Option<u16>,
    backend: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Default for ControlBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ControlBuilder {
    /// The local backend on a free port.
    pub fn new() -> Self {
        Self {
            port: free_port(),
            probes: None,
            backend: "local".into(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// On this port, which [`free_port`] has given.
    #[must_use]
    pub fn listen_on(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Another backend: `manual`.
    #[must_use]
    pub fn backend(mut self, backend: &str) -> Self {
        backend.clone_into(&mut self.backend);
        self
    }

    /// The Kubernetes backend, with the API server and the rights of this kubeconfig. It is given no targets' file.
    #[must_use]
    pub fn kubernetes(self, kubeconfig: &Path) -> Self {
        let path = kubeconfig.display().to_string();
        self.backend(KUBERNETES).env("KUBECONFIG", &path)
    }

    /// Adds options to the command line.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Probes and metrics are answered on a port of their own, in plain text whatever the other speaks.
    #[must_use]
    pub fn probes_apart(mut self) -> Self {
        let port = free_port();
        self.probes = Some(port);
        self.args(["--admin-listen", &format!("127.0.0.1:{port}")])
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes `targets` into a file in `dir`, starts, and waits until it is ready.
    pub async fn start(self, dir: &Path, targets: &str) -> Control {
        let control = self.launch(dir, targets);
        control.ready().await;
        control
    }

    /// Starts without waiting: for command lines and files that it must refuse.
    pub fn launch(self, dir: &Path, targets: &str) -> Control {
        let mut control = self.prepare(dir);
        control.write_targets(targets);
        control.spawn();
        control
    }

    /// Starts one without a targets' file ([`ControlBuilder::kubernetes`]), and waits until it answers: it is ready only
    /// once it leads.
    pub async fn start_replica(self, dir: &Path) -> Control {
        let mut control = self.prepare(dir);
        control.spawn();
        control.answers("/healthz").await;
        control
    }

    fn prepare(self, dir: &Path) -> Control {
        let file = |kind: &str| dir.join(format!("control-plane-{}.{kind}", self.port));
        let (targets_file, log) = (file("targets.yaml"), file("log"));
        Control {
            process: None,
            builder: self,
            targets_file,
            log,
        }
    }
}

/// A running control plane.
///
/// Targets are named `web` for `default/web`, or in full.
pub struct Control {
    process: Option<Process>,
    builder: ControlBuilder,
    targets_file: PathBuf,
    log: PathBuf,
}

impl Control {
    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.builder.port
    }

    /// The process.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a running control plane")
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.process().log()
    }

    /// What it says has happened. Needs `--log-format json`.
    pub fn events(&self) -> Events {
        Events::of(&self.log)
    }

    /// A client of its port.
    pub fn client(&self) -> Client {
        Client::new(self.port(), format!("127.0.0.1:{}", self.port()))
    }

    /// A client of where probes and metrics are answered.
    fn probes(&self) -> Client {
        let port = self.builder.probes.unwrap_or(self.builder.port);
        Client::new(port, format!("127.0.0.1:{port}"))
    }

    /// Waits until `/readyz` answers 200. Panics if it ends meanwhile.
    pub async fn ready(&self) {
        self.answers("/readyz").await;
    }

    /// True if `/readyz` answers 200 now. With Kubernetes: it leads.
    pub async fn is_ready(&self) -> bool {
        let asked = self.probes().get("/readyz").try_send();
        let answer = tokio::time::timeout(ANSWERS_WITHIN, asked).await;
        answer.is_ok_and(|reply| reply.is_ok_and(|reply| reply.status == 200))
    }

    async fn answers(&self, path: &str) {
        eventually(
            &format!("the control plane answers {path}"),
            STARTS_WITHIN,
            || async {
                if let Some(status) = self.process().exited() {
                    panic!(
                        "the control plane ended with {status}:\n{}",
                        self.process().log_tail()
                    );
                }
                self.probes()
                    .get(path)
                    .try_send()
                    .await
                    .is_ok_and(|reply| reply.status == 200)
            },
        )
        .await;
    }

    /// `GET /v1/targets/{namespace}/{name}`.
    pub async fn target(&self, name: &str) -> Value {
        let reply = self.client().get(&path(name)).send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// The state of a target in the control plane's own words, `stopping` among them.
    pub async fn state(&self, name: &str) -> String {
        let target = self.target(name).await;
        target["state"]
            .as_str()
            .unwrap_or_else(|| panic!("no state in {target}"))
            .to_owned()
    }

    /// Waits until the target is in `state`, for 30 s at most.
    pub async fn wait_for(&self, name: &str, state: &str) {
        eventually(&format!("{name} is {state}"), CHANGES_WITHIN, || async {
            self.state(name).await == state
        })
        .await;
    }

    /// `POST /v1/targets/{namespace}/{name}/wake`.
    pub async fn wake(&self, name: &str) -> Reply {
        self.client()
            .call(Method::POST, &format!("{}/wake", path(name)))
            .send()
            .await
    }

    /// `POST /v1/targets/{namespace}/{name}/sleep`.
    pub async fn sleep(&self, name: &str) -> Reply {
        self.client()
            .call(Method::POST, &format!("{}/sleep", path(name)))
            .send()
            .await
    }

    /// The sum of all samples of one metric whose labels contain all of `labels` (such as `target="default/web"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let reply = self.probes().get("/metrics").send().await;
        sum_of_samples(reply.text(), name, labels)
    }

    /// SIGKILL to the control plane alone.
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

    /// Starts it again with the same port, options and targets. Does not wait.
    pub fn relaunch(&mut self) {
        self.kill();
        self.spawn();
    }

    /// Starts it again with the same port, options and targets. Waits until it is ready.
    pub async fn restart(&mut self) {
        self.kill();
        self.spawn();
        self.ready().await;
    }

    /// Replaces the targets' file in one step, as an editor does.
    pub fn write_targets(&self, yaml: &str) {
        let new = self.targets_file.with_extension("new");
        std::fs::write(&new, yaml).unwrap();
        std::fs::rename(&new, &self.targets_file).unwrap();
    }

    fn spawn(&mut self) {
        let listen = format!("127.0.0.1:{}", self.builder.port);
        let file = self.targets_file.display().to_string();
        let backend = self.builder.backend.as_str();
        let mut args = vec!["serve", "--backend", backend, "--listen", &listen];
        if backend != KUBERNETES {
            args.extend(["--targets", &file]);
        }
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.extend(self.builder.args.iter().cloned());
        self.process = None;
        let process = Process::start(
            "control-plane",
            &binaries::control_plane(),
            &args,
            &self.builder.env,
            &self.log,
        );
        self.process = Some(process);
    }
}

fn path(name: &str) -> String {
    if name.contains('/') {
        format!("/v1/targets/{name}")
    } else {
        format!("/v1/targets/default/{name}")
    }
}

/// Adds up the samples of the metric `name`, in Prometheus' text format, whose labels contain all of `labels`.
pub fn sum_of_samples(text: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']));
    let samples = samples.filter(|rest| labels.iter().all(|label| rest.contains(label)));
    samples
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_samples_of_one_name_only() {
        let text = "# HELP polls x\npolls{proxy=\"a\"} 1\npolls{proxy=\"b\"} 2\npolls_total 7\n";
        assert!(
            (sum_of_samples(text, "polls", &[]) - 3.0).abs() < f64::EPSILON,
            "a longer name is another metric"
        );
        assert!(
            (sum_of_samples(text, "polls", &["proxy=\"b\""]) - 2.0).abs() < f64::EPSILON,
            "labels must select"
        );
    }
}
