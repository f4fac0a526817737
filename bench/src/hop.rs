//! `hop`: the same against a second proxy in the path, and against a callout for each request.

use harness::{Control, Envoy};
use tempfile::TempDir;

use crate::args::Size;
use crate::cores::Cores;
use crate::lane::{self, Lane, Run};
use crate::load::Protocol;
use crate::modules::module;
use crate::proc;
use crate::report::Report;
use crate::rounds;

/// Order of the lanes.
const NAMES: [&str; 3] = ["Holdfast", "second Envoy in the path", "callout for each request"];
const HOLDFAST: usize = 0;
const HOP: usize = 1;
const CALLOUT: usize = 2;

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    // Short runs and many of them: what disturbs the machine lasts about a second.
    let requests = size.pick(8_000, 1_000);
    // Envoys are started anew several times: where things come to lie in memory is a part of the noise too.
    let (generations, rounds) = size.pick((3, 8), (1, 1));
    let mut runs: [Vec<Vec<Took>>; 2] = [vec![Vec::new(); 3], vec![Vec::new(); 3]];
    for _ in 0..generations {
        let field = Field::start().await?;
        for (protocol, runs) in Protocol::BOTH.into_iter().zip(&mut runs) {
            for index in 0..NAMES.len() {
                field.run(index, protocol, requests / 4).await?;
            }
            for round in 0..rounds {
                for index in rounds::order(round, NAMES.len()) {
                    runs[index].push(field.run(index, protocol, requests).await?);
                }
            }
        }
    }
    for (protocol, runs) in Protocol::BOTH.into_iter().zip(&runs) {
        tell(report, protocol.shown(), runs);
    }
    report.note(
        "CPU of the proxies is that of all threads of all Envoys in the path. All of them share one core; the load, the \
         workload and the control plane share the other.",
    );
    Ok(())
}

/// One run, and what the control plane took for a request meanwhile, in µs.
#[derive(Clone, Copy, Debug)]
struct Took {
    run: Run,
    control: f64,
}

/// Everything that runs. All lanes have the same control plane.
struct Field {
    cores: Cores,
    lanes: Vec<Lane>,
    control: Control,
    _workload: Envoy,
    _dir: TempDir,
}

impl Field {
    async fn start() -> anyhow::Result<Self> {
        let cores = Cores::here();
        let dir = tempfile::Builder::new().prefix("holdfast-bench-").tempdir()?;
        let path = dir.path();
        let workload = lane::workload(path, &cores).await;
        let control = lane::control(path, &cores, 1).await?;
        let (port, told) = (workload.port(), control.port());

        let holdfast = lane::builder("holdfast", told, port).start(path).await;
        lane::knows(&holdfast, 1).await?;
        let back = lane::without_filter(lane::builder("back", told, port));
        let back = back.start(path).await;
        let front = lane::without_filter(lane::builder("front", told, back.port()));
        let front = front.start(path).await;
        let callout = lane::with_module(lane::builder("callout", told, port), &module("callout"));
        let callout = callout.start(path).await;

        let mut lanes: Vec<Lane> = NAMES
            .into_iter()
            .zip([holdfast, front, callout])
            .map(|(name, envoy)| Lane::new(name, envoy))
            .collect();
        lanes[HOP].behind = Some(back);
        lanes.iter().for_each(|lane| cores.put_aside(&lane.pids()));
        Ok(Self {
            cores,
            lanes,
            control,
            _workload: workload,
            _dir: dir,
        })
    }

    /// Loads one lane, and sees that each request made the way that the lane is named for.
    async fn run(&self, index: usize, protocol: Protocol, requests: u64) -> anyhow::Result<Took> {
        let lane = &self.lanes[index];
        let control = self.control.process().pid();
        let before = (self.asked(lane).await, passed_on(lane).await, proc::cpu(control));
        let run = lane.run(&self.cores, protocol, requests).await?;
        let cpu = proc::cpu(control) - before.2;
        let (asked, passed_on) = (
            self.asked(lane).await - before.0,
            passed_on(lane).await - before.1,
        );
        match index {
            CALLOUT => anyhow::ensure!(asked == requests, "{asked} callouts for {requests} requests"),
            HOP => anyhow::ensure!(
                passed_on == requests,
                "{passed_on} of {requests} took the second hop"
            ),
            // A report and a poll now and then.
            _ => anyhow::ensure!(asked < 50, "Holdfast called the control plane {asked} times"),
        }
        Ok(Took {
            run,
            control: cpu.as_secs_f64() * 1e6 / requests as f64,
        })
    }

    /// Calls that the lane has made to the control plane and that were answered with 200 or 204.
    async fn asked(&self, lane: &Lane) -> u64 {
        lane.front.stat("cluster.holdfast.upstream_rq_2xx").await
    }
}

/// Requests that the second proxy has sent on.
async fn passed_on(lane: &Lane) -> u64 {
    match &lane.behind {
        Some(envoy) => envoy.stat("cluster.web.upstream_rq_200").await,
        None => 0,
    }
}

fn tell(report: &mut Report, protocol: &str, runs: &[Vec<Took>]) {
    let of = |index: usize, what: fn(&Took) -> f64| runs[index].iter().map(what).collect::<Vec<f64>>();
    let cpu = |index| of(index, |took| took.run.envoys);
    let cpu_with_control = |index| of(index, |took| took.run.envoys + took.control);
    for (index, name) in NAMES.into_iter().enumerate() {
        report.figure(
            format!("{protocol}: {name}"),
            "requests/s",
            &of(index, |took| took.run.per_second),
        );
        report.figure(
            format!("{protocol}: {name}, CPU of the proxies"),
            "µs/request",
            &cpu(index),
        );
    }
    let what = "CPU of the control plane, with a callout for each request";
    report.figure(
        format!("{protocol}: {what}"),
        "µs/request",
        &of(CALLOUT, |took| took.control),
    );

    // Throughput for a second of CPU is one by the CPU for a request.
    let of_hop = report.ratio(
        format!("{protocol}: throughput per CPU, to the second hop's"),
        &cpu(HOP),
        &cpu(HOLDFAST),
    );
    let of_callout = report.ratio(
        format!("{protocol}: throughput per CPU, to the callout's"),
        &cpu(CALLOUT),
        &cpu(HOLDFAST),
    );
    report.ratio(
        format!("{protocol}: throughput per CPU, to the callout's, control plane included"),
        &cpu_with_control(CALLOUT),
        &cpu_with_control(HOLDFAST),
    );
    report.at_least(
        format!("{protocol}: throughput per CPU, to that of a second hop"),
        1.5,
        "ratio",
        of_hop.median,
    );
    report.at_least(
        format!("{protocol}: throughput per CPU, to that of a callout for each request"),
        2.0,
        "ratio",
        of_callout.median,
    );
}
