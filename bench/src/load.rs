//! A closed loop of requests: `h2load`, of Debian's package nghttp2-client.

use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};

/// Which HTTP the clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) const BOTH: [Self; 2] = [Self::Http1, Self::Http2];

    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// So many GET requests for `authority` to a port of 127.0.0.1, `connections` × `streams` at a time.
#[derive(Clone, Debug)]
pub(crate) struct H2load {
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) protocol: Protocol,
    pub(crate) requests: u64,
    pub(crate) connections: u32,
    /// Of each connection at a time; 1 for HTTP/1.
    pub(crate) streams: u32,
    /// Cores that it may use; empty for any.
    pub(crate) cores: Vec<usize>,
}

/// What it says in the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// From the first request to the last answer, connecting included.
    pub(crate) per_second: f64,
}

impl H2load {
    /// Runs to the end. Fails unless every request was answered with 2xx.
    pub(crate) async fn run(&self) -> anyhow::Result<Load> {
        let output = self.command().output().await.context(MISSING)?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "h2load: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        read(&text, self.requests)
    }

    /// Starts it and leaves it running; it is killed when the handle is dropped.
    pub(crate) fn start(&self) -> anyhow::Result<Child> {
        let mut command = self.command();
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command.spawn().context(MISSING)
    }

    fn command(&self) -> Command {
        let Self {
            port,
            authority,
            protocol,
            requests,
            connections,
            streams,
            cores,
        } = self;
        let mut command = if cores.is_empty() {
            Command::new("h2load")
        } else {
            let list: Vec<String> = cores.iter().map(usize::to_string).collect();
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", &list.join(","), "h2load"]);
            command
        };
        command.args(["-n", &requests.to_string(), "-c", &connections.to_string()]);
        command.args([
            "-m",
            &streams.to_string(),
            "--connect-to",
            &format!("127.0.0.1:{port}"),
        ]);
        if *protocol == Protocol::Http1 {
            command.arg("--h1");
        }
        command.arg(format!("http://{authority}/"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

const MISSING: &str = "h2load cannot be run: apt-get install nghttp2-client";

/// `finished in 1.23s, 8130.08 req/s, 1.50MB/s` and `status codes: 10000 2xx, 0 3xx, 0 4xx, 0 5xx`.
fn read(text: &str, requests: u64) -> anyhow::Result<Load> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let Some(finished) = line("finished in ") else {
        bail!("h2load says nothing about its end: {text}");
    };
    let per_second = finished
        .split(", ")
        .find_map(|part| part.strip_suffix(" req/s")?.parse().ok());
    let codes = line("status codes: ").context("h2load says nothing about status codes")?;
    ensure!(
        codes.starts_with(&format!("{requests} 2xx,")),
        "of {requests} requests: {codes}"
    );
    Ok(Load {
        per_second: per_second.with_context(|| format!("no rate in: {finished}"))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "starting benchmark...\n\nfinished in 1.23s, 8130.08 req/s, 1.50MB/s\n\
        requests: 10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 10000 2xx, 0 3xx, 0 4xx, 0 5xx\n";

    #[test]
    fn reads_the_rate() {
        let load = read(OUTPUT, 10_000).unwrap();
        assert_eq!(load.per_second, 8130.08);
    }

    #[test]
    fn an_answer_that_is_missing_or_no_2xx_fails_the_run() {
        let text = OUTPUT.replace("10000 2xx, 0 3xx", "9999 2xx, 1 3xx");
        let error = read(&text, 10_000).unwrap_err();
        assert!(error.to_string().contains("9999 2xx, 1 3xx"), "{error}");
    }
}
