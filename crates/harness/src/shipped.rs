//! The real Envoy with a configuration of `local-envoy/extproc/` as it ships, and the processors and the backend that it asks:
//! only the ports are others.

use std::collections::BTreeMap;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Client, Process, binaries, eventually, free_port};

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Ports in the files.
const ADMIN: u16 = 9901;
const BACKEND: u16 = 50001;

/// An Envoy with external processors.
pub struct Shipped {
    // Ended in this order: Envoy first, so that nothing it asks is missing.
    envoy: Process,
    _asked: Vec<Process>,
    /// The port here for each that is in the file.
    ports: BTreeMap<u16, u16>,
    _dir: TempDir,
}

impl Shipped {
    /// Starts Envoy with the file of this name, the backend, and a program `extproc` for each port and its arguments.
    pub async fn start(file: &str, processors: &[(u16, &[&str])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = binaries::root().join("local-envoy/extproc").join(file);
        let shipped = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let (config, ports) = with_free_ports(&shipped);
        let at = |port: u16| format!("127.0.0.1:{}", ports[&port]);
        let mut asked = Vec::new();
        let args = ["--json", "--http", &at(BACKEND), "--grpc", "127.0.0.1:0"].map(str::to_owned);
        let log = dir.path().join("upstream.log");
        asked.push(Process::start(
            "upstream",
            &binaries::upstream(),
            &args,
            &[],
            &log,
        ));
        for (port, args) in processors {
            let mut args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
            args.extend(["--logging".to_owned(), "--listen".to_owned(), at(*port)]);
            let log = dir.path().join(format!("extproc-{port}.log"));
            asked.push(Process::start("extproc", &binaries::extproc(), &args, &[], &log));
        }
        for port in processors.iter().map(|(port, _)| *port).chain([BACKEND]) {
            eventually("what Envoy asks listens", STARTS_WITHIN, || async {
                tokio::net::TcpStream::connect(at(port)).await.is_ok()
            })
            .await;
        }
        let config_path = dir.path().join(file);
        std::fs::write(&config_path, config).unwrap();
        let args = [
            "--config-path",
            &config_path.display().to_string(),
            "--concurrency",
            "2",
            "--disable-hot-restart",
        ]
        .map(str::to_owned);
        let log = dir.path().join("envoy.log");
        let envoy = Process::start("envoy", &binaries::envoy(), &args, &[], &log);
        let shipped = Self {
            envoy,
            _asked: asked,
            ports,
            _dir: dir,
        };
        eventually("Envoy is ready", STARTS_WITHIN, || async {
            if let Some(status) = shipped.envoy.exited() {
                panic!("Envoy ended with {status}:\n{}", shipped.envoy.log_tail());
            }
            let ready = shipped.client(ADMIN).get("/ready").try_send().await;
            ready.is_ok_and(|reply| reply.status == 200)
        })
        .await;
        shipped
    }

    /// A client of what listens on this port in the file.
    pub fn client(&self, port: u16) -> Client {
        Client::new(self.ports[&port], format!("localhost:{port}"))
    }

    /// Counters of all external processors by the last part of their names, such as `streams_started`.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self.client(ADMIN).get("/stats?filter=ext_proc").send().await;
        let values = stats.text().lines().filter_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known
                .ends_with(&format!(".{name}"))
                .then(|| value.parse::<u64>().ok())?
        });
        values.sum()
    }

    /// Bytes that Envoy has allocated, from `/memory`.
    pub async fn allocated(&self) -> u64 {
        let reply = self.client(ADMIN).get("/memory").send().await.json();
        reply["allocated"].as_str().unwrap().parse().unwrap()
    }
}

/// The file with a free port in the place of each of its own.
fn with_free_ports(file: &str) -> (String, BTreeMap<u16, u16>) {
    const BEFORE: &str = "port_value: ";
    let mut ports = BTreeMap::new();
    let mut parts = file.split(BEFORE);
    let mut config = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap();
        let (port, rest) = part.split_at(end);
        let port = *ports.entry(port.parse().unwrap()).or_insert_with(free_port);
        config += &format!("{BEFORE}{port}{rest}");
    }
    assert!(!ports.is_empty(), "a file of Envoy's must name ports");
    (config, ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_same_wherever_it_is_named() {
        let (config, ports) = with_free_ports("{port_value: 80}, {port_value: 81}, {port_value: 80}");
        let (first, second) = (ports[&80], ports[&81]);
        assert_ne!(first, second);
        let expected = format!("{{port_value: {first}}}, {{port_value: {second}}}, {{port_value: {first}}}");
        assert_eq!(config, expected);
    }
}
