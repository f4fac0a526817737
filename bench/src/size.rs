//! `size`: the module's size, and the start of its VM.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::{Client, Control, Envoy, EnvoyBuilder, binaries};

use crate::args::Size;
use crate::cores::Cores;
use crate::lane;
use crate::modules::module;
use crate::proc;
use crate::report::Report;
use crate::rounds;

/// The most that the module may weigh, in bytes, as `xtask/src/dist/mod.rs` has it.
const BYTES_MAX: f64 = 400_000.0;
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Kinds of filter, in the order of the lanes.
const FILTERS: [&str; 4] = [
    "without a filter",
    "empty filter",
    "Holdfast without the singleton service",
    "Holdfast",
];
const NONE: usize = 0;
const EMPTY: usize = 1;
const ELECTED: usize = 2;
const HOLDFAST: usize = 3;

/// What is started: each with each kind of filter.
const WORKERS: [u32; 2] = [1, 9];

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(binaries::wasm())?.len() as f64;
    report.at_most("bytes of holdfast.wasm", BYTES_MAX, "bytes", bytes);
    report.figure("bytes of holdfast.wasm", "bytes", &[bytes]);
    let empty = std::fs::metadata(module("empty"))?.len() as f64;
    report.figure(
        "bytes of the empty filter, with names of functions",
        "bytes",
        &[empty],
    );

    let cores = Cores::here();
    let dir = tempfile::Builder::new().prefix("holdfast-bench-").tempdir()?;
    let workload = lane::workload(dir.path(), &cores).await;
    let control = lane::control(dir.path(), &cores, 1).await?;
    let mut starts: [[Vec<Start>; FILTERS.len()]; WORKERS.len()] = Default::default();
    // One that does not count: it reads Envoy and modules from the disk.
    for round in 0..=size.rounds() {
        for index in rounds::order(round, WORKERS.len() * FILTERS.len()) {
            let (many, filter) = (index / FILTERS.len(), index % FILTERS.len());
            let builder = of_kind(filter, &control, &workload).workers(WORKERS[many]);
            let start = start(builder, dir.path()).await?;
            ensure!(
                (start.vms > 0) == (filter != NONE),
                "{} VMs {}",
                start.vms,
                FILTERS[filter]
            );
            if round > 0 {
                starts[many][filter].push(start);
            }
        }
    }
    tell(report, &starts);
    Ok(())
}

fn of_kind(filter: usize, control: &Control, workload: &Envoy) -> EnvoyBuilder {
    let builder = lane::builder(&format!("size-{filter}"), control.port(), workload.port());
    match filter {
        NONE => lane::without_filter(builder),
        EMPTY => lane::with_module(builder, &module("empty")),
        ELECTED => builder.singleton(false),
        _ => builder,
    }
}

/// One start of Envoy.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// Until `/ready` says so, in ms.
    ready: f64,
    /// Until a request is answered, in ms.
    answered: f64,
    /// CPU of the process until then, in ms.
    cpu: f64,
    /// VMs made until then, those included that were thrown away.
    vms: u64,
}

async fn start(builder: EnvoyBuilder, dir: &Path) -> anyhow::Result<Start> {
    let begin = Instant::now();
    let envoy = builder.launch(dir);
    answers(&envoy.admin(), "/ready", begin).await?;
    let ready = begin.elapsed();
    answers(&envoy.client("web.example.com"), "/", begin).await?;
    let (answered, cpu) = (begin.elapsed(), proc::cpu(envoy.process().pid()));
    let vms = envoy.stat("wasm.envoy.wasm.runtime.v8.created").await;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Start {
        ready: ms(ready),
        answered: ms(answered),
        cpu: ms(cpu),
        vms,
    })
}

/// Asks until the answer is 200.
async fn answers(client: &Client, path: &str, begin: Instant) -> anyhow::Result<()> {
    while begin.elapsed() < STARTS_WITHIN {
        let reply = client.get(path).try_send().await;
        if reply.is_ok_and(|reply| reply.status == 200) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    None.with_context(|| format!("no answer to {path} within {STARTS_WITHIN:?}"))
}

fn tell(report: &mut Report, starts: &[[Vec<Start>; FILTERS.len()]; WORKERS.len()]) {
    let of = |many: usize, filter: usize, what: fn(&Start) -> f64| -> Vec<f64> {
        starts[many][filter].iter().map(what).collect()
    };
    let less = |of: Vec<f64>, than: Vec<f64>| -> Vec<f64> {
        of.iter().zip(than).map(|(of, than)| of - than).collect()
    };
    for (filter, name) in FILTERS.into_iter().enumerate() {
        report.figure(
            format!("start to ready, one worker, {name}"),
            "ms",
            &of(0, filter, |start| start.ready),
        );
        report.figure(
            format!("start to first answer, one worker, {name}"),
            "ms",
            &of(0, filter, |start| start.answered),
        );
        report.figure(
            format!("CPU until then, one worker, {name}"),
            "ms",
            &of(0, filter, |start| start.cpu),
        );
    }
    for filter in [EMPTY, ELECTED, HOLDFAST] {
        let name = FILTERS[filter];
        report.figure(
            format!("VMs made, one worker, {name}"),
            "VMs",
            &of(0, filter, |start| start.vms as f64),
        );
        let all = less(of(0, filter, |start| start.cpu), of(0, NONE, |start| start.cpu));
        report.figure(
            format!("CPU of the filter's start, one worker, {name}"),
            "ms",
            &all,
        );
        let workers = f64::from(WORKERS[1] - WORKERS[0]);
        let further = |filter| less(of(1, filter, |start| start.cpu), of(0, filter, |start| start.cpu));
        let each: Vec<f64> = less(further(filter), further(NONE))
            .iter()
            .map(|ms| ms / workers)
            .collect();
        report.figure(
            format!("CPU of the VM of each further worker, {name}"),
            "ms",
            &each,
        );
    }
}
