//! The hidden subcommand `supervise`: runs one workload and leaves nothing of it behind.
//!
//! One process of it stands between the control plane and each workload. Its stdin is a pipe from the control plane:
//! `stop <signal> <grace in ms>` sends the signal to the workload's group and ends it after the grace time, `words` asks
//! for what it said last; the end of the pipe, however the control plane died, kills it at once. It is the subreaper of
//! all its descendants, so those that left the group are found as well. What happens goes to its stdout as one JSON
//! [`Report`] a line; the last is [`Report::Gone`], said when nothing is left.

mod output;
mod report;

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use output::{Output, PassOn, Passed};
pub use report::Report;

/// Longest line of a workload's output that is passed on or kept, in bytes; the rest of it is cut off.
pub const MAX_LINE: usize = 4096;
/// Between two looks for descendants that have not yet died.
pub(crate) const KILL_AGAIN: Duration = Duration::from_millis(10);
/// Longest wait for the ends of the workload's outputs when nothing of it is left: another process may have been given them.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

enum Happened {
    Stop(Signal, Duration),
    /// The control plane is gone.
    Orphaned,
    Exited(ExitStatus),
    NothingLeft,
}

/// Runs `command` until nothing of it is left. What it prints is passed on only if `passes_output`.
pub fn run(command: &[String], passes_output: bool) -> ExitCode {
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
    let output = Output::default();
    // Two messages at most: the end of each output.
    let (done, ends) = mpsc::sync_channel(2);
    if let Some(pipe) = child.stdout.take() {
        let pass_on = passes_output.then(|| saying(|line| Report::Out { line }));
        output.follow(pipe, false, pass_on, done.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        let pass_on = passes_output.then(|| saying(|line| Report::Err { line }));
        output.follow(pipe, true, pass_on, done);
    }
    // Four messages at most: one stop, one end of the pipe, one exit, one end of all.
    let (tell, happened) = mpsc::sync_channel(4);
    let (control, words) = (tell.clone(), output.clone());
    std::thread::spawn(move || listen(&control, &words));
    std::thread::spawn(move || reap(pid, &tell));
    let status = watch_over(pid, &happened);
    output.end();
    let until = Instant::now() + LAST_OUTPUT;
    while ends
        .recv_timeout(until.saturating_duration_since(Instant::now()))
        .is_ok()
    {}
    say(&Report::Gone {
        code: status.and_then(|s| s.code()),
        signal: status.and_then(|s| s.signal()),
        last: output.last_words(),
    });
    ExitCode::SUCCESS
}

fn saying(line_report: fn(String) -> Report) -> PassOn {
    Box::new(move |passed| {
        say(&match passed {
            Passed::Line(line) => line_report(line),
            Passed::LeftOut(lines) => Report::LeftOut { lines },
        });
    })
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
            Ok(Happened::Stop(signal, grace)) => {
                if status.is_none() {
                    let _ = killpg(pid, signal);
                }
                kill_at = Some(Instant::now() + grace);
            }
            Ok(Happened::Orphaned) => kill_at = Some(Instant::now()),
            Ok(Happened::Exited(how)) => {
                status = Some(how);
                // Without a stop, its helpers are of no use.
                kill_at = kill_at.or_else(|| Some(Instant::now()));
            }
            Ok(Happened::NothingLeft) | Err(RecvTimeoutError::Disconnected) => return status,
            Err(RecvTimeoutError::Timeout) => {
                if kill_at.is_some() {
                    // Once the leader is reaped its number may be another's.
                    if status.is_none() {
                        let _ = killpg(pid, Signal::SIGKILL);
                    }
                    // The workload and what it left behind. Their children become ours and are next.
                    for child in children() {
                        let _ = kill(child, Signal::SIGKILL);
                    }
                    kill_at = Some(Instant::now() + KILL_AGAIN);
                }
            }
        }
    }
}

/// This process's children, those that have died and are not reaped among them. Empty where there is no `/proc`.
pub(crate) fn children() -> Vec<Pid> {
    let own = Pid::this().as_raw();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| parent_of(*pid) == Some(own))
        .map(Pid::from_raw)
        .collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // "pid (name) state ppid ..": the name may hold anything, so count from its last bracket.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn listen(tell: &SyncSender<Happened>, output: &Output) {
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { break };
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("words"), ..) => say(&Report::Words {
                last: output.last_words(),
            }),
            (Some("stop"), Some(signal), Some(grace)) => {
                if let (Ok(signal), Ok(ms)) = (signal.parse(), grace.parse()) {
                    let _ = tell.send(Happened::Stop(signal, Duration::from_millis(ms)));
                }
            }
            _ => {}
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
    fn knows_its_own_parent() {
        let own = Pid::this().as_raw();
        assert_eq!(parent_of(own), Some(Pid::parent().as_raw()), "must read /proc");
    }
}
