//! `release`: from ready to the last answer of many held requests, and their order.

mod crowd;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use harness::{Client, Door, Journal, Process, Stack, Target, binaries, eventually, unix_ms};

use crate::args::Size;
use crate::report::Report;
use crate::rounds::order;
use crowd::{Answered, connect, one_after_the_other, send_in_order};

const TO_DIRECT: f64 = 1.3;
/// As many streams as Envoy takes on one connection.
const STREAMS: usize = 100;
/// Connections whose requests are sent together; the next are sent once these are held.
const WAVE: usize = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// What the workload can take, and what a request costs it.
#[derive(Clone, Copy)]
struct Work {
    /// It answers 503 beyond.
    at_once: usize,
    delay: &'static str,
}

const LONG: Work = Work {
    at_once: 100,
    delay: "20ms",
};
const SHORT: Work = Work {
    at_once: 50,
    delay: "5ms",
};

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let requests = size.pick(10_000, 1_000);
    for (work, workers) in [(LONG, 1), (LONG, 2), (SHORT, 1)] {
        compare(report, size.rounds(), requests, work, workers).await;
    }
    let requests = size.pick(1_000, 200);
    let overtaken = in_order(requests).await;
    let what = format!("{requests} let go one at a time, one worker: overtaken");
    report.figure(&what, "requests", &[overtaken]);
    report.at_most(&what, 0.0, "requests", overtaken);
    report.note(
        "Ready is the moment at which the control plane publishes it (its log, in whole milliseconds). What lies before, until it \
         has seen that the workload accepts connections, is a part of `wake`.",
    );
    Ok(())
}

async fn compare(report: &mut Report, rounds: usize, requests: usize, work: Work, workers: u32) {
    let directly = Direct::start(work).await;
    let (mut held, mut direct, mut from_door) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        for which in order(round, 2) {
            if which == 0 {
                let run = release(requests, work, workers).await;
                held.push(run.from_ready.as_secs_f64() * 1000.0);
                from_door.push(run.from_door.as_secs_f64() * 1000.0);
            } else {
                direct.push(directly.run(requests).await.as_secs_f64() * 1000.0);
            }
        }
    }
    let Work { at_once, delay } = work;
    let plural = if workers == 1 { "worker" } else { "workers" };
    let what = format!("{requests} of {delay}, {at_once} at once, {workers} {plural}");
    report.figure(format!("{what}: from ready to the last answer"), "ms", &held);
    report.figure(format!("{what}: from open to the last answer"), "ms", &from_door);
    report.figure(format!("{what}: sent directly"), "ms", &direct);
    let ratio = report.ratio(format!("{what}: released to direct"), &held, &direct);
    report.at_most(
        format!("{what}: released to direct"),
        TO_DIRECT,
        "ratio",
        ratio.median,
    );
}

/// What one release took.
struct Released {
    from_door: Duration,
    from_ready: Duration,
}

/// Holds, opens, and sees all answered.
async fn release(requests: usize, work: Work, workers: u32) -> Released {
    let (stack, door) = asleep(work, requests, workers).await;
    let connections = connect(&stack.client("web"), requests / STREAMS).await;
    let mut calls = Vec::new();
    for wave in connections.chunks(WAVE) {
        for client in wave {
            calls.extend(send_in_order(client, calls.len(), STREAMS, work.delay));
        }
        hold(&stack, calls.len()).await;
    }
    let start = Instant::now();
    let _open = door.open().await;
    let Answered { last, replies } = crowd::answers(calls).await;
    let (from_door, wall) = (
        last - start,
        unix_ms() - u64::try_from(last.elapsed().as_millis()).expect("short"),
    );

    for reply in &replies {
        assert_eq!(reply.status, 200, "{workers} workers: {reply:?}");
        assert!(reply.held().is_some(), "must have been held: {reply:?}");
    }
    let published = stack.control.events().seen.into_iter();
    let ready = published
        .filter(|event| event.event == "ready")
        .map(|event| event.unix_ms)
        .min();
    let ready = ready.expect("the control plane says when it was ready");
    let arrived = arrived(&stack.journal("web"), requests);
    if workers == 1 {
        check_waves(&arrived, work.at_once);
    }
    Released {
        from_door,
        from_ready: Duration::from_millis(wall.saturating_sub(ready)),
    }
}

async fn asleep(work: Work, requests: usize, workers: u32) -> (Stack, Door) {
    let at_once = work.at_once.to_string();
    let web = Target::http("web")
        .upstream(["--max-concurrency", &at_once])
        .spec("release.concurrencyPerEndpoint", work.at_once)
        .spec("hold.maxRequests", requests)
        .spec("hold.maxBytes", "100Gi");
    let (web, door) = Door::before(web);
    let stack = Stack::builder()
        .target(web)
        .envoy(move |envoy| envoy.workers(workers).log_level("wasm:info"))
        .control(|control| control.args(["--log-format", "json"]));
    (stack.start().await, door)
}

async fn hold(stack: &Stack, requests: usize) {
    eventually("all that were sent are held", PATIENCE, || async {
        stack.envoy_holds().await == requests as u64
    })
    .await;
}

/// The ids in the order of arrival at the workload: each once, and none refused.
fn arrived(journal: &Journal, requests: usize) -> Vec<usize> {
    let seen = journal.requests();
    assert!(
        seen.iter().all(|request| !request.refused),
        "the release must stay within what the workload takes"
    );
    let id = |request: &&upstream::Request| request.id.as_ref()?.parse().ok();
    let ids: Vec<usize> = seen.iter().filter_map(id).collect();
    let each: BTreeSet<usize> = ids.iter().copied().collect();
    assert!(
        ids.len() == requests && each.into_iter().eq(0..requests),
        "each must arrive, and once"
    );
    ids
}

/// Within a wave many connections send at once, so their order is not known. But all of a wave were held before any of the
/// next: what is left of it when a later one arrives has been let go already.
fn check_waves(ids: &[usize], at_once: usize) {
    let wave = |id: usize| id / (WAVE * STREAMS);
    let mut left: Vec<usize> = vec![0; ids.len().div_ceil(WAVE * STREAMS)];
    for id in ids {
        left[wave(*id)] += 1;
    }
    for id in ids {
        left[wave(*id)] -= 1;
        let before: usize = left[..wave(*id)].iter().sum();
        assert!(
            before < at_once,
            "{before} that came before {id} have not arrived"
        );
    }
}

/// How many requests arrive after one that was sent later, if the workload takes one at a time and there is one worker.
async fn in_order(requests: usize) -> f64 {
    let work = Work {
        at_once: 1,
        delay: "0ms",
    };
    let (stack, door) = asleep(work, requests, 1).await;
    let connections = connect(&stack.client("web"), requests / STREAMS).await;
    let mut calls = Vec::new();
    for client in &connections {
        calls.extend(send_in_order(client, calls.len(), STREAMS, work.delay));
        hold(&stack, calls.len()).await;
    }
    let _open = door.open().await;
    let Answered { replies, .. } = crowd::answers(calls).await;
    assert!(
        replies.iter().all(|reply| reply.status == 200),
        "all must be answered"
    );
    let ids = arrived(&stack.journal("web"), requests);
    let mut latest = 0;
    let overtaken = ids.into_iter().filter(|id| {
        latest = latest.max(*id);
        *id < latest
    });
    overtaken.count() as f64
}

/// The same workload, with nothing in front of it.
struct Direct {
    connections: Vec<Client>,
    work: Work,
    _upstream: Process,
    _dir: tempfile::TempDir,
}

impl Direct {
    async fn start(work: Work) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = harness::free_port();
        let (http, at_once) = (format!("127.0.0.1:{port}"), work.at_once.to_string());
        let journal = dir.path().join("journal");
        let args = [
            "--http",
            &http,
            "--grpc",
            "127.0.0.1:0",
            "--max-concurrency",
            &at_once,
            "--journal",
            &journal.to_string_lossy(),
        ];
        let args = args.map(str::to_owned);
        let upstream = Process::start(
            "direct",
            &binaries::upstream(),
            &args,
            &[],
            &dir.path().join("log"),
        );
        let client = Client::new(port, "web.example.com");
        eventually("the workload answers", PATIENCE, || async {
            client.get("/hello").try_send().await.is_ok()
        })
        .await;
        Self {
            connections: connect(&client, work.at_once).await,
            work,
            _upstream: upstream,
            _dir: dir,
        }
    }

    /// As many connections as the workload takes requests at once, on each one request after the other.
    async fn run(&self, requests: usize) -> Duration {
        let start = Instant::now();
        let last = one_after_the_other(&self.connections, requests, self.work.delay).await;
        last - start
    }
}
