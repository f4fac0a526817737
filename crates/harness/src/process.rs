//! A server under test: its own process group, its output in a file, killed when the handle is dropped. A server that
//! crashed fails the test.

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Lines of a log that a failed test prints.
const TAIL: usize = 60;

/// A running server.
pub struct Process {
    name: String,
    child: Mutex<Child>,
    pid: Pid,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; standard output and error go to `log`.
    ///
    /// It dies with this test process, however that ends (`PR_SET_PDEATHSIG` by way of `setpriv`).
    pub fn start(name: &str, program: &Path, args: &[String], env: &[(String, String)], log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args);
        command.envs(env.iter().map(|(key, value)| (key, value)));
        command.current_dir(crate::binaries::root());
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0);
        let child = spawn(command)
            .unwrap_or_else(|error| panic!("{name}: cannot start {}: {error}", program.display()));
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        Self {
            name: name.to_owned(),
            child: Mutex::new(child),
            pid,
            log: log.to_owned(),
        }
    }

    /// Its process id, which is also that of its process group.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends `signal` to the process alone, as `kill` does.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap_or_else(|error| panic!("{}: cannot send {signal}: {error}", self.name));
    }

    /// The exit status, if it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .try_wait()
            .unwrap()
    }

    /// SIGKILL to the process alone, and waits until it is gone: what it started is left to its fate.
    pub fn kill(&self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = self
            .child
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .wait();
    }

    /// SIGTERM, and SIGKILL to the whole group if it is still there after `grace`. Returns how it ended.
    pub fn stop(&self, grace: Duration) -> ExitStatus {
        let _ = kill(self.pid, Signal::SIGCONT);
        let _ = kill(self.pid, Signal::SIGTERM);
        let start = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            if start.elapsed() >= grace {
                let _ = killpg(self.pid, Signal::SIGKILL);
                return self
                    .child
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .wait()
                    .unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of what it has printed.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The control plane stops its workloads when it is asked to end; nothing else needs the time.
        let status = self.stop(Duration::from_secs(3));
        let _ = killpg(self.pid, Signal::SIGKILL);
        if crashed(&status) && !std::thread::panicking() {
            panic!("{} crashed: {status}\n{}", self.name, self.log_tail());
        }
        if std::thread::panicking() {
            eprintln!(
                "--- {} ({}) ---\n{}\n---",
                self.name,
                self.log.display(),
                self.log_tail()
            );
        }
    }
}

/// SIGILL, SIGABRT, SIGBUS, SIGSEGV: nothing that the harness sends.
fn crashed(status: &ExitStatus) -> bool {
    [4, 6, 7, 11].map(Some).contains(&status.signal())
}

/// Starts every child from one thread that lives as long as this process: Linux sends the death signal when the
/// *thread* that started the child ends, and a test's thread ends with the test.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, reply) in inbox {
                    let _ = reply.send(command.spawn());
                }
            })
            .unwrap();
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::channel();
    SPAWNER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .send((command, reply))
        .unwrap();
    answer.recv().unwrap()
}
