//! `held`: what a held request costs: memory, and CPU while nothing happens.

use std::time::Duration;

use harness::{Door, Envoy, EnvoyBuilder, Stack, Target, eventually};
use tempfile::TempDir;

use crate::args::Size;
use crate::load::{H2load, Protocol};
use crate::modules::module;
use crate::report::Report;
use crate::rounds::order;
use crate::{linear_memory, proc};

/// So many at once; Envoy's `max_concurrent_streams` of each HTTP/2 connection, and one of each HTTP/1 connection.
const STREAMS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(60);
const OWN_SHARE: f64 = 300.0;
const TO_PAUSING: f64 = 1.1;
const IDLE: f64 = 1.0;

/// What is held.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    protocol: Protocol,
    requests: u32,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Holdfast,
    /// Pauses each request and does nothing else.
    Pause,
}

/// An Envoy with one of them, before anything is held.
enum Side {
    Holdfast(Box<Stack>),
    Pause(Box<Pausing>),
}

struct Pausing {
    envoy: Envoy,
    _dir: TempDir,
}

/// What one run gave.
#[derive(Debug, Default)]
struct Run {
    /// Resident memory of Envoy, in bytes: before, and while all are held.
    before: u64,
    holding: u64,
    /// What the linear memories of all VMs have grown by, in bytes.
    linear: u64,
    /// CPU while nothing happens, in percent of a core.
    idle: f64,
}

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let http2: &[u32] = size.pick(&[1_000, 10_000, 50_000, 100_000], &[200]);
    let mut crowds: Vec<Crowd> = http2
        .iter()
        .map(|&requests| of(Protocol::Http2, requests))
        .collect();
    crowds.push(of(Protocol::Http1, size.pick(9_000, 100)));
    let quiet = size.pick(Duration::from_secs(10), Duration::from_millis(500));
    for crowd in crowds {
        let mut runs = [Vec::new(), Vec::new()];
        for round in 0..size.rounds() {
            for which in order(round, 2) {
                let filter = [Filter::Holdfast, Filter::Pause][which];
                runs[which].push(run(filter, crowd, 1, quiet).await?);
            }
        }
        add(report, crowd, &runs);
    }
    if size == Size::Quick {
        return Ok(());
    }
    let most = of(Protocol::Http2, *http2.last().expect("some"));
    let mut two_workers = Vec::new();
    for _ in 0..size.rounds() {
        two_workers.push(run(Filter::Holdfast, most, 2, quiet).await?);
    }
    idle(
        report,
        &format!("{}, two workers: CPU, Holdfast", most.shown()),
        &two_workers,
    );
    report.note("Envoy has one worker, but where two are named.");
    Ok(())
}

fn of(protocol: Protocol, requests: u32) -> Crowd {
    Crowd { protocol, requests }
}

impl Crowd {
    fn shown(self) -> String {
        let (thousands, rest) = (self.requests / 1000, self.requests % 1000);
        let count = if thousands == 0 {
            rest.to_string()
        } else {
            format!("{thousands},{rest:03}")
        };
        format!("{count} over {}", self.protocol.shown())
    }

    fn load(self, port: u16) -> H2load {
        let streams = match self.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 => STREAMS,
        };
        H2load {
            port,
            authority: "web.example.com".to_owned(),
            protocol: self.protocol,
            requests: self.requests.into(),
            connections: self.requests / streams,
            streams,
            cores: Vec::new(),
        }
    }
}

/// Memory and CPU of a fresh Envoy, because what it has once taken it seldom gives back.
async fn run(filter: Filter, crowd: Crowd, workers: u32, quiet: Duration) -> anyhow::Result<Run> {
    let side = Side::start(filter, crowd, workers).await;
    let envoy = side.envoy();
    let pid = envoy.process().pid();
    let before = settled(pid).await;
    let memories = linear_memory::sizes(pid);

    let _clients = crowd.load(envoy.port()).start()?;
    let all_held = || async { side.holds().await == u64::from(crowd.requests) };
    eventually("all are held", PATIENCE, all_held).await;
    let holding = settled(pid).await;
    let grown = linear_memory::sizes(pid);
    assert_eq!(grown.len(), memories.len(), "no VM may have come or gone");
    let idle = idle_cpu(pid, quiet).await;
    assert!(all_held().await, "all must be held to the end");
    Ok(Run {
        before,
        holding,
        linear: grown.iter().sum::<u64>() - memories.iter().sum::<u64>(),
        idle,
    })
}

/// More than any crowd is charged.
const ALL: &str = "100Gi";

impl Side {
    async fn start(filter: Filter, crowd: Crowd, workers: u32) -> Self {
        let room = crowd.requests * 2;
        let envoy = move |envoy: EnvoyBuilder| envoy.workers(workers).log_level("wasm:info");
        // Never opened: what is held stays so.
        let (web, _door) = Door::before(
            Target::http("web")
                .spec("hold.maxRequests", room)
                .spec("hold.maxBytes", ALL),
        );
        match filter {
            Filter::Holdfast => {
                let envoy = move |builder| {
                    envoy(builder)
                        .setting("limits.requests", room)
                        .setting("limits.bytes", ALL)
                };
                Self::Holdfast(Box::new(Stack::builder().target(web).envoy(envoy).start().await))
            }
            Filter::Pause => {
                let dir = tempfile::tempdir().expect("a directory");
                let builder = EnvoyBuilder::new(harness::free_port(), &[web]);
                let builder = envoy(builder).singleton(false).wasm(&module("pause"));
                let envoy = builder.start(dir.path()).await;
                Self::Pause(Box::new(Pausing { envoy, _dir: dir }))
            }
        }
    }

    fn envoy(&self) -> &Envoy {
        match self {
            Self::Holdfast(stack) => &stack.envoy,
            Self::Pause(pausing) => &pausing.envoy,
        }
    }

    /// Requests that have arrived and are not answered; with Holdfast, if it says so too.
    async fn holds(&self) -> u64 {
        let active = self.envoy().stat("http.traffic.downstream_rq_active").await;
        match self {
            Self::Holdfast(stack) => active.min(stack.envoy_holds().await),
            Self::Pause(..) => active,
        }
    }
}

/// Resident memory once it stands still.
async fn settled(pid: i32) -> u64 {
    let (mut last, mut same) = (0, 0);
    while same < 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = proc::resident(pid);
        same = if now.abs_diff(last) < 256 * 1024 {
            same + 1
        } else {
            0
        };
        last = now;
    }
    last
}

/// In percent of a core.
async fn idle_cpu(pid: i32, quiet: Duration) -> f64 {
    let (start, before) = (tokio::time::Instant::now(), proc::cpu(pid));
    tokio::time::sleep(quiet).await;
    let used = proc::cpu(pid) - before;
    100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64()
}

fn add(report: &mut Report, crowd: Crowd, [holdfast, pause]: &[Vec<Run>; 2]) {
    let what = crowd.shown();
    let count = f64::from(crowd.requests);
    let each =
        |runs: &[Run], of: fn(&Run) -> u64| runs.iter().map(of).map(|bytes| bytes as f64).collect::<Vec<_>>();
    let mb = |runs: &[Run]| {
        each(runs, |run| run.holding)
            .iter()
            .map(|bytes| bytes / 1e6)
            .collect::<Vec<_>>()
    };
    let share: Vec<f64> = each(holdfast, |run| run.linear)
        .iter()
        .map(|bytes| bytes / count)
        .collect();
    let share = report.figure(format!("{what}: the filter's own share of each"), "bytes", &share);
    for (name, runs) in [("Holdfast", holdfast), ("only pausing", pause)] {
        let empty: Vec<f64> = each(runs, |run| run.before)
            .iter()
            .map(|bytes| bytes / 1e6)
            .collect();
        report.figure(format!("{what}: Envoy's memory before, {name}"), "MB", &empty);
        let grown: Vec<f64> = each(runs, |run| run.holding.saturating_sub(run.before));
        let grown: Vec<f64> = grown.iter().map(|bytes| bytes / count).collect();
        report.figure(format!("{what}: Envoy's memory, {name}"), "MB", &mb(runs));
        report.figure(format!("{what}: of that for each, {name}"), "bytes", &grown);
    }
    let ratio = report.ratio(
        format!("{what}: Envoy's memory, Holdfast to only pausing"),
        &mb(holdfast),
        &mb(pause),
    );
    report.at_most(
        format!("{what}: the filter's own share of each"),
        OWN_SHARE,
        "bytes",
        share.median,
    );
    report.at_most(
        format!("{what}: Envoy's memory, Holdfast to only pausing"),
        TO_PAUSING,
        "ratio",
        ratio.median,
    );
    idle(report, &format!("{what}: CPU, Holdfast"), holdfast);
    let pausing: Vec<f64> = pause.iter().map(|run| run.idle).collect();
    report.figure(format!("{what}: CPU, only pausing"), "% of a core", &pausing);
}

fn idle(report: &mut Report, what: &str, runs: &[Run]) {
    let percents: Vec<f64> = runs.iter().map(|run| run.idle).collect();
    let percent = report.figure(what, "% of a core", &percents);
    report.at_most(what, IDLE, "% of a core", percent.median);
}
