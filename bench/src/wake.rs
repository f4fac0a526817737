//! `wake`: from the moment the workload accepts connections to the first byte at the client, in parts.
//!
//! Everything is as it ships, and each server says by the same clock when its part was done: the workload's journal, the
//! control plane's log, Envoy's log. The local backend starts a real process each time.

use std::time::{Duration, SystemTime};

use anyhow::ensure;
use harness::{Stack, Target};
use upstream::Event;

use crate::args::Size;
use crate::report::Report;
use crate::spread::percentile;

/// The steps of a wake-up after the workload accepts connections, in order: what is over, and which program says so.
const PARTS: [(&str, &str); 5] = [
    ("detect", "until the control plane has seen it ready"),
    (
        "publish",
        "until the new state is in what the open polls are answered with",
    ),
    (
        "relay",
        "until the worker's confirm has reached the workload: poll answered, shared data written, gate rung",
    ),
    ("confirm", "until the worker has had the answer"),
    ("release", "until the first byte is at the client"),
];

/// Lines are written a moment after the fact.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// Measures.
pub(crate) async fn measure(size: Size, report: &mut Report) -> anyhow::Result<()> {
    let fast = cold_starts(size.pick(10, 1), size.pick(20, 3), Duration::ZERO).await?;
    report.figure(
        "start of the process, until it accepts connections",
        "ms",
        &fast.start,
    );
    for ((name, what), runs) in PARTS.iter().zip(&fast.parts) {
        report.figure(format!("{name}: {what}"), "ms", runs);
    }
    let median = report
        .figure(
            "all: accepts connections to first byte at the client",
            "ms",
            &fast.total,
        )
        .median;
    let p99 = percentile(&fast.total, 0.99);
    report.at_most("accepts connections to first byte, median", 5.0, "ms", median);
    report.at_most(
        "accepts connections to first byte, 99th percentile",
        25.0,
        "ms",
        p99,
    );

    let slow = cold_starts(1, size.pick(40, 1), Duration::from_secs(1)).await?;
    report.figure(
        "detect, of a process that takes a second to start",
        "ms",
        &slow.parts[0],
    );
    report.figure(
        "all, of a process that takes a second to start",
        "ms",
        &slow.total,
    );
    Ok(())
}

/// What some wake-ups took, in milliseconds.
#[derive(Default)]
struct Wakes {
    start: Vec<f64>,
    parts: [Vec<f64>; 5],
    total: Vec<f64>,
}

/// Wakes `targets` targets one after the other, `rounds` times. Between two rounds all of them fall asleep; within one none
/// does, so nothing else happens while one is woken.
async fn cold_starts(rounds: usize, targets: usize, start_delay: Duration) -> anyhow::Result<Wakes> {
    let delay = format!("{}ms", start_delay.as_millis());
    let idle = Duration::from_secs(2) + start_delay * u32::try_from(targets)?;
    let mut stack = Stack::builder()
        .target(Target::http("first"))
        // Nothing is put to sleep in the first two leases.
        .control(|control| control.args(["--log-format", "json", "--lease-duration", "1s"]))
        .envoy(|envoy| envoy.args(["--log-format", "%E.%f %v"]));
    let names: Vec<String> = (0..targets).map(|index| format!("web-{index}")).collect();
    for name in &names {
        let idle = format!("{}ms", idle.as_millis());
        stack = stack.target(Target::http(name).idle(&idle).upstream(["--start-delay", &delay]));
    }
    let stack = stack.start().await;
    // In the first moments of an Envoy its VMs ring each other for nothing yet, and look at each tick (100 ms).
    stack.client("first").get("/").send().await;
    let mut out = Wakes::default();
    for round in 0..rounds {
        for name in &names {
            stack.control.wait_for(name, "asleep").await;
        }
        for name in &names {
            let sent = unix_us();
            let answer = stack.client(name).get("/").open().await?;
            let answered = unix_us();
            ensure!(answer.status == 200, "{name}, round {round}: {}", answer.status);
            ensure!(
                answer.headers.contains_key("server-timing"),
                "{name}, round {round}: was not held"
            );
            answer.finish().await?;
            out.add(Times::read(&stack, name, sent).await?, answered);
        }
    }
    Ok(out)
}

impl Wakes {
    fn add(&mut self, times: Times, answered: u64) {
        let Times {
            started,
            accepts,
            ready,
            published,
            asked,
            confirmed,
        } = times;
        self.start.push(ms(started, accepts));
        let steps = [accepts, ready, published, asked, confirmed, answered];
        for (part, step) in self.parts.iter_mut().zip(steps.windows(2)) {
            part.push(ms(step[0], step[1]));
        }
        self.total.push(ms(accepts, answered));
    }
}

/// When each step of one wake-up was over, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Times {
    started: u64,
    accepts: u64,
    ready: u64,
    published: u64,
    asked: u64,
    confirmed: u64,
}

impl Times {
    /// Reads what was written down after `sent`, and again until all of it is there.
    async fn read(stack: &Stack, name: &str, sent: u64) -> anyhow::Result<Self> {
        let until = tokio::time::Instant::now() + WRITTEN_WITHIN;
        loop {
            if let Some(times) = Self::from_logs(stack, name, sent) {
                return Ok(times);
            }
            ensure!(
                tokio::time::Instant::now() < until,
                "a step of the wake-up was not written down"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn from_logs(stack: &Stack, name: &str, sent: u64) -> Option<Self> {
        let journal = stack.journal(name);
        let of_workload = |found: &dyn Fn(&Event) -> bool| {
            let mut records = journal.0.iter().filter(|record| record.unix_us >= sent);
            Some(records.find(|record| found(&record.event))?.unix_us)
        };
        let control = stack.control.events();
        let target = format!("default/{name}");
        let of_control = |what: &str, state: &str| {
            let mut events = control
                .seen
                .iter()
                .filter(|event| event.at_us() >= sent && event.target == target);
            let found =
                events.find(|event| event.event == what && (state.is_empty() || event.state == state));
            Some(found?.at_us())
        };
        let confirmed = format!("confirmed target={target} ");
        let envoy = stack.envoy.log();
        let mut lines = envoy.lines().filter(|line| line.contains(&confirmed));
        Some(Self {
            started: of_workload(&|event| matches!(event, Event::Start { .. }))?,
            accepts: of_workload(&|event| matches!(event, Event::Ready { .. }))?,
            ready: of_control("ready", "")?,
            published: of_control("published", "ready")?,
            asked: of_workload(&|event| matches!(event, Event::Request(request) if is_confirm(request)))?,
            confirmed: lines.find_map(|line| envoy_us(line).filter(|at| *at >= sent))?,
        })
    }
}

fn is_confirm(request: &upstream::Request) -> bool {
    let agent = request.agent.as_deref().unwrap_or_default();
    agent.starts_with("holdfast-confirm/")
}

/// `1795233275.387123 held target=...`
fn envoy_us(line: &str) -> Option<u64> {
    let (seconds, micros) = line.split_once(' ')?.0.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?)
}

fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.expect("a clock after 1970").as_micros()).expect("64 bits of microseconds")
}

/// Steps of two processes may be written down in the other order, when the later one was faster to write.
fn ms(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_time_of_envoys_lines() {
        assert_eq!(
            envoy_us("1795233275.387123 held target=x"),
            Some(1_795_233_275_387_123)
        );
        assert_eq!(envoy_us("no time"), None);
    }
}
