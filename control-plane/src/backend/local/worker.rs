use std::path::PathBuf;
use std::sync::Arc;

use protocol::TargetId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::supervised::Supervised;
use super::{Delays, probe};
use crate::backend::Sighting;
use crate::config::Process;
use crate::fleet::FleetHandle;
use crate::life::{Failure, FailureClass, Observed};
use crate::supervise::Report;
use crate::time::unix_ms;

/// What is wanted of one target's process.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// What it is called: another process of the same target, or the same under another name.
    pub(super) id: TargetId,
    /// How to run it; a change counts from the next start.
    pub(super) process: Arc<Process>,
    /// Raised when the target comes back after it was released: its commands are counted anew.
    pub(super) life: u64,
    /// Number of the last command; 0: none yet.
    pub(super) command: u64,
    /// What that command wants.
    pub(super) up: bool,
}

/// The task of one target.
pub(super) struct Worker {
    id: TargetId,
    supervisor: PathBuf,
    fleet: FleetHandle,
    delays: Delays,
    wanted: watch::Receiver<Wanted>,
    stop: CancellationToken,
    /// Life and command that were carried out last.
    done: (u64, u64),
    /// What was told last.
    told: Observed,
}

/// Why a process is no longer watched.
enum End {
    /// It ended by itself, or never began, for this reason.
    Failed(Failure),
    /// It was stopped on command.
    Stopped,
    /// A start was asked for, of another program.
    Replaced(Arc<Process>),
    /// The control plane is shutting down, or nobody is interested any more.
    Shutdown,
}

impl Worker {
    pub(super) fn new(
        id: TargetId,
        supervisor: PathBuf,
        fleet: FleetHandle,
        delays: Delays,
        wanted: watch::Receiver<Wanted>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            id,
            supervisor,
            fleet,
            delays,
            wanted,
            stop,
            done: (0, 0),
            told: Observed::default(),
        }
    }

    /// Carries out what is wanted until the control plane shuts down.
    pub(super) async fn run(mut self) {
        loop {
            let Some(wanted) = self.next_command().await else {
                return;
            };
            if !wanted.up || wanted.command == 0 {
                self.tell(0, 0, 0, None).await;
                continue;
            }
            let mut process = wanted.process;
            loop {
                match self.live(&process).await {
                    End::Failed(failure) => self.tell(1, 0, 0, Some(failure)).await,
                    End::Stopped => self.tell(0, 0, 0, None).await,
                    End::Replaced(other) => {
                        process = other;
                        continue;
                    }
                    End::Shutdown => return,
                }
                break;
            }
        }
    }

    /// The next command that is not yet carried out; `None` at shutdown. Takes it as carried out. Tells what is seen anew
    /// under a name that is new.
    async fn next_command(&mut self) -> Option<Wanted> {
        loop {
            let (id, done) = (self.id.clone(), self.done);
            let is_news = |wanted: &Wanted| (wanted.life, wanted.command) != done || wanted.id != id;
            let wanted = tokio::select! {
                () = self.stop.cancelled() => return None,
                wanted = self.wanted.wait_for(is_news) => wanted.ok()?.clone(),
            };
            if (wanted.life, wanted.command) != done {
                self.id.clone_from(&wanted.id);
                self.done = (wanted.life, wanted.command);
                return Some(wanted);
            }
            // Said first: if this is dropped while it waits, it begins anew.
            self.say(wanted.id.clone(), self.told.clone()).await;
            self.id = wanted.id;
        }
    }

    /// One life of the process, from start to reaped.
    async fn live(&mut self, process: &Process) -> End {
        if probe::is_taken(process.ready.address()).await {
            let address = process.ready.address();
            let reason = format!("{address} is already taken by another process");
            return End::Failed(Failure::new(FailureClass::Config, reason));
        }
        let mut child = match Supervised::start(&self.supervisor, process) {
            Ok(child) => child,
            Err(e) => return End::Failed(Failure::new(FailureClass::Other, format!("{e:#}"))),
        };
        self.tell(1, 0, 1, None).await;
        let end = self.watch(&mut child, process).await;
        child.reap().await;
        if matches!(end, End::Stopped) {
            sleep(self.delays.asleep).await;
        }
        end
    }

    /// Until nothing of it is left.
    async fn watch(&mut self, child: &mut Supervised, process: &Process) -> End {
        let ready_delay = self.delays.ready;
        let ready = async move {
            probe::until_ready(&process.ready).await;
            sleep(ready_delay).await;
        };
        tokio::pin!(ready);
        let too_late = sleep_until(Instant::now() + process.start_timeout);
        tokio::pin!(too_late);
        let mut is_ready = false;
        let mut last_words = None;
        loop {
            let stop = self.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.end(child, process).await;
                    return End::Shutdown;
                }
                report = child.next() => {
                    if let Some(failure) = self.hear(report, is_ready, &mut last_words) {
                        return End::Failed(failure);
                    }
                }
                wanted = self.next_command() => match wanted {
                    Some(wanted) if wanted.up && !process.runs_as(&wanted.process) => {
                        self.tell(1, 0, 1, None).await;
                        self.end(child, process).await;
                        return End::Replaced(wanted.process);
                    }
                    Some(wanted) if wanted.up => self.tell(1, u32::from(is_ready), 1, None).await,
                    Some(_) => {
                        self.tell(0, 0, 1, None).await;
                        sleep(self.delays.stopping).await;
                        self.end(child, process).await;
                        return End::Stopped;
                    }
                    None => {
                        self.end(child, process).await;
                        return End::Shutdown;
                    }
                },
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.tell(1, 1, 1, None).await;
                }
                () = &mut too_late, if !is_ready => {
                    let reason = format!("not ready within {:?} ({})", process.start_timeout, process.ready);
                    let reason = with_last_words(reason, last_words.as_deref());
                    let failure = Failure::new(FailureClass::StartTimeout, reason);
                    // Those who wait should know at once, not when it has died.
                    self.tell(1, 0, 1, Some(failure.clone())).await;
                    self.end(child, process).await;
                    return End::Failed(failure);
                }
            }
        }
    }

    /// SIGTERM, grace, SIGKILL, until nothing is left.
    async fn end(&self, child: &mut Supervised, process: &Process) {
        info!(event = "terminating", target = %self.id, unix_ms = unix_ms(), "SIGTERM");
        child.stop(process.stop_grace).await;
        loop {
            match child.next().await {
                Report::Gone { code, signal } => {
                    info!(event = "reaped", target = %self.id, code, signal, unix_ms = unix_ms(), "process is gone");
                    return;
                }
                Report::NotStarted { .. } => return,
                Report::Out { line } | Report::Err { line } => {
                    debug!(event = "output", target = %self.id, "{line}")
                }
                Report::Started { .. } => {}
            }
        }
    }

    /// Takes in a report of the supervisor; returns why the process has ended, if it has.
    fn hear(&self, report: Report, was_ready: bool, last_words: &mut Option<String>) -> Option<Failure> {
        match report {
            Report::Started { pid } => {
                info!(event = "started", target = %self.id, pid, unix_ms = unix_ms(), "process started");
                None
            }
            Report::Out { line } => {
                debug!(event = "output", target = %self.id, "{line}");
                None
            }
            Report::Err { line } => {
                debug!(event = "output", target = %self.id, "{line}");
                if !line.is_empty() {
                    *last_words = Some(line);
                }
                None
            }
            Report::NotStarted { error } => Some(Failure::new(
                FailureClass::Command,
                format!("cannot be started: {error}"),
            )),
            Report::Gone { code, signal } => {
                let how = match (code, signal) {
                    (Some(code), _) => format!("exited with status {code}"),
                    (None, Some(signal)) => format!("killed by signal {signal}"),
                    (None, None) => "its supervisor was killed".to_owned(),
                };
                let when = if was_ready { "" } else { " before it was ready" };
                let reason = with_last_words(format!("{how}{when}"), last_words.as_deref());
                info!(event = "exited", target = %self.id, code, signal, reason, unix_ms = unix_ms(), "process ended by itself");
                Some(Failure::new(FailureClass::Crash, reason))
            }
        }
    }

    async fn tell(&mut self, replicas: u32, ready: u32, left: u32, failure: Option<Failure>) {
        let seen = Observed {
            command: self.done.1,
            replicas,
            ready,
            left,
            absent: false,
            failure,
            set_by: None,
        };
        self.told = seen.clone();
        self.say(self.id.clone(), seen).await;
    }

    async fn say(&self, id: TargetId, seen: Observed) {
        // A fleet that is gone has nothing to be told.
        let _ = self.fleet.observe(Sighting { id, seen }).await;
    }
}

fn with_last_words(reason: String, last_words: Option<&str>) -> String {
    match last_words {
        Some(words) => format!("{reason}: {words}"),
        None => reason,
    }
}
