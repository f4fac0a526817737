//! The supervisors of all workloads, and what is left when one of them is killed.
//!
//! A workload can kill its own supervisor. What the supervisor watched over then becomes a child of this process, which
//! is the subreaper above them, on Linux: every child that is no supervisor has lost its own, and is ended. So this process may
//! have no other children.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tracing::warn;

use crate::supervise::{KILL_AGAIN, children};

/// Looks for what is left before that is given up: five seconds. What does not die by then waits for a device.
const LOOKS: u32 = 500;

/// Starts supervisors and knows them. Clones know the same.
#[derive(Clone, Debug)]
pub(super) struct Supervisors {
    program: PathBuf,
    /// Children that are not to be ended: supervisors from before they are started until they are reaped, and what was there before them all.
    known: Arc<Mutex<BTreeSet<i32>>>,
}

impl Supervisors {
    /// None yet. `program` is an executable with the subcommand `supervise`. Makes this process a subreaper.
    pub(super) fn new(program: PathBuf) -> Self {
        #[cfg(target_os = "linux")]
        if let Err(e) = nix::sys::prctl::set_child_subreaper(true) {
            warn!("no subreaper, so a workload that kills its supervisor may leave processes behind: {e}");
        }
        let known = children().into_iter().map(Pid::as_raw).collect();
        Self {
            program,
            known: Arc::new(Mutex::new(known)),
        }
    }

    /// Starts one, as `finish` has made its command.
    ///
    /// # Errors
    /// Those of the operating system, also where its working directory is not there.
    pub(super) fn spawn(&self, finish: impl FnOnce(&mut Command)) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("supervise");
        finish(&mut command);
        // It must not be taken for a process without a supervisor before it is known.
        let mut known = self.lock();
        let child = command.spawn()?;
        known.extend(raw(&child));
        Ok(child)
    }

    /// Kills one if it still runs, and reaps it.
    pub(super) async fn end(&self, mut supervisor: Child) {
        let pid = raw(&supervisor);
        let _ = supervisor.start_kill();
        let _ = supervisor.wait().await;
        if let Some(pid) = pid {
            self.lock().remove(&pid);
        }
    }

    /// Reaps one that ends by itself.
    pub(super) async fn reap(&self, mut supervisor: Child) {
        let pid = raw(&supervisor);
        let _ = supervisor.wait().await;
        if let Some(pid) = pid {
            self.lock().remove(&pid);
        }
    }

    /// Kills every process that has lost its supervisor, until none is left.
    pub(super) async fn clear_up(&self) {
        for _ in 0..LOOKS {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let _ = kill(pid, Signal::SIGKILL);
                // Its children become ours once it is gone, and are found by the next look.
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            sleep(KILL_AGAIN).await;
        }
        warn!(
            event = "left_behind",
            "some processes of a workload whose supervisor was killed do not end"
        );
    }

    fn left(&self) -> Vec<Pid> {
        let known = self.lock();
        let mut all = children();
        all.retain(|pid| !known.contains(&pid.as_raw()));
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raw(child: &Child) -> Option<i32> {
    child.id().and_then(|pid| i32::try_from(pid).ok())
}
