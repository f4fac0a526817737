use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::config::Process;
use crate::serve::open_files;
use crate::supervise::Report;
use crate::time::millis;

/// A workload under its supervisor. Dropping it closes the pipe, and the supervisor kills the workload at once.
pub(super) struct Supervised {
    supervisor: Child,
    control: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
    group: Option<Pid>,
}

impl Supervised {
    /// Starts `process` under `supervisor`.
    pub(super) fn start(supervisor: &Path, process: &Process) -> anyhow::Result<Self> {
        let mut command = Command::new(supervisor);
        command
            .arg("supervise")
            .args(open_files::before().map(|files| format!("--open-files={files}")))
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
        let mut supervisor = command.spawn().context("its supervisor cannot be started")?;
        let control = supervisor.stdin.take().context("its supervisor has no stdin")?;
        let stdout = supervisor.stdout.take().context("its supervisor has no stdout")?;
        Ok(Self {
            supervisor,
            control,
            reports: BufReader::new(stdout).lines(),
            group: None,
        })
    }

    /// The supervisor's next report; [`Report::Gone`] if it says nothing any more. Cancel-safe.
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
                    };
                }
            }
        }
    }

    fn remember(&mut self, report: &Report) {
        match report {
            Report::Started { pid } => self.group = Some(Pid::from_raw(*pid)),
            Report::Gone { .. } | Report::NotStarted { .. } => self.group = None,
            Report::Out { .. } | Report::Err { .. } => {}
        }
    }

    /// Asks the workload to end: SIGTERM, and after `grace` SIGKILL.
    pub(super) async fn stop(&mut self, grace: Duration) {
        let line = format!("stop {}\n", millis(grace));
        // A supervisor that is gone is seen at the other pipe.
        let _ = self.control.write_all(line.as_bytes()).await;
    }

    /// Reaps the supervisor, once it has nothing more to say.
    pub(super) async fn reap(mut self) {
        drop(self.control);
        let _ = self.supervisor.wait().await;
    }
}
