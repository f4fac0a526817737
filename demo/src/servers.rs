//! The servers of the demo and the requests to them.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use e2e::grpc::{echo, say};
use e2e::{Client, Process, binaries};
use serde_json::Value;
use tempfile::TempDir;

use crate::timeline::unix_ms;
use crate::{Ports, files};

const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Everything that runs. Dropping it stops everything, Envoy first.
pub(crate) struct Servers {
    pub(crate) envoy: Process,
    pub(crate) control: Process,
    pub(crate) dir: TempDir,
    ports: Ports,
}

/// A request that was answered.
pub(crate) struct Call {
    pub(crate) title: String,
    /// Name of the target.
    pub(crate) name: &'static str,
    pub(crate) sent: SystemTime,
    pub(crate) answered: SystemTime,
    /// What the client got.
    pub(crate) answer: String,
    /// The process that answered.
    pub(crate) process: u32,
}

impl Servers {
    pub(crate) async fn start(ports: Ports, idle: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-demo-").tempdir()?;
        let (envoy, targets) = (
            files::envoy(dir.path(), ports)?,
            files::targets(dir.path(), ports, idle)?,
        );
        println!("Starting the control plane on 127.0.0.1:{}", ports.control);
        let control = start_control(dir.path(), ports, &targets);
        until_ok(&control, "control plane", ports.control, "/readyz").await?;
        println!(
            "Starting Envoy on 127.0.0.1:{} (admin on {})",
            ports.traffic, ports.admin
        );
        let envoy = start_envoy(dir.path(), &envoy);
        until_ok(&envoy, "Envoy", ports.admin, "/ready").await?;
        let servers = Self {
            envoy,
            control,
            dir,
            ports,
        };
        servers.until_synced().await?;
        Ok(servers)
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn call(&self, name: &'static str) -> anyhow::Result<Call> {
        let authority = format!("{name}.example.com");
        let sent = SystemTime::now();
        let (title, answer, process) = if name == "grpc" {
            let reply = echo(self.ports.traffic, &authority)
                .unary(say("hello"))
                .await?
                .into_inner();
            (
                format!("gRPC Echo/Unary to {authority}"),
                format!("OK {:?}", reply.message),
                reply.pid,
            )
        } else {
            let reply = Client::new(self.ports.traffic, &authority)
                .get("/hello")
                .try_send()
                .await?;
            anyhow::ensure!(reply.status == 200, "status {}: {}", reply.status, reply.text());
            let process = reply
                .header("x-upstream-pid")
                .and_then(|pid| pid.parse().ok())
                .unwrap_or(0);
            (
                format!("GET http://{authority}/hello"),
                format!("200 {:?}", reply.text().trim()),
                process,
            )
        };
        Ok(Call {
            title,
            name,
            sent,
            answered: SystemTime::now(),
            answer,
            process,
        })
    }

    pub(crate) async fn print_states(&self) -> anyhow::Result<()> {
        for (name, state) in self.states().await? {
            println!("  {name:<14} {state}");
        }
        Ok(())
    }

    /// Prints what the control plane does until all targets are asleep.
    pub(crate) async fn watch_until_asleep(&self, within: Duration) -> anyhow::Result<()> {
        let (start, began) = (Instant::now(), unix_ms(SystemTime::now()));
        let mut read = self.control.log().lines().count();
        loop {
            let log = self.control.log();
            for line in log.lines().skip(read) {
                print_step_to_sleep(line, began);
                read += 1;
            }
            let states = self.states().await?;
            if states.iter().all(|(_, state)| state == "asleep") && read == log.lines().count() {
                return Ok(());
            }
            anyhow::ensure!(
                start.elapsed() < within,
                "not asleep after {within:?}: {states:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn print_what_to_try(&self) {
        let Ports {
            traffic,
            admin,
            control,
            ..
        } = self.ports;
        println!("\nEverything goes on running until you press Ctrl-C. Try:\n");
        println!("  curl -i -H 'Host: http.example.com' http://127.0.0.1:{traffic}/hello");
        println!(
            "  grpcurl -plaintext -authority grpc.example.com -d '{{\"message\": \"hello\"}}' \
             127.0.0.1:{traffic} holdfast.echo.v1.Echo/Unary"
        );
        println!("  curl http://127.0.0.1:{control}/v1/targets");
        println!("  curl -s http://127.0.0.1:{admin}/stats/prometheus | grep holdfast");
        println!("\nLogs are in {}", self.dir.path().display());
    }

    /// Name and state of each target.
    async fn states(&self) -> anyhow::Result<Vec<(String, String)>> {
        let reply = self.control_client().get("/v1/targets").try_send().await?;
        let targets = reply.json();
        let targets = targets
            .as_array()
            .or_else(|| targets["targets"].as_array())
            .context("a list of targets")?;
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        Ok(targets
            .iter()
            .map(|target| (text(&target["id"]), text(&target["state"])))
            .collect())
    }

    /// Envoy has asked the control plane what there is.
    async fn until_synced(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < STARTS_WITHIN {
            let metrics = self.control_client().get("/metrics").try_send().await?;
            if e2e::sum_of_samples(metrics.text(), "holdfast_open_polls", &[]) > 0.0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!(
            "Envoy did not ask the control plane for its targets:\n{}",
            self.envoy.log_tail()
        );
    }

    fn control_client(&self) -> Client {
        Client::new(self.ports.control, "control-plane")
    }
}

fn print_step_to_sleep(line: &str, began: u64) {
    let Ok(record) = serde_json::from_str::<Value>(line) else {
        return;
    };
    let what = match record["event"].as_str() {
        Some("draining") => "draining    Envoy is told to hold again; requests under way would end this",
        Some("confirmed") => "confirmed   every worker holds",
        Some("stopping") => "stopping    no way back",
        Some("terminating") => "terminating SIGTERM",
        Some("asleep") => "asleep      the process is gone",
        _ => return,
    };
    let at = record["unix_ms"].as_u64().unwrap_or(began).saturating_sub(began);
    println!(
        "  {at:>7} ms  {:<14} {what}",
        record["target"].as_str().unwrap_or("?")
    );
}

fn start_control(dir: &Path, ports: Ports, targets: &Path) -> Process {
    let listen = format!("127.0.0.1:{}", ports.control);
    let targets = targets.display().to_string();
    let args = [
        "serve",
        "--backend",
        "local",
        "--targets",
        &targets,
        "--listen",
        &listen,
        "--log-format",
        "json",
    ];
    // After a start nothing is put to sleep for two leases: nobody wants to watch that.
    let env = [("HOLDFAST_LEASE_DURATION".to_owned(), "1s".to_owned())];
    let log = dir.join("control-plane.log");
    Process::start(
        "control plane",
        &binaries::control_plane(),
        &args.map(str::to_owned),
        &env,
        &log,
    )
}

fn start_envoy(dir: &Path, config: &Path) -> Process {
    let config = config.display().to_string();
    // Seconds since 1970 with milliseconds, for the timeline.
    let format = "%E.%e [%l] [%n] %v";
    let args = [
        "--config-path",
        &config,
        "--concurrency",
        "2",
        "--disable-hot-restart",
    ];
    let logging = ["--component-log-level", "wasm:debug", "--log-format", format];
    let args: Vec<String> = args.into_iter().chain(logging).map(str::to_owned).collect();
    Process::start("Envoy", &binaries::envoy(), &args, &[], &dir.join("envoy.log"))
}

/// Waits for 200, or says why it will not come.
async fn until_ok(process: &Process, name: &str, port: u16, path: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < STARTS_WITHIN {
        if let Some(status) = process.exited() {
            anyhow::bail!("the {name} ended with {status}:\n{}", process.log_tail());
        }
        if Client::new(port, "demo")
            .get(path)
            .try_send()
            .await
            .is_ok_and(|reply| reply.status == 200)
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!(
        "the {name} is not ready after {STARTS_WITHIN:?}:\n{}",
        process.log_tail()
    );
}
