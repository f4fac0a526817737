//! The real binary with processes of its own, for the integration tests.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Longest wait for anything. Nothing here takes more than a second unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A control plane that runs.
pub struct ControlPlane {
    child: Child,
    log: mpsc::Receiver<Value>,
    address: String,
    admin: Option<String>,
    directory: tempfile::TempDir,
}

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

pub fn run(args: &[&str]) -> Output {
    binary().args(args).output().unwrap()
}

impl ControlPlane {
    /// Serves `targets` on a free port.
    pub fn start(targets: &str, args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", targets, args)
    }

    /// Serves `targets` at `listen`.
    pub fn start_at(listen: &str, targets: &str, args: &[&str]) -> Self {
        let started = Self::spawn(binary(), targets, listen, args, Stdio::piped());
        Self::follow(started, args.contains(&"--admin-listen"))
    }

    fn follow((mut new, stderr): (Self, Option<ChildStderr>), has_admin: bool) -> Self {
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr.unwrap()).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        new.log = log;
        if has_admin {
            new.admin = Some(new.event("admin_listening", "address"));
        }
        new.address = new.event("listening", "address");
        new
    }

    /// As [`Self::start`], with variables of its own.
    pub fn start_with_env(targets: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = binary();
        command.envs(variables.iter().copied());
        let started = Self::spawn(command, targets, "127.0.0.1:0", &[], Stdio::piped());
        Self::follow(started, false)
    }

    /// As [`Self::start`], with a log that is not read here. Returns once it answers.
    pub fn start_with_log(targets: &str, args: &[&str], log: Stdio) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let (new, _) = Self::spawn(binary(), targets, &address, args, log);
        until("it must listen", || TcpStream::connect(&new.address).ok());
        new
    }

    fn spawn(
        mut command: Command,
        targets: &str,
        listen: &str,
        args: &[&str],
        log: Stdio,
    ) -> (Self, Option<ChildStderr>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("targets.yaml");
        std::fs::write(&file, targets).unwrap();
        command
            .args(["serve", "--listen", listen, "--log-format", "json", "--targets"])
            .arg(&file)
            .args(["--lease-duration", "10ms", "--retry-initial", "50ms"])
            .args(args);
        let mut child = command.stderr(log).spawn().unwrap();
        let stderr = child.stderr.take();
        let new = Self {
            child,
            log: mpsc::channel().1,
            address: listen.to_owned(),
            admin: None,
            directory,
        };
        (new, stderr)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn targets_file(&self) -> PathBuf {
        self.directory.path().join("targets.yaml")
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where probes are answered: with `--admin-listen` only.
    pub fn admin(&self) -> &str {
        self.admin.as_deref().unwrap()
    }

    /// Status of `GET /v1/targets` with this token.
    pub fn status_with(&self, token: &str) -> u16 {
        let header = format!("authorization: Bearer {token}\r\n");
        call_at(&self.address, "GET", "/v1/targets", &header, "").0
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Waits for the log line with this event; returns one of its fields as text.
    pub fn event(&self, event: &str, field: &str) -> String {
        let line = self.line(event);
        match &line[field] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// Waits for the log line with this event.
    pub fn line(&self, event: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = self
            .log
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if line["event"] == event {
                return line;
            }
            seen.push(line);
        }
        panic!("the log must have {event:?}, but has {seen:#?}");
    }

    pub fn kill(&mut self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the end.
    pub fn exit_code(&mut self) -> Option<i32> {
        let child = &mut self.child;
        until("the control plane must end", || child.try_wait().unwrap()).code()
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        self.call("GET", path, "")
    }

    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.call("POST", path, body)
    }

    /// One HTTP/1.1 request on a connection of its own.
    pub fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        call_at(&self.address, method, path, "", body)
    }

    pub fn report(&self, seq: u64, applied: &Value, targets: &str) {
        let proxy = format!(r#"{{"id":"envoy","incarnation":"1","term":1,"seq":{seq}}}"#);
        let body = format!(r#"{{"proxy":{proxy},"applied":{applied},"targets":{targets}}}"#);
        assert_eq!(self.post("/v1/report", &body).0, 204, "must take the report");
    }

    /// One sync; the answer.
    pub fn sync(&self, since: &Value, wait_ms: u64) -> Value {
        let body = format!(
            r#"{{"proxy":{{"id":"envoy","incarnation":"1","term":1}},"since":{since},"wait_ms":{wait_ms}}}"#
        );
        serde_json::from_str(&self.post("/v1/sync", &body).1).unwrap()
    }

    pub fn target(&self, name: &str) -> Value {
        serde_json::from_str(&self.get(&format!("/v1/targets/default/{name}")).1).unwrap()
    }

    pub fn until_state(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} must be {state}"), || {
            Some(self.target(name)).filter(|t| t["state"] == state)
        })
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn get_at(address: &str, path: &str) -> (u16, String) {
    call_at(address, "GET", path, "", "")
}

/// One HTTP/1.1 request on a connection of its own. `headers` end each with CR LF.
fn call_at(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Waits for a condition.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that no process listens on, for the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// One document with a process.
pub fn document(name: &str, process: &str, rest: &str) -> String {
    format!(
        "apiVersion: holdfast.dev/v1alpha1\nkind: ScaleTarget\nmetadata: {{name: {name}}}\nspec:\n  match: {{hosts: [{name}.example.com]}}\n  workload: {{process: {process}}}\n  {rest}\n"
    )
}

/// A process that listens on `port` after running `prelude` (Python). It serves HTTP.
pub fn listener(port: u16, prelude: &str) -> String {
    let code = format!(
        "import http.server,os,signal,subprocess,sys,time\n{prelude}\nhttp.server.HTTPServer(('127.0.0.1',{port}),http.server.SimpleHTTPRequestHandler).serve_forever()"
    );
    let code = serde_json::to_string(&code).unwrap();
    format!("{{command: [python3, -c, {code}], ready: {{tcp: {{port: {port}}}}}, stopGrace: 300ms}}")
}

/// True if there is such a process and it is no zombie.
pub fn runs(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

/// The process id that a workload wrote to `path`.
pub fn pid_in(path: &Path) -> i32 {
    until("the workload must write its pid", || {
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    })
}
