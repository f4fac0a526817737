//! One workload under its supervisor, as the control plane sees it: started, read from, stopped, reaped.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::supervisors::Supervisors;
use crate::open_files;
use crate::supervise::Report;
use fleet::config::Process;
use fleet::config::spec::StopSignal;
use fleet::lifecycle::{Failure, FailureClass};
use fleet::time::millis;

/// Options and secrets of the control plane: in no other environment, neither a workload's nor its supervisor's,
/// which a workload can read.
const OWN_VARIABLES: &str = "HOLDFAST_";

/// A workload under its supervisor. Dropping it closes the pipe, and the supervisor kills the workload at once.
pub(super) struct Supervised {
    supervisors: Supervisors,
    supervisor: Child,
    control: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
    group: Option<Pid>,
    /// It was told of the workload's end, or that it never began.
    told_end: bool,
}

impl Supervised {
    /// Starts `process` under a supervisor of its own. What it prints is passed on only if `passes_output`.
    pub(super) fn start(
        supervisors: &Supervisors,
        process: &Process,
        passes_output: bool,
    ) -> Result<Self, Failure> {
        let spawned = supervisors.spawn(|command| {
            for (name, _) in std::env::vars_os() {
                if name.as_encoded_bytes().starts_with(OWN_VARIABLES.as_bytes()) {
                    command.env_remove(name);
                }
            }
            command
                .args(open_files::before().map(|files| format!("--open-files={files}")))
                .args(passes_output.then_some("--output"))
                .arg("--")
                .arg(&process.program)
                .args(&process.args)
                .envs(&process.env);
            if let Some(dir) = &process.dir {
                command.current_dir(dir);
            }
            // A group of its own: what a terminal sends to the control plane's group is not for it.
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .process_group(0);
        });
        let mut supervisor = spawned.map_err(|e| cannot(process, &e.to_string()))?;
        let (Some(control), Some(stdout)) = (supervisor.stdin.take(), supervisor.stdout.take()) else {
            return Err(cannot(process, "it has no pipes"));
        };
        Ok(Self {
            supervisors: supervisors.clone(),
            supervisor,
            control,
            reports: BufReader::new(stdout).lines(),
            group: None,
            told_end: false,
        })
    }

    /// The supervisor's next report; [`Report::Gone`] once the supervisor has closed its output. Cancel-safe.
    pub(super) async fn next(&mut self) -> Report {
        loop {
            match self.reports.next_line().await {
                Ok(Some(line)) => {
                    if let Ok(report) = serde_json::from_str(&line) {
                        self.remember(&report);
                        return report;
                    }
                }
                // It was killed: what it watched over must not outlive it.
                Ok(None) | Err(_) => {
                    if let Some(group) = self.group.take() {
                        let _ = killpg(group, Signal::SIGKILL);
                    }
                    return Report::Gone {
                        code: None,
                        signal: None,
                        last: None,
                    };
                }
            }
        }
    }

    fn remember(&mut self, report: &Report) {
        match report {
            Report::Started { pid } => self.group = Some(Pid::from_raw(*pid)),
            Report::Gone { .. } | Report::NotStarted { .. } => {
                self.group = None;
                self.told_end = true;
            }
            Report::Out { .. } | Report::Err { .. } | Report::LeftOut { .. } | Report::Words { .. } => {}
        }
    }

    /// Asks the workload to end by `signal`, and after `grace` by SIGKILL.
    pub(super) async fn stop(&mut self, signal: StopSignal, grace: Duration) {
        self.say(&format!("stop {} {}\n", signal.name(), millis(grace)))
            .await;
    }

    /// Asks for what the workload said last: answered by [`Report::Words`].
    pub(super) async fn ask_words(&mut self) {
        self.say("words\n").await;
    }

    async fn say(&mut self, line: &str) {
        // A supervisor that is gone is seen at the other pipe.
        let _ = self.control.write_all(line.as_bytes()).await;
    }

    /// Reaps the supervisor, and ends what it leaves if it did not come to its own end.
    pub(super) async fn reap(self) {
        drop(self.control);
        if self.told_end {
            return self.supervisors.reap(self.supervisor).await;
        }
        self.supervisors.end(self.supervisor).await;
        self.supervisors.clear_up().await;
    }
}

fn cannot(process: &Process, error: &str) -> Failure {
    match &process.dir {
        Some(dir) if !std::path::Path::new(dir).is_dir() => Failure::new(
            FailureClass::Config,
            format!("its folder {dir} is not there: {error}"),
        ),
        _ => Failure::new(
            FailureClass::Other,
            format!("its supervisor cannot be started: {error}"),
        ),
    }
}
