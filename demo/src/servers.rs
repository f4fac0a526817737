//! The servers of the demo and the requests to them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tonic::transport::Endpoint;
use upstream::echo::EchoRequest;
use upstream::echo::echo_client::EchoClient;

use crate::files;
use crate::options::{Options, Ports};
use crate::process::Process;
use crate::timeline::unix_ms;

const STARTS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Everything that runs. Dropping it stops everything, Envoy first.
pub(crate) struct Servers {
    pub(crate) envoy: Process,
    pub(crate) control: Process,
    /// Holds logs, configurations and journals.
    pub(crate) dir: PathBuf,
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
    /// Starts both servers and waits until they know each other; the workloads stay at zero.
    pub(crate) async fn start(options: &Options, idle: &str) -> anyhow::Result<Self> {
        let (dir, ports) = (&options.dir, options.ports);
        if dir.exists() {
            std::fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let (envoy, targets) = (files::envoy(options)?, files::targets(options, idle)?);
        println!("Starting the control plane on 127.0.0.1:{}", ports.control);
        let mut control = start_control(options, &targets)?;
        until_ok(&mut control, "control plane", ports.control, "/readyz").await?;
        println!(
            "Starting Envoy on 127.0.0.1:{} (admin on {})",
            ports.traffic, ports.admin
        );
        let mut envoy = start_envoy(options, &envoy)?;
        until_ok(&mut envoy, "Envoy", ports.admin, "/ready").await?;
        let servers = Self {
            envoy,
            control,
            dir: dir.clone(),
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
            let reply = say_hello(self.ports.traffic, &authority).await?;
            (
                format!("gRPC Echo/Unary to {authority}"),
                format!("OK {:?}", reply.message),
                reply.pid,
            )
        } else {
            let reply = get(self.ports.traffic, &authority, "/hello").await?;
            anyhow::ensure!(
                reply.status() == 200,
                "status {}: {}",
                reply.status(),
                reply.body()
            );
            let process = reply.headers().get("x-upstream-pid");
            let process = process.and_then(|pid| pid.to_str().ok()?.parse().ok());
            (
                format!("GET http://{authority}/hello"),
                format!("200 {:?}", reply.body().trim()),
                process.unwrap_or(0),
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
            tokio::time::sleep(LOOK_AGAIN).await;
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
        println!("\nLogs are in {}", self.dir.display());
    }

    /// Name and state of each target.
    async fn states(&self) -> anyhow::Result<Vec<(String, String)>> {
        let reply = get(self.ports.control, "control-plane", "/v1/targets").await?;
        let targets: Value = serde_json::from_str(reply.body())?;
        let targets = targets
            .get("targets")
            .and_then(Value::as_array)
            .context("a list of targets")?;
        let text = |target: &Value, field| {
            let text = target.get(field).and_then(Value::as_str);
            text.unwrap_or("?").to_owned()
        };
        let states = targets.iter();
        Ok(states
            .map(|target| (text(target, "id"), text(target, "state")))
            .collect())
    }

    /// Envoy has asked the control plane what there is.
    async fn until_synced(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < STARTS_WITHIN {
            let metrics = get(self.ports.control, "control-plane", "/metrics").await?;
            if open_polls(metrics.body()) > 0.0 {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        anyhow::bail!(
            "Envoy did not ask the control plane for its targets. Its last words:\n{}",
            self.envoy.last_words()
        );
    }
}

/// Sends `GET path` to `port` of 127.0.0.1 with this `host`, over a connection of its own, and reads the whole answer.
async fn get(port: u16, host: &str, path: &str) -> anyhow::Result<http::Response<String>> {
    let request = http::Request::get(format!("http://127.0.0.1:{port}{path}"));
    let request = request
        .header(http::header::HOST, host)
        .body(Empty::<Bytes>::new())?;
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok(http::Response::from_parts(head, text))
}

async fn say_hello(port: u16, authority: &str) -> anyhow::Result<upstream::echo::EchoResponse> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    let endpoint = endpoint.origin(format!("http://{authority}").parse()?);
    let request = EchoRequest {
        message: "hello".to_owned(),
        delay_ms: 0,
    };
    let mut client = EchoClient::new(endpoint.connect_lazy());
    Ok(client.unary(request).await?.into_inner())
}

/// The value of the gauge `holdfast_open_polls`; 0 if it is not there.
fn open_polls(metrics: &str) -> f64 {
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with("holdfast_open_polls"));
    samples
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn print_step_to_sleep(line: &str, began: u64) {
    let Ok(record) = serde_json::from_str::<Value>(line) else {
        return;
    };
    let text = |field| record.get(field).and_then(Value::as_str);
    let what = match text("event") {
        Some("draining") => "draining    Envoy is told to hold again; requests under way would end this",
        Some("confirmed") => "confirmed   every worker holds",
        Some("stopping") => "stopping    no way back",
        Some("terminating") => "terminating SIGTERM",
        Some("asleep") => "asleep      the process is gone",
        _ => return,
    };
    let at = record.get("unix_ms").and_then(Value::as_u64).unwrap_or(began);
    println!(
        "  {:>7} ms  {:<14} {what}",
        at.saturating_sub(began),
        text("target").unwrap_or("?")
    );
}

fn start_control(options: &Options, targets: &Path) -> anyhow::Result<Process> {
    let listen = format!("127.0.0.1:{}", options.ports.control);
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
    // After a start nothing is put to sleep for two leases, and the demo should not take that long.
    let env = [("HOLDFAST_LEASE_DURATION", "1s")];
    let log = options.dir.join("control-plane.log");
    Process::start(&options.control_plane(), &args.map(str::to_owned), &env, &log)
}

fn start_envoy(options: &Options, config: &Path) -> anyhow::Result<Process> {
    let config = config.display().to_string();
    // Seconds since 1970 with milliseconds, for the timeline.
    let format = "%E.%e [%l] [%n] %v";
    let args = [
        "--config-path",
        &config,
        "--concurrency",
        "2",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--component-log-level",
        "wasm:debug",
        "--log-format",
        format,
    ];
    let log = options.dir.join("envoy.log");
    Process::start(&options.envoy, &args.map(str::to_owned), &[], &log)
}

/// Waits for 200, or says why it will not come.
async fn until_ok(process: &mut Process, name: &str, port: u16, path: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < STARTS_WITHIN {
        if let Some(status) = process.exited() {
            anyhow::bail!(
                "the {name} ended with {status}. Its last words:\n{}",
                process.last_words()
            );
        }
        if get(port, "demo", path)
            .await
            .is_ok_and(|reply| reply.status() == 200)
        {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    anyhow::bail!(
        "the {name} is not ready after {STARTS_WITHIN:?}. Its last words:\n{}",
        process.last_words()
    );
}
