//! `cargo xtask demo`: wakes two sleeping workloads and shows what happened, with the files of `local-envoy/`.
//!
//! Started by xtask, which has checked the ports and built everything.

mod files;
mod servers;
mod timeline;

use std::time::Duration;

use anyhow::Context as _;

use servers::Servers;
use timeline::Timeline;

/// Ports of 127.0.0.1.
#[derive(Clone, Copy, Debug, Default)]
struct Ports {
    traffic: u16,
    admin: u16,
    control: u16,
    http: u16,
    grpc: u16,
}

/// Idle time in the demo's targets; after it they go back to sleep.
const IDLE: &str = "4s";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let (ports, keep) = arguments()?;
    let servers = Servers::start(ports, IDLE).await?;
    println!("\nEnvoy and the control plane run. Both workloads are at zero:");
    servers.print_states().await?;

    let first = wake_both(&servers, "A request to each:").await?;
    anyhow::ensure!(first.iter().all(|process| *process != 0), "no process answered");

    println!("\nNobody asks any more. After {IDLE} they go back to sleep:");
    servers.watch_until_asleep(Duration::from_secs(60)).await?;

    let second = wake_both(&servers, "Once more:").await?;
    anyhow::ensure!(
        first.iter().zip(&second).all(|(a, b)| a != b),
        "the second answers must come from new processes"
    );

    if keep {
        servers.print_what_to_try();
        tokio::signal::ctrl_c().await?;
    }
    println!("\nStopping everything.");
    Ok(())
}

/// Returns the processes that answered.
async fn wake_both(servers: &Servers, title: &str) -> anyhow::Result<[u32; 2]> {
    println!("\n{title}");
    let mut processes = [0; 2];
    for (process, name) in processes.iter_mut().zip(["http", "grpc"]) {
        let call = servers
            .call(name)
            .await
            .with_context(|| format!("the request to {name}"))?;
        let timeline = Timeline::read(servers, &call).await;
        println!("\n  {}\n{timeline}", call.title);
        *process = call.process;
    }
    Ok(processes)
}

fn arguments() -> anyhow::Result<(Ports, bool)> {
    let mut ports = Ports::default();
    let mut keep = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let port = match arg.as_str() {
            "--keep" => {
                keep = true;
                continue;
            }
            "--port" => &mut ports.traffic,
            "--admin-port" => &mut ports.admin,
            "--control-port" => &mut ports.control,
            "--http-port" => &mut ports.http,
            "--grpc-port" => &mut ports.grpc,
            other => anyhow::bail!("unknown option {other}; use `cargo xtask demo --help`"),
        };
        *port = args
            .next()
            .context("a port")?
            .parse()
            .with_context(|| arg.clone())?;
    }
    Ok((ports, keep))
}
