//! The task of one local target: starts and stops its process as the fleet wishes, and tells the fleet what it sees.

use std::sync::Arc;
use std::time::Duration;

use protocol::TargetId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Level, debug, info, warn};

use super::attempt::No;
use super::listeners::Listeners;
use super::supervised::Supervised;
use super::supervisors::Supervisors;
use super::{Delays, probe};
use crate::supervise::Report;
use fleet::command::Sighting;
use fleet::config::Process;
use fleet::config::spec::Restart;
use fleet::lifecycle::{Failure, FailureClass, Observed};
use fleet_actor::{FleetHandle, unix_ms};

/// Between two looks at one that is ready: its parent may stay while what listens has gone.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Longest wait for a supervisor's answer, and beyond the grace time for its last report: the workload may have stopped it.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(1);

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
    /// Raised when a proxy finds that no process listens there.
    pub(super) looks: u64,
}

/// What all workers share.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) supervisors: Supervisors,
    pub(super) listeners: Arc<Listeners>,
    pub(super) fleet: FleetHandle,
    pub(super) delays: Delays,
    /// The control plane is shutting down.
    pub(super) stop: CancellationToken,
}

/// The task of one target.
pub(super) struct Worker {
    id: TargetId,
    context: Context,
    wanted: watch::Receiver<Wanted>,
    /// Lifecycle and command that were carried out last.
    done: (u64, u64),
    /// Looks that were taken.
    looked: u64,
    /// What was told last.
    told: Observed,
}

/// Something that is wanted now.
enum Wish {
    /// A command that is not yet carried out.
    Command(Wanted),
    /// A look at which process listens.
    Look,
}

/// Why a process is no longer watched.
enum End {
    /// It ended by itself, or never began, for this reason.
    Failed(Failure),
    /// It was ready and has ended by itself, and well.
    Finished,
    /// It was stopped on command.
    Stopped,
    /// A start was asked for, of another program.
    Replaced(Arc<Process>),
    /// The control plane is shutting down, or the target has gone.
    Shutdown,
}

impl Worker {
    pub(super) fn new(id: TargetId, context: Context, wanted: watch::Receiver<Wanted>) -> Self {
        Self {
            id,
            context,
            wanted,
            done: (0, 0),
            looked: 0,
            told: Observed::default(),
        }
    }

    /// Carries out what is wanted until the control plane shuts down.
    pub(super) async fn run(mut self) {
        loop {
            let wanted = match self.next_wish().await {
                Some(Wish::Command(wanted)) => wanted,
                // No process runs, and the fleet knows that.
                Some(Wish::Look) => continue,
                None => return,
            };
            if !wanted.up || wanted.command == 0 {
                self.tell(self.seen(0, 0, 0)).await;
                continue;
            }
            let mut process = wanted.process;
            let seen = loop {
                break match self.live(&process).await {
                    End::Failed(failure) => Observed {
                        failure: Some(failure),
                        ..self.seen(1, 0, 0)
                    },
                    End::Finished => Observed {
                        finished: true,
                        ..self.seen(0, 0, 0)
                    },
                    End::Stopped => self.seen(0, 0, 0),
                    End::Replaced(other) => {
                        process = other;
                        continue;
                    }
                    End::Shutdown => return,
                };
            };
            self.tell(seen).await;
        }
    }

    /// The next thing that is wanted; `None` at shutdown. Takes a command as carried out. Tells what is seen anew under a
    /// name that is new.
    async fn next_wish(&mut self) -> Option<Wish> {
        loop {
            let (id, done, looked) = (self.id.clone(), self.done, self.looked);
            let is_news = |wanted: &Wanted| {
                (wanted.life, wanted.command) != done || wanted.id != id || wanted.looks != looked
            };
            let wanted = tokio::select! {
                () = self.context.stop.cancelled() => return None,
                wanted = self.wanted.wait_for(is_news) => wanted.ok()?.clone(),
            };
            if (wanted.life, wanted.command) != done {
                self.id.clone_from(&wanted.id);
                self.done = (wanted.life, wanted.command);
                self.looked = wanted.looks;
                return Some(Wish::Command(wanted));
            }
            if wanted.id == id {
                self.looked = wanted.looks;
                return Some(Wish::Look);
            }
            // Said first: if this is dropped while it waits, it begins anew.
            self.say(wanted.id.clone(), self.told.clone()).await;
            self.id = wanted.id;
        }
    }

    /// One life of the process, from start to reaped.
    async fn live(&mut self, process: &Process) -> End {
        let address = process.ready.address();
        if probe::is_taken(address).await {
            let reason = format!("{address} is already taken by another process");
            return End::Failed(Failure::new(FailureClass::Config, reason));
        }
        let passes_output = tracing::enabled!(Level::DEBUG);
        let mut child = match Supervised::start(&self.context.supervisors, process, passes_output) {
            Ok(child) => child,
            Err(failure) => return End::Failed(failure),
        };
        self.tell(self.seen(1, 0, 1)).await;
        let end = self.watch(&mut child, process).await;
        child.reap().await;
        if matches!(end, End::Stopped) {
            sleep(self.context.delays.asleep).await;
        }
        end
    }

    /// Until nothing of it is left.
    async fn watch(&mut self, child: &mut Supervised, process: &Process) -> End {
        let ready_delay = self.context.delays.ready;
        let last_no = probe::LastNo::default();
        let ready = becomes_ready(process, ready_delay, &last_no);
        tokio::pin!(ready);
        let too_late = sleep(process.start_timeout);
        tokio::pin!(too_late);
        let look = sleep(LOOK_AGAIN);
        tokio::pin!(look);
        let mut is_ready = false;
        loop {
            let stop = self.context.stop.clone();
            let mut looks = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.end(child, process).await;
                    return End::Shutdown;
                }
                report = child.next() => {
                    if let Some(end) = self.hear(report, is_ready, process) {
                        return end;
                    }
                }
                wish = self.next_wish() => match wish {
                    Some(Wish::Command(wanted)) if wanted.up && !process.runs_as(&wanted.process) => {
                        self.tell(self.seen(1, 0, 1)).await;
                        self.end(child, process).await;
                        return End::Replaced(wanted.process);
                    }
                    Some(Wish::Command(wanted)) if wanted.up => {
                        self.tell(self.seen(1, u32::from(is_ready), 1)).await;
                    }
                    Some(Wish::Command(_)) => {
                        self.tell(self.seen(0, 0, 1)).await;
                        sleep(self.context.delays.stopping).await;
                        self.end(child, process).await;
                        return End::Stopped;
                    }
                    Some(Wish::Look) => looks = is_ready,
                    None => {
                        self.end(child, process).await;
                        return End::Shutdown;
                    }
                },
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    look.as_mut().reset(Instant::now() + LOOK_AGAIN);
                    self.tell(self.seen(1, 1, 1)).await;
                }
                () = &mut too_late, if !is_ready => {
                    let failure = self.give_up(child, process, last_no.get()).await;
                    self.end(child, process).await;
                    return End::Failed(failure);
                }
                () = &mut look, if is_ready => looks = true,
            }
            if looks {
                look.as_mut().reset(Instant::now() + LOOK_AGAIN);
                if self.context.listeners.is_closed(process.ready.address()).await {
                    info!(event = "unready", target = %self.id, unix_ms = unix_ms(), "no process listens at {} any more", process.ready);
                    is_ready = false;
                    ready.set(becomes_ready(process, ready_delay, &last_no));
                    too_late.as_mut().reset(Instant::now() + process.start_timeout);
                    self.tell(self.seen(1, 0, 1)).await;
                }
            }
        }
    }

    /// It was not ready in time: requests that wait should be told at once, not when the process has died.
    async fn give_up(&mut self, child: &mut Supervised, process: &Process, no: Option<No>) -> Failure {
        let no = no.map(|no| format!(": {no}")).unwrap_or_default();
        let reason = format!(
            "not ready within {:?} ({}{no})",
            process.start_timeout, process.ready
        );
        let last = self.last_words(child).await;
        let failure = Failure::new(
            FailureClass::StartTimeout,
            with_last_words(reason, last.as_deref()),
        );
        self.tell(Observed {
            failure: Some(failure.clone()),
            ..self.seen(1, 0, 1)
        })
        .await;
        failure
    }

    /// What it said last, while it runs.
    async fn last_words(&self, child: &mut Supervised) -> Option<String> {
        child.ask_words().await;
        let answer = async {
            loop {
                match child.next().await {
                    Report::Words { last } | Report::Gone { last, .. } => return last,
                    Report::NotStarted { .. } => return None,
                    report => self.note_output(report),
                }
            }
        };
        timeout(SUPERVISOR_PATIENCE, answer).await.unwrap_or_default()
    }

    /// Its signal, its grace time, SIGKILL, until nothing is left. Where its supervisor does not see to that, reaping it does.
    async fn end(&self, child: &mut Supervised, process: &Process) {
        let signal = process.stop_signal;
        info!(event = "terminating", target = %self.id, unix_ms = unix_ms(), "{}", signal.name());
        child.stop(signal, process.stop_grace).await;
        let gone = async {
            loop {
                match child.next().await {
                    Report::Gone { code, signal, .. } => {
                        info!(event = "reaped", target = %self.id, code, signal, unix_ms = unix_ms(), "process is gone");
                        return;
                    }
                    Report::NotStarted { .. } => return,
                    report => self.note_output(report),
                }
            }
        };
        let limit = process.stop_grace + SUPERVISOR_PATIENCE;
        if timeout(limit, gone).await.is_err() {
            warn!(event = "supervisor_stuck", target = %self.id, unix_ms = unix_ms(), "its supervisor does not end it: both are killed");
        }
    }

    /// Takes in a report of the supervisor; returns how the process has ended, if it has.
    fn hear(&self, report: Report, was_ready: bool, process: &Process) -> Option<End> {
        match report {
            Report::Started { pid } => {
                info!(event = "started", target = %self.id, pid, unix_ms = unix_ms(), "process started");
                None
            }
            Report::NotStarted { error } => {
                let reason = format!("cannot be started: {error}");
                Some(End::Failed(Failure::new(FailureClass::Command, reason)))
            }
            Report::Gone { code, signal, last } => {
                let how = match (code, signal) {
                    (Some(code), _) => format!("exited with status {code}"),
                    (None, Some(signal)) => format!("killed by signal {signal}"),
                    (None, None) => "its supervisor was killed".to_owned(),
                };
                let when = if was_ready { "" } else { " before it was ready" };
                let reason = with_last_words(format!("{how}{when}"), last.as_deref());
                info!(event = "exited", target = %self.id, code, signal, reason, unix_ms = unix_ms(), "process ended by itself");
                if was_ready && code == Some(0) && process.restart == Restart::OnFailure {
                    return Some(End::Finished);
                }
                Some(End::Failed(Failure::new(FailureClass::Crash, reason)))
            }
            report => {
                self.note_output(report);
                None
            }
        }
    }

    fn note_output(&self, report: Report) {
        match report {
            Report::Out { line } | Report::Err { line } => {
                debug!(event = "output", target = %self.id, "{line}");
            }
            Report::LeftOut { lines } => {
                debug!(event = "output_left_out", target = %self.id, lines, "it prints more than is passed on");
            }
            _ => {}
        }
    }

    /// What is seen of it once the last command is carried out.
    fn seen(&self, replicas: u32, ready: u32, left: u32) -> Observed {
        Observed {
            command: self.done.1,
            replicas,
            ready,
            left,
            ..Observed::default()
        }
    }

    async fn tell(&mut self, seen: Observed) {
        self.told = seen.clone();
        self.say(self.id.clone(), seen).await;
    }

    async fn say(&self, id: TargetId, seen: Observed) {
        // A fleet that is gone has nothing to be told.
        let _ = self.context.fleet.observe(Sighting { id, seen }).await;
    }
}

async fn becomes_ready(process: &Process, delay: Duration, last_no: &probe::LastNo) {
    probe::until_ready(&process.ready, last_no).await;
    sleep(delay).await;
}

fn with_last_words(reason: String, last_words: Option<&str>) -> String {
    match last_words {
        Some(words) => format!("{reason}: {words}"),
        None => reason,
    }
}
