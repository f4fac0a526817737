//! What happened to one request, put together from what each server wrote down with the time of day.
//!
//! Envoy's log: held, confirmed, released. The control plane's log: reported, ready. The workload's journal: started.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::files;
use crate::servers::{Call, Servers};

/// Logs are written a moment after the fact.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// Steps in the order in which they are due.
const STEPS: [(&str, &str); 7] = [
    ("held", "the filter keeps the request in Envoy"),
    ("reported", "the control plane is told"),
    ("started", "the workload's process runs"),
    ("ready", "the control plane has seen it ready"),
    ("confirmed", "Envoy's own cluster reaches it"),
    ("released", "the request goes on"),
    ("answered", ""),
];

/// Milliseconds after the request was sent, for each step; `None` if no log has it.
pub(crate) struct Timeline {
    steps: [Option<u64>; 7],
    answer: String,
}

impl Timeline {
    /// Reads the logs, and again until every step is there or [`WRITTEN_WITHIN`] has passed.
    pub(crate) async fn read(servers: &Servers, call: &Call) -> Self {
        let start = Instant::now();
        loop {
            let timeline = Self::from_logs(servers, call);
            if timeline.missing().next().is_none() || start.elapsed() > WRITTEN_WITHIN {
                return timeline;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Names of the steps that no log has.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'static str> {
        let steps = STEPS.iter().zip(&self.steps);
        steps.filter_map(|((name, _), at)| at.is_none().then_some(*name))
    }

    fn from_logs(servers: &Servers, call: &Call) -> Self {
        let sent = unix_ms(call.sent);
        let envoy = servers.envoy.log();
        let control = servers.control.log();
        let journal = std::fs::read_to_string(files::journal(&servers.dir, call.name)).unwrap_or_default();
        let target = format!("default/{}", call.name);
        let of_envoy = |word: &str| {
            let found = envoy
                .lines()
                .filter(|line| line.contains(word))
                .filter_map(envoy_time)
                .find(|at| *at >= sent);
            found.map(|at| at - sent)
        };
        let said_by_control = |event: &str| {
            let said = control
                .lines()
                .filter_map(|line| of_control(line, event, &target));
            said.into_iter().find(|at| *at >= sent).map(|at| at - sent)
        };
        let steps = [
            of_envoy(&format!("held target={target}")),
            said_by_control("reported"),
            journal
                .lines()
                .filter_map(journal_start)
                .find(|at| *at >= sent)
                .map(|at| at - sent),
            said_by_control("ready"),
            of_envoy(&format!("confirmed target={target}")),
            of_envoy(&format!("released target={target}")),
            Some(unix_ms(call.answered) - sent),
        ];
        Self {
            steps,
            answer: call.answer.clone(),
        }
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((name, what), at) in STEPS.iter().zip(&self.steps) {
            let at = at.map_or_else(|| "?".to_owned(), |at| at.to_string());
            let what = if what.is_empty() { &self.answer } else { *what };
            writeln!(f, "    {at:>5} ms  {name:<10} {what}")?;
        }
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `1795233275.387 [debug] ...`
fn envoy_time(line: &str) -> Option<u64> {
    let (seconds, ms) = line.split_once(' ')?.0.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1000 + ms.parse::<u64>().ok()?)
}

fn journal_start(line: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(line).ok()?;
    let started = record.get("event")? == "start";
    started.then(|| Some(record.get("unix_us")?.as_u64()? / 1000))?
}

/// When a line of the control plane's log says `event` of `target`.
fn of_control(line: &str, event: &str, target: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(line).ok()?;
    let meant = record.get("event")? == event && record.get("target")? == target;
    meant.then(|| record.get("unix_ms")?.as_u64())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_times_of_both_logs() {
        assert_eq!(
            envoy_time("1795233275.387 [info] x"),
            Some(1_795_233_275_387),
            "Envoy's format"
        );
        let line = r#"{"event":"ready","target":"default/web","unix_ms":1795233275387}"#;
        assert_eq!(
            of_control(line, "ready", "default/web"),
            Some(1_795_233_275_387),
            "the control plane's"
        );
        assert_eq!(
            of_control(line, "ready", "default/other"),
            None,
            "of another target"
        );
    }
}
