//! A server of the demo: its own process group, its output in a file, ended when the handle is dropped.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::options::root;

/// From SIGTERM to SIGKILL. The control plane ends its workloads meanwhile.
const GRACE: Duration = Duration::from_secs(3);
/// The last lines of a server's log that an error shows, and the characters of each.
const TAIL_LINES: usize = 12;
const TAIL_WIDTH: usize = 400;

/// A running server.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` in the root of the repository; standard output and error go to `log`.
    ///
    /// Where there is `setpriv`, the server also ends when this program is killed.
    pub(crate) fn start(
        program: &Path,
        args: &[String],
        env: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let out = File::create(log).with_context(|| log.display().to_string())?;
        let start = |mut command: Command| {
            command
                .args(args)
                .envs(env.iter().copied())
                .current_dir(root())
                .stdin(Stdio::null())
                .stdout(out.try_clone()?)
                .stderr(out.try_clone()?)
                .process_group(0)
                .spawn()
        };
        let mut with_setpriv = Command::new("setpriv");
        with_setpriv.args(["--pdeathsig", "KILL", "--"]).arg(program);
        let child = match start(with_setpriv) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => start(Command::new(program)),
            result => result,
        };
        Ok(Self {
            child: child.with_context(|| format!("cannot start {}", program.display()))?,
            log: log.to_owned(),
        })
    }

    /// The exit status, if it has ended.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Everything it has printed so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines that it has printed, and where the others are.
    pub(crate) fn last_words(&self) -> String {
        format!("{}\n(all of it: {})", tail(&self.log()), self.log.display())
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may be gone already.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let start = Instant::now();
        while self.exited().is_none() && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<String> = log
        .lines()
        .filter(|line| !line.trim().is_empty())
        .rev()
        .take(TAIL_LINES)
        .map(|line| format!("  {}", line.chars().take(TAIL_WIDTH).collect::<String>()))
        .collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_lines() {
        let log: String = (0..100).map(|line| format!("line {line}\n\n")).collect();
        let shown = tail(&log);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), TAIL_LINES, "must be few lines");
        assert_eq!(lines.last(), Some(&"  line 99"), "must end with the last line");
        assert!(!shown.contains("line 87\n"), "must not show earlier lines");
    }

    #[test]
    fn a_long_line_does_not_hide_the_others() {
        let shown = tail(&format!("{}\nwhy", "x".repeat(10_000)));
        assert!(shown.len() < 2 * TAIL_WIDTH, "must be cut");
        assert!(shown.ends_with("why"), "must show the reason");
    }
}
