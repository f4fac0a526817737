//! The life of one pod on the node, from its binding to its deletion.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout_at};

use super::container::{self, ReadinessProbe, Wishes};
use super::journal::What;
use super::object::Object;
use super::probe::Probing;
use super::report::{Doing, Ended, Report};
use super::volumes::Mounts;
use super::{LABELS, Seen, Shared, env, uid};
use crate::kube::task::Task;
use harness::Process;

/// From the first complaint about an image to the second.
const PULLS_AGAIN: Duration = Duration::from_millis(300);
/// How often something that keeps a container from starting is looked at again.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);
/// How often a process is asked whether it has ended.
const REAPS: Duration = Duration::from_millis(5);
const BACK_OFF: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// Lives through it all. Ends when the pod is gone from the API server, however that came.
pub(super) async fn live(shared: Arc<Shared>, pod: Arc<Pod>, seen: Seen) {
    let spec = pod.spec.clone().unwrap_or_default();
    let report = Report::new(&spec, Timestamp::now());
    let mut life = Life {
        wishes: Wishes::of(&pod),
        report,
        spec,
        object: Object::new(shared.client.clone(), &pod),
        probing: Probing::fixed(false),
        shared,
        pod,
    };
    tokio::select! {
        () = gone(seen.clone()) => {}
        () = life.run(seen) => {}
    }
    // Deleted by force: what still runs ends at once.
    if let Some(process) = life.take_process() {
        process.kill();
        life.note(What::Exited(None));
    }
    life.note(What::Deleted);
}

struct Life {
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    spec: PodSpec,
    wishes: Wishes,
    object: Object,
    report: Report,
    probing: Probing,
}

impl Life {
    /// Returns when the pod has been deleted.
    async fn run(&mut self, seen: Seen) {
        let bound = self.spec.node_name.is_some();
        if !bound {
            if let Some(why) = self.unschedulable() {
                self.report.unschedulable = Some(why);
                self.say().await;
                self.note(What::Waiting("Unschedulable".into()));
                return std::future::pending().await;
            }
            self.object.bind().await;
        }
        let ip = self.shared.network.next();
        self.report.ip = Some(ip);
        self.note(What::Bound);
        let grace = tokio::select! {
            grace = terminating(seen) => grace,
            () = self.work(ip) => return,
        };
        self.note(What::Terminating);
        self.end(grace).await;
        self.object.delete().await;
    }

    fn unschedulable(&self) -> Option<String> {
        let selector = self.spec.node_selector.as_ref();
        let satisfied = selector.is_none_or(|labels| {
            labels
                .iter()
                .all(|(key, value)| LABELS.contains(&(key.as_str(), value.as_str())))
        });
        if self.wishes.unschedulable {
            return Some("0/1 nodes are available: 1 Insufficient cpu.".to_owned());
        }
        (!satisfied).then(|| "0/1 nodes are available: 1 node(s) didn't match node selector.".to_owned())
    }

    /// Runs the container until the pod is to be deleted. Never returns.
    async fn work(&mut self, ip: Ipv4Addr) {
        let container = container::first(&self.spec).clone();
        let image = container.image.clone().unwrap_or_default();
        if container::is_missing(&image) {
            let not_found =
                format!("rpc error: code = NotFound desc = failed to pull image {image:?}: not found");
            self.wait("ErrImagePull", &not_found).await;
            sleep(PULLS_AGAIN).await;
            self.wait("ImagePullBackOff", &format!("Back-off pulling image {image:?}"))
                .await;
            return std::future::pending().await;
        }
        if let Some((reason, message)) = self.wishes.waiting.clone() {
            self.wait(&reason, &message).await;
            return std::future::pending().await;
        }
        let mut env = loop {
            match env::resolve(&self.shared.client, &self.pod, &container, ip).await {
                Ok(env) => break env,
                Err(why) => self.wait("CreateContainerConfigError", &why).await,
            }
            sleep(LOOKS_AGAIN).await;
        };
        if let Some(account) = self.spec.service_account_name.as_deref()
            && account != "default"
        {
            let kubeconfig = self.shared.tokens.kubeconfig(self.namespace(), account).await;
            env.insert("KUBECONFIG".to_owned(), kubeconfig.display().to_string());
        }
        let dir = self.shared.dir.join(uid(&self.pod));
        let mounts = loop {
            // Until they are there the container is being created, as its status says already.
            match Mounts::make(&self.shared.client, &self.pod, &container, &dir).await {
                Ok(mounts) => break mounts,
                Err(_) => sleep(LOOKS_AGAIN).await,
            }
        };
        let Some((program, args)) = container::command_line(&container, &env, ip) else {
            self.wait("RunContainerError", "no command specified").await;
            return std::future::pending().await;
        };
        let args: Vec<String> = args.iter().map(|word| mounts.localise(word)).collect();
        let env: Vec<_> = env.into_iter().collect();
        let mut back_off = BACK_OFF;
        loop {
            let since = Timestamp::now();
            let Some(process) = self.start_process(&program, &args, &env) else {
                return;
            };
            self.note(What::Started { pid: process.pid() });
            let status = self.attend(&container, &process, ip, since).await;
            self.take_process();
            self.note(What::Exited(status.code()));
            let ended = Ended {
                code: status.code().unwrap_or(137),
                since,
                at: Timestamp::now(),
            };
            self.report.doing = Doing::Ended(ended.clone());
            self.report.last = Some(ended);
            self.set_ready(false).await;
            self.report.restarts += 1;
            if self.report.restarts > 1 {
                let message = format!(
                    "back-off {back_off:?} restarting failed container={}",
                    container.name
                );
                self.wait("CrashLoopBackOff", &message).await;
                sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }

    /// Reports the running container's readiness until it ends.
    async fn attend(
        &mut self,
        container: &k8s_openapi::api::core::v1::Container,
        process: &Process,
        ip: Ipv4Addr,
        since: Timestamp,
    ) -> ExitStatus {
        self.report.doing = Doing::Running { since };
        self.probing = match ReadinessProbe::of(container, &self.wishes) {
            _ if self.wishes.never_ready => Probing::fixed(false),
            None => Probing::fixed(true),
            Some(probe) => Probing::start(probe, ip),
        };
        self.say().await;
        loop {
            tokio::select! {
                status = exited(process) => return status,
                ready = next(&mut self.probing) => self.set_ready(ready).await,
            }
        }
    }

    /// Ends the process as a kubelet does. What the probe finds meanwhile is reported.
    async fn end(&mut self, grace: Duration) {
        let process = {
            let processes = self
                .shared
                .processes
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            processes
                .as_ref()
                .and_then(|processes| processes.get(&uid(&self.pod)).cloned())
        };
        if let Some(process) = process {
            let (done, mut ended) = tokio::sync::oneshot::channel();
            let (shared, pod, ip) = (self.shared.clone(), self.pod.clone(), self.report.ip);
            let delay = self.wishes.term_delay;
            // In a task of its own: an API server that does not answer must not delay SIGTERM.
            let _task = Task::spawn(async move {
                let deadline = Instant::now() + grace;
                sleep(delay.min(grace)).await;
                if process.exited().is_none() {
                    note(&shared, &pod, ip, What::Sigterm);
                    process.signal(Signal::SIGTERM);
                }
                if timeout_at(deadline, exited(&process)).await.is_err() {
                    process.kill();
                }
                let status = exited(&process).await;
                note(&shared, &pod, ip, What::Exited(status.code()));
                let _ = done.send(status);
            });
            let status = loop {
                tokio::select! {
                    status = &mut ended => break status,
                    ready = next(&mut self.probing) => self.set_ready(ready).await,
                }
            };
            self.take_process();
            let at = Timestamp::now();
            let since = match self.report.doing {
                Doing::Running { since } => since,
                _ => at,
            };
            let code = status.ok().and_then(|status| status.code()).unwrap_or(137);
            self.report.doing = Doing::Ended(Ended { code, since, at });
        }
        self.set_ready(false).await;
    }

    async fn wait(&mut self, reason: &str, message: &str) {
        self.report.doing = Doing::Waiting {
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        self.say().await;
        self.note(What::Waiting(reason.to_owned()));
    }

    async fn set_ready(&mut self, ready: bool) {
        let changed = self.report.ready != ready;
        self.report.ready = ready;
        self.say().await;
        if changed {
            self.note(if ready { What::Ready } else { What::NotReady });
        }
    }

    async fn say(&mut self) {
        self.object.write(&self.report.status(Timestamp::now())).await;
    }

    /// `None`: the kubelet has been dropped.
    fn start_process(
        &self,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
    ) -> Option<Arc<Process>> {
        // Locked meanwhile, so that nothing is started behind the back of the one who drops the kubelet.
        let mut processes = self
            .shared
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let processes = processes.as_mut()?;
        let log = self.shared.log(self.namespace(), self.name());
        let process = Arc::new(Process::start(self.name(), program, args, env, &log));
        processes.insert(uid(&self.pod), process.clone());
        Some(process)
    }

    fn take_process(&self) -> Option<Arc<Process>> {
        let mut processes = self
            .shared
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.as_mut()?.remove(&uid(&self.pod))
    }

    fn note(&self, what: What) {
        note(&self.shared, &self.pod, self.report.ip, what);
    }

    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }
}

fn note(shared: &Shared, pod: &Pod, ip: Option<Ipv4Addr>, what: What) {
    let metadata = &pod.metadata;
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    shared
        .journal
        .note(namespace.unwrap_or_default(), name.unwrap_or_default(), ip, what);
}

/// The next word of the probe; never, if there is no further one.
async fn next(probing: &mut Probing) -> bool {
    if probing.ready.changed().await.is_err() {
        return std::future::pending().await;
    }
    *probing.ready.borrow_and_update()
}

async fn exited(process: &Process) -> ExitStatus {
    loop {
        if let Some(status) = process.exited() {
            return status;
        }
        sleep(REAPS).await;
    }
}

/// Until it is to be deleted; its grace period.
async fn terminating(mut seen: Seen) -> Duration {
    let is_terminating = |pod: &Option<Arc<Pod>>| {
        pod.as_ref()
            .is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
    };
    if seen.wait_for(is_terminating).await.is_err() {
        std::future::pending::<()>().await;
    }
    let seconds = seen
        .borrow()
        .as_ref()
        .and_then(|pod| pod.metadata.deletion_grace_period_seconds);
    Duration::from_secs(u64::try_from(seconds.unwrap_or(30)).unwrap_or(0))
}

/// Until the API server no longer has it.
async fn gone(mut seen: Seen) {
    if seen.wait_for(Option::is_none).await.is_err() {
        std::future::pending::<()>().await;
    }
}
