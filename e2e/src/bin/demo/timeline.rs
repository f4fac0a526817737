//! What happened to one request, put together from what each server wrote down with the time of day.
//!
//! Envoy's log: held, reported, confirmed, released. The control plane's log: ready. The workload's journal: started.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::files;
use crate::servers::{Call, Servers};

/// Logs are written a moment after the fact.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

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

/// Milliseconds after the request was sent, for each step; `None` if nobody wrote it down.
pub(crate) struct Timeline {
    steps: [Option<u64>; 7],
    answer: String,
}

impl Timeline {
    /// Reads the logs, and again until every step is there or a second has passed.
    pub(crate) async fn read(servers: &Servers, call: &Call) -> Self {
        let start = Instant::now();
        loop {
            let timeline = Self::from_logs(servers, call);
            if timeline.steps.iter().all(Option::is_some) || start.elapsed() > WRITTEN_WITHIN {
                return timeline;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn from_logs(servers: &Servers, call: &Call) -> Self {
        let sent = unix_ms(call.sent);
        let envoy = servers.envoy.log();
        let control = servers.control.log();
        let journal =
            std::fs::read_to_string(files::journal(servers.dir.path(), call.name)).unwrap_or_default();
        let target = format!("default/{}", call.name);
        let of_envoy = |word: &str| {
            let found = envoy
                .lines()
                .filter(|line| line.contains(word))
                .filter_map(envoy_time)
                .find(|at| *at >= sent);
            found.map(|at| at - sent)
        };
        let steps = [
            of_envoy(&format!("held target={target}")),
            of_envoy("reported targets="),
            journal
                .lines()
                .filter_map(journal_start)
                .find(|at| *at >= sent)
                .map(|at| at - sent),
            control
                .lines()
                .filter_map(|line| control_ready(line, &target))
                .find(|at| *at >= sent)
                .map(|at| at - sent),
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
            writeln!(f, "  {at:>7} ms  {name:<10} {what}")?;
        }
        Ok(())
    }
}

fn unix_ms(time: SystemTime) -> u64 {
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
    (record["event"] == "start").then(|| record["unix_ms"].as_u64())?
}

/// A line of the control plane's log that says that `target` is ready.
fn control_ready(line: &str, target: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(line).ok()?;
    let fields = &record["fields"];
    let ready = fields["event"] == "ready" && fields["target"] == target;
    ready.then(|| rfc3339_ms(record["timestamp"].as_str()?))?
}

/// `2026-11-21T03:30:00.123456Z` in milliseconds since 1970.
fn rfc3339_ms(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    // Days since 1970 in the Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    let ms = format!("{fraction:0<3}").get(..3)?.parse::<u64>().ok()?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
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
        assert_eq!(
            rfc3339_ms("1970-01-01T00:00:00.5Z"),
            Some(500),
            "the beginning of time"
        );
        assert_eq!(
            rfc3339_ms("2026-11-21T03:54:35.387123Z"),
            Some(1_795_233_275_387),
            "the control plane's format"
        );
    }
}
