//! The hidden subcommand `supervise`: runs one workload and leaves nothing of it behind.
//!
//! One process of it stands between the control plane and each workload. Its stdin is a pipe from the control plane:
//! `stop <grace in ms>` asks the workload's group to end; the end of the pipe, however the control plane died, kills
//! it at once. It is the subreaper of all its descendants, so those that left the group are found as well. What
//! happens goes to its stdout as one JSON [`Report`] a line; the last is [`Report::Gone`], said when nothing is left.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// Longest line of a workload's output that is passed on, in bytes; the rest of it is cut off.
pub const MAX_LINE: usize = 4096;
/// Between two looks for descendants that have not yet died.
const KILL_AGAIN: Duration = Duration::from_millis(10);

/// What the supervisor says, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The workload runs.
    Started {
        /// Its process id, which is its group's as well.
        pid: i32,
    },
    /// It could not be started; nothing follows.
    NotStarted {
        /// Why.
        error: String,
    },
    /// A line of its standard output.
    Out {
        /// Without the line's end.
        line: String,
    },
    /// A line of its standard error.
    Err {
        /// Without the line's end.
        line: String,
    },
    /// It has ended and nothing of it is left; nothing follows.
    Gone {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
    },
}

enum Happened {
    Stop(Duration),
    /// The control plane is gone.
    Orphaned,
    Exited(ExitStatus),
    NothingLeft,
}

/// Runs `command` until nothing of it is left.
pub fn run(command: &[String]) -> ExitCode {
    let Some((program, args)) = command.split_first() else {
        return ExitCode::from(2);
    };
    #[cfg(target_os = "linux")]
    if let Err(e) = nix::sys::prctl::set_child_subreaper(true) {
        say(&Report::NotStarted {
            error: format!("no subreaper: {e}"),
        });
        return ExitCode::FAILURE;
    }
    let mut workload = Command::new(program);
    workload
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = match workload.spawn() {
        Ok(child) => child,
        Err(e) => {
            say(&Report::NotStarted {
                error: format!("{program}: {e}"),
            });
            return ExitCode::FAILURE;
        }
    };
    // After the spawn, because a signal mask is inherited: only the pipe ends a supervisor.
    let mut ours = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        ours.add(signal);
    }
    let _ = ours.thread_block();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    say(&Report::Started { pid: pid.as_raw() });
    // Four messages at most: one stop, one end of the pipe, one exit, one end of all.
    let (tell, happened) = mpsc::sync_channel(4);
    let readers = [
        child
            .stdout
            .take()
            .map(|pipe| pass_on(pipe, |line| Report::Out { line })),
        child
            .stderr
            .take()
            .map(|pipe| pass_on(pipe, |line| Report::Err { line })),
    ];
    let control = tell.clone();
    std::thread::spawn(move || listen(&control));
    std::thread::spawn(move || reap(pid, &tell));
    let status = watch_over(pid, &happened);
    for reader in readers.into_iter().flatten() {
        // All that held the pipes are gone, so their ends have been reached.
        let _ = reader.join();
    }
    say(&Report::Gone {
        code: status.and_then(|s| s.code()),
        signal: status.and_then(|s| s.signal()),
    });
    ExitCode::SUCCESS
}

/// Until nothing is left. Returns how the workload itself ended.
fn watch_over(pid: Pid, happened: &mpsc::Receiver<Happened>) -> Option<ExitStatus> {
    let mut status = None;
    // When to kill; `None`: as long as it likes.
    let mut kill_at: Option<Instant> = None;
    let far = Duration::from_secs(3600);
    loop {
        let wait = kill_at.map_or(far, |at| at.saturating_duration_since(Instant::now()));
        match happened.recv_timeout(wait) {
            Ok(Happened::Stop(grace)) => {
                if status.is_none() {
                    let _ = killpg(pid, Signal::SIGTERM);
                }
                kill_at = Some(Instant::now() + grace);
            }
            Ok(Happened::Orphaned) => kill_at = Some(Instant::now()),
            Ok(Happened::Exited(how)) => {
                status = Some(how);
                // Without a stop, its helpers are of no use to anybody.
                kill_at = kill_at.or_else(|| Some(Instant::now()));
            }
            Ok(Happened::NothingLeft) | Err(RecvTimeoutError::Disconnected) => return status,
            Err(RecvTimeoutError::Timeout) => {
                if kill_at.is_some() {
                    // Once the leader is reaped its number may be another's.
                    if status.is_none() {
                        let _ = killpg(pid, Signal::SIGKILL);
                    }
                    kill_children();
                    kill_at = Some(Instant::now() + KILL_AGAIN);
                }
            }
        }
    }
}

/// Kills our own children: the workload and what it left behind. Their children become ours and are next.
fn kill_children() {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return;
    };
    let own = Pid::this().as_raw();
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        if parent_of(pid) == Some(own) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // "pid (name) state ppid ..": the name may hold anything, so count from its last bracket.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn listen(tell: &SyncSender<Happened>) {
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { break };
        if let Some(grace) = line.strip_prefix("stop ").and_then(|ms| ms.parse().ok()) {
            let _ = tell.send(Happened::Stop(Duration::from_millis(grace)));
        }
    }
    let _ = tell.send(Happened::Orphaned);
}

fn reap(workload: Pid, tell: &SyncSender<Happened>) {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == workload => {
                let _ = tell.send(Happened::Exited(ExitStatus::from_raw((code & 0xff) << 8)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == workload => {
                let _ = tell.send(Happened::Exited(ExitStatus::from_raw(signal as i32)));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => {
                let _ = tell.send(Happened::NothingLeft);
                return;
            }
        }
    }
}

fn pass_on<R: Read + Send + 'static>(pipe: R, report: fn(String) -> Report) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        while let Some(line) = read_line(&mut pipe) {
            say(&report(line));
        }
    })
}

/// The next line, cut off at [`MAX_LINE`]; `None` at the end. Never keeps more than that of it.
fn read_line(pipe: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let limit = MAX_LINE as u64;
    let read = pipe.by_ref().take(limit).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read as u64 == limit {
        skip_line(pipe);
    }
    Some(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn skip_line(pipe: &mut impl BufRead) {
    loop {
        let (used, done) = match pipe.fill_buf() {
            Ok([]) | Err(_) => return,
            Ok(buffer) => match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), false),
            },
        };
        pipe.consume(used);
        if done {
            return;
        }
    }
}

fn say(report: &Report) {
    let Ok(mut line) = serde_json::to_vec(report) else {
        return;
    };
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    // A control plane that is gone is noticed at the other pipe.
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_long_lines_off() {
        let text = format!("{}\nnext\nlast", "x".repeat(3 * MAX_LINE));
        let mut pipe = BufReader::new(text.as_bytes());
        let lines: Vec<_> = std::iter::from_fn(|| read_line(&mut pipe)).collect();
        let lengths: Vec<_> = lines.iter().map(String::len).collect();
        assert_eq!(
            lengths,
            [MAX_LINE, 4, 4],
            "must keep the start of a long line and all of the others"
        );
    }

    #[test]
    fn knows_its_own_parent() {
        let own = Pid::this().as_raw();
        assert_eq!(parent_of(own), Some(Pid::parent().as_raw()), "must read /proc");
    }
}
