//! `burst`: a step of load, from nothing to 3,000 requests a second, on a target that takes a second to start.
//!
//! The load is open: a request is sent when it is due, whatever became of those before it, and its time counts from then. So a
//! server that stalls is not asked less.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use harness::{Client, Stack, Target};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::args::Size;
use crate::report::Report;
use crate::spread::percentile;

/// Requests a second.
const RATE: u32 = 3000;
const START_DELAY: Duration = Duration::from_secs(1);
/// HTTP/2, of 100 streams each: more than the requests that come while the target starts.
const CONNECTIONS: usize = 64;
/// Longer than a request may take, and shorter than it is held for at most.
const WITHIN: Duration = Duration::from_secs(30);

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let seconds = size.pick(10, 1);
    let (mut longest, mut late, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let (mut start, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds() {
        let run = burst(RATE * seconds).await?;
        errors.push(run.errors as f64);
        start.push(run.start_ms);
        longest.push(percentile(&run.answers_ms, 1.0));
        let after = run.answers_ms.get(run.answers_ms.len() / 2..).unwrap_or_default();
        p99.push(percentile(after, 0.99));
        late.push(percentile(&run.late_ms, 1.0));
    }
    let over: Vec<f64> = longest
        .iter()
        .zip(&start)
        .map(|(longest, start)| longest - start)
        .collect();
    report.figure("the target's start, until it accepts connections", "ms", &start);
    report.figure("longest answer, from when it was due", "ms", &longest);
    let over = report.figure("longest answer less the start", "ms", &over);
    report.figure("99th percentile of the second half", "ms", &p99);
    report.figure("the client itself sent late, at most", "ms", &late);
    report.at_most(
        "longest answer less the start, of all runs",
        1500.0,
        "ms",
        over.max,
    );
    let errors = report.figure("not answered, or not with 200", "requests", &errors);
    report.at_most("errors, the most of all runs", 0.0, "requests", errors.max);
    report.note(format!(
        "{} requests in {seconds} s, {CONNECTIONS} HTTP/2 connections, `hold.maxRequests` 10,000 (about {} are held in the first second; \
         the default is 1,000), `release.concurrencyPerEndpoint` 100.",
        RATE * seconds,
        RATE
    ));
    Ok(())
}

struct Run {
    start_ms: f64,
    /// Requests that were not answered with 200.
    errors: usize,
    /// Of the others, in the order in which they were due.
    answers_ms: Vec<f64>,
    /// By how much each was sent later than it was due.
    late_ms: Vec<f64>,
}

async fn burst(requests: u32) -> anyhow::Result<Run> {
    let delay = format!("{}ms", START_DELAY.as_millis());
    let web = Target::http("web")
        .upstream(["--start-delay", &delay])
        .spec("hold.maxRequests", 10_000)
        .spec("hold.maxBytes", "100Gi");
    let stack = Stack::builder()
        .target(web)
        .envoy(|envoy| envoy.log_level("wasm:info"))
        .start()
        .await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(stack.client("web").http2().await);
    }
    let mut calls = JoinSet::new();
    let (began, period) = (Instant::now(), Duration::from_secs(1) / RATE);
    for (index, client) in (0..requests).zip(clients.iter().cycle()) {
        let due = began + period * index;
        // The timer is as coarse as a millisecond: what is due by then is sent at once.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        let call = client.get("/");
        calls.spawn(async move {
            let late = due.elapsed();
            let reply = timeout(WITHIN, call.try_send()).await.context("no answer")??;
            anyhow::Ok((index, reply.status, due.elapsed(), late))
        });
    }
    let (mut answers, mut errors) = (Vec::new(), 0);
    while let Some(answer) = calls.join_next().await {
        match answer? {
            Ok((index, 200, took, late)) => answers.push((index, took, late)),
            wrong => {
                errors += 1;
                eprintln!("bench: burst: {wrong:?}");
            }
        }
    }
    ensure!(
        answers.len() + errors == requests as usize,
        "every request must be counted"
    );
    answers.sort_by_key(|(index, ..)| *index);
    let journal = stack.journal("web");
    let first = |found: &dyn Fn(&upstream::Event) -> bool| {
        let record = journal.0.iter().find(|record| found(&record.event));
        record.map(|record| record.unix_us as f64 / 1000.0)
    };
    let accepts = first(&|event| matches!(event, upstream::Event::Ready { .. })).context("never ready")?;
    let started = first(&|event| matches!(event, upstream::Event::Start { .. })).context("never started")?;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(Run {
        start_ms: accepts - started,
        errors,
        answers_ms: answers.iter().map(|(_, took, _)| ms(*took)).collect(),
        late_ms: answers.iter().map(|(.., late)| ms(*late)).collect(),
    })
}
