//! `warm`: what the filter costs a request to a workload that is up.

use std::time::Duration;

use harness::{Control, Envoy, eventually};
use tempfile::TempDir;

use crate::args::Size;
use crate::cores::Cores;
use crate::host_calls;
use crate::lane::{self, Lane, Run};
use crate::load::Protocol;
use crate::modules::module;
use crate::report::Report;
use crate::rounds;

/// Targets known, in the lanes with Holdfast.
const TARGETS: [usize; 3] = [1, 100, 10_000];

/// Order of the lanes.
const ALONE: usize = 0;
const EMPTY: usize = 1;
const ASKS: usize = 2;
const HOLDFAST: [usize; 3] = [3, 4, 5];
const LANES: usize = 7;

/// What a filter takes that only asks where a request goes.
const ASKING: &str = "filter that only asks for the cluster";

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let targets = size.pick(TARGETS, [1, 10, 100]);
    // Short runs and many of them: what disturbs the machine lasts about a second.
    let requests = size.pick(8_000, 1_000);
    // Envoys are started anew several times: where things come to lie in memory is a part of the noise too.
    let (generations, rounds) = size.pick((3, 10), (1, 1));
    let mut runs: [Vec<Vec<Run>>; 2] = [vec![Vec::new(); LANES], vec![Vec::new(); LANES]];
    for _ in 0..generations {
        let field = Field::start(targets).await?;
        for (protocol, runs) in Protocol::BOTH.into_iter().zip(&mut runs) {
            for lane in &field.lanes {
                lane.run(&field.cores, protocol, requests / 4).await?;
            }
            let held = field.held().await;
            for round in 0..rounds {
                for index in rounds::order(round, field.lanes.len()) {
                    let run = field.lanes[index].run(&field.cores, protocol, requests).await?;
                    runs[index].push(run);
                }
            }
            anyhow::ensure!(field.held().await == held, "a warm request was held");
        }
        field.was_used().await;
    }
    for (protocol, runs) in Protocol::BOTH.into_iter().zip(&runs) {
        tell(report, protocol.shown(), targets, runs);
    }
    let calls = host_calls::of_a_warm_request()?;
    report.at_most(
        "host calls of a warm request, found by cluster",
        2.0,
        "calls",
        calls.by_cluster,
    );
    report.at_most(
        "host calls of a warm request, found by host",
        2.0,
        "calls",
        calls.by_host,
    );
    report.note(
        "Host calls are counted by a host for tests (`wasm-filter/tests/host.mjs`), of the same module. That a request that \
         passes allocates nothing in `hold` is guarded by `crates/hold/tests/allocations.rs`.",
    );
    Ok(())
}

/// Everything that runs.
struct Field {
    cores: Cores,
    lanes: Vec<Lane>,
    controls: Vec<Control>,
    _workload: Envoy,
    _dir: TempDir,
}

impl Field {
    async fn start(targets: [usize; 3]) -> anyhow::Result<Self> {
        let cores = Cores::here();
        let dir = tempfile::Builder::new().prefix("holdfast-bench-").tempdir()?;
        let path = dir.path();
        let workload = lane::workload(path, &cores).await;
        let port = workload.port();
        let mut controls = Vec::new();
        for targets in targets {
            controls.push(lane::control(path, &cores, targets).await?);
        }
        let first = controls[0].port();
        let mut lanes = Vec::new();

        let alone = lane::without_filter(lane::builder("alone", first, port));
        lanes.push(Lane::new("Envoy alone", alone.start(path).await));
        let empty = lane::with_module(lane::builder("empty", first, port), &module("empty"));
        lanes.push(Lane::new("empty filter", empty.start(path).await));
        let asks = lane::with_module(lane::builder("asks", first, port), &module("ask.shipped"));
        lanes.push(Lane::new(ASKING, asks.start(path).await));
        for (control, targets) in controls.iter().zip(targets) {
            let builder = lane::builder(&format!("holdfast-{targets}"), control.port(), port);
            let envoy = builder.start(path).await;
            lane::knows(&envoy, targets).await?;
            lanes.push(Lane::new(shown(targets), envoy));
        }
        let by_host = lane::builder_by_host("by-host", first, port).start(path).await;
        lane::knows(&by_host, targets[0]).await?;
        lanes.push(Lane::new(
            format!("{}, found by host", shown(targets[0])),
            by_host,
        ));
        lanes.iter().for_each(|lane| cores.put_aside(&lane.pids()));
        Ok(Self {
            cores,
            lanes,
            controls,
            _workload: workload,
            _dir: dir,
        })
    }

    /// Requests that were ever held.
    async fn held(&self) -> u64 {
        let mut held = 0;
        for lane in &self.lanes {
            held += lane.front.stat("wasmcustom.holdfast.requests_held_total").await;
        }
        held
    }

    /// Panics unless each control plane was told that requests were matched to its target.
    async fn was_used(&self) {
        for control in &self.controls {
            eventually(
                "the proxy has reported its requests",
                Duration::from_secs(5),
                || async {
                    let web = control.target("web").await;
                    !web["conditions"].to_string().contains("NeverMatched")
                },
            )
            .await;
        }
    }
}

fn shown(targets: usize) -> String {
    match targets {
        1 => "Holdfast, 1 target".to_owned(),
        targets => format!("Holdfast, {} targets", grouped(targets)),
    }
}

fn grouped(number: usize) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}

fn tell(report: &mut Report, protocol: &str, targets: [usize; 3], runs: &[Vec<Run>]) {
    let of = |index: usize, what: fn(&Run) -> f64| runs[index].iter().map(what).collect::<Vec<f64>>();
    let rate = |index| of(index, |run| run.per_second);
    let cpu = |index| of(index, |run| run.worker);
    let more = |index, than| -> Vec<f64> {
        cpu(index)
            .iter()
            .zip(cpu(than))
            .map(|(cpu, than)| cpu - than)
            .collect()
    };

    let lanes = ["Envoy alone", "empty filter", ASKING].map(str::to_owned);
    let lanes = lanes
        .into_iter()
        .chain(targets.map(shown))
        .chain(["Holdfast, found by host".to_owned()]);
    let lanes: Vec<String> = lanes.collect();
    for (index, lane) in lanes.iter().enumerate() {
        report.figure(format!("{protocol}: {lane}"), "requests/s", &rate(index));
        report.figure(
            format!("{protocol}: {lane}, CPU of the worker"),
            "µs/request",
            &cpu(index),
        );
    }
    let most = grouped(targets[2]);
    let mut least = f64::INFINITY;
    for (index, lane) in lanes.iter().enumerate().skip(ASKS) {
        let ratio = report.ratio(
            format!("{protocol}: {lane}, throughput to the empty filter's"),
            &rate(index),
            &rate(EMPTY),
        );
        report.ratio(
            format!("{protocol}: {lane}, CPU to the empty filter's"),
            &cpu(index),
            &cpu(EMPTY),
        );
        if HOLDFAST.contains(&index) {
            least = least.min(ratio.median);
        }
    }
    report.at_least(
        format!("{protocol}: throughput, to the empty filter's, whatever the number of targets"),
        0.97,
        "ratio",
        least,
    );
    let [one, .., many] = HOLDFAST;
    let flat = report.ratio(
        format!("{protocol}: throughput with {most} targets to that with 1"),
        &rate(many),
        &rate(one),
    );
    report.at_least(
        format!("{protocol}: throughput with {most} targets, to that with 1"),
        0.97,
        "ratio",
        flat.median,
    );
    report.figure(
        format!("{protocol}: CPU that the empty filter adds"),
        "µs/request",
        &more(EMPTY, ALONE),
    );
    report.figure(
        format!("{protocol}: CPU that Holdfast adds, {most} targets"),
        "µs/request",
        &more(many, ALONE),
    );
    let all: Vec<f64> = runs.iter().flatten().map(|run| run.busy).collect();
    report.figure(
        format!("{protocol}: share of its core that the Envoy under load took"),
        "ratio",
        &all,
    );
}
