//! `cargo xtask demo`: wakes two sleeping workloads through a real Envoy and shows what happened to each request.
//!
//! xtask has checked the ports and built or fetched every program; this program only starts them, with the files of
//! `local-envoy/`, and stops them when it ends.

mod files;
mod options;
mod process;
mod servers;
mod timeline;

use std::cell::Cell;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use options::Options;
use servers::Servers;
use timeline::Timeline;

/// Idle time in the demo's targets; after it they go back to sleep.
const IDLE: &str = "4s";

/// One thread: Linux ends the servers when the thread that started them ends.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let is_shown = Cell::new(false);
    let result = tokio::select! {
        // First, so that no server is started before signals are heard.
        biased;
        result = stopped(&is_shown) => result,
        result = run(&options, &is_shown) => result,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Sets `is_shown` once there is nothing left to show.
async fn run(options: &Options, is_shown: &Cell<bool>) -> anyhow::Result<()> {
    let servers = Servers::start(options, IDLE).await?;
    println!("\nEnvoy and the control plane run. Both workloads are at zero:");
    servers.print_states().await?;

    let first = wake_both(&servers, "A request to each:").await?;
    anyhow::ensure!(first.iter().all(|process| *process != 0), "no process answered");

    println!("\nThere are no more requests. After {IDLE} both workloads go back to sleep:");
    servers.watch_until_asleep(Duration::from_secs(60)).await?;

    let second = wake_both(&servers, "Once more:").await?;
    anyhow::ensure!(
        first.iter().zip(&second).all(|(a, b)| a != b),
        "the second answers must come from new processes"
    );

    if options.keep {
        servers.print_what_to_try();
        is_shown.set(true);
        std::future::pending::<()>().await;
    }
    println!("\nStopping everything.");
    Ok(())
}

/// Returns when a person or the system asks this program to end.
///
/// # Errors
/// If that is before everything `is_shown`.
async fn stopped(is_shown: &Cell<bool>) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate, mut hang_up) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    println!("\nStopping everything.");
    anyhow::ensure!(is_shown.get(), "stopped before the demo had shown everything");
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
        if let Some(step) = timeline.missing().next() {
            anyhow::bail!(
                "no log has the step `{step}` of {name}; logs are in {}",
                servers.dir.display()
            );
        }
        *process = call.process;
    }
    Ok(processes)
}
