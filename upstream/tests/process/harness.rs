//! Starts the executable and watches it through its journal. Every wait is for a condition, and bounded.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time,
};
use tonic::transport::Channel;
use upstream::{Event, Record, Request as Seen, echo::echo_client::EchoClient};

/// Longest wait for anything; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running backend, killed when dropped.
pub(crate) struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts it on free ports with a journal, and waits for nothing.
    pub(crate) fn spawn(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = command()
            .args(["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--journal"])
            .arg(folder.path().join("journal"))
            .args(args)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    /// Starts it and waits until both ports listen.
    pub(crate) async fn start(args: &[&str]) -> Self {
        let process = Self::spawn(args);
        process.ports().await;
        process
    }

    /// Addresses of the HTTP and the gRPC port.
    pub(crate) async fn ports(&self) -> (SocketAddr, SocketAddr) {
        self.noted(|event| match event {
            Event::Ready { http, grpc } => Some((*http, *grpc)),
            _ => None,
        })
        .await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the process must not have ended")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal::kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// SIGTERM, and waits until it is noted.
    pub(crate) async fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.noted(|event| (*event == Event::Sigterm).then_some(())).await;
    }

    /// Waits for its end; the exit code, or `None` after a signal.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("must end in time")
            .unwrap()
            .code()
    }

    /// What the journal's file says so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        let text = fs::read_to_string(self.folder.path().join("journal")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.records()
            .into_iter()
            .filter_map(|record| match record.event {
                Event::Request(request) => Some(request),
                _ => None,
            })
            .collect()
    }

    /// Waits until `find` finds something in the journal.
    pub(crate) async fn noted<T>(&self, find: impl Fn(&Event) -> Option<T>) -> T {
        eventually(|| self.records().iter().find_map(|record| find(&record.event))).await
    }

    /// Waits until a request for `path` has been recorded.
    pub(crate) async fn seen(&self, path: &str) -> Seen {
        eventually(|| self.requests().into_iter().find(|request| request.path == path)).await
    }

    /// GET over a new HTTP/1 connection.
    pub(crate) async fn get(&self, path: &str) -> Response<Incoming> {
        let uri = format!("http://{}{path}", self.ports().await.0);
        http1()
            .request(Request::get(uri).body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        let uri = format!("http://{}", self.ports().await.1);
        Channel::from_shared(uri).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn echo(&self) -> EchoClient<Channel> {
        EchoClient::new(self.channel().await)
    }
}

/// The executable, in an environment without options of its own.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_upstream"));
    command.env_clear().env("RUST_LOG", "warn").stdin(Stdio::null());
    command
}

/// Runs the executable to its end.
pub(crate) async fn output(command: &mut Command) -> Output {
    time::timeout(PATIENCE, command.kill_on_drop(true).output())
        .await
        .expect("must end in time")
        .unwrap()
}

pub(crate) fn http1() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// HTTP/2 with prior knowledge.
pub(crate) fn h2c() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = time::timeout(PATIENCE, response.into_body().collect())
        .await
        .expect("must end in time");
    String::from_utf8(body.unwrap().to_bytes().to_vec()).unwrap()
}

/// A path in a folder of its own that goes with the first value.
pub(crate) fn mk_file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    (folder, file)
}

/// Looks again and again until there is something.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let mut ticks = time::interval(Duration::from_millis(5));
    let found = async {
        loop {
            ticks.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    };
    time::timeout(PATIENCE, found)
        .await
        .expect("must come true in time")
}
