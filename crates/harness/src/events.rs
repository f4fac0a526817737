//! What the control plane says has happened, read from its log. Needs `--log-format json`.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;

/// How often a log is looked at for something new. Tokio's timer is no finer than a millisecond, and the steps that a
/// test aims at are shorter; so the thread sleeps, and lets others run in between.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// One event. Which fields are there depends on what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Event {
    /// What happened: the phase that a target entered, or `confirmed`, `started`, `terminating`, ...
    pub event: String,
    /// Wall clock of this machine.
    pub unix_ms: u64,
    /// When the line was written, by the same clock.
    pub timestamp: Timestamp,
    /// The target, in full.
    pub target: String,
    /// What was published.
    pub state: String,
    /// The proxy, as the control plane writes it.
    pub proxy: String,
    /// The phase that was left.
    pub from: String,
    /// Why it was left.
    pub why: String,
    /// Of the process that was started.
    pub pid: i32,
}

impl Event {
    /// When the line was written, in microseconds since 1970 of this machine's wall clock.
    pub fn at_us(&self) -> u64 {
        u64::try_from(self.timestamp.as_microsecond()).expect("a clock after 1970")
    }
}

/// All events up to the last [`Events::read`], oldest first.
pub struct Events {
    log: PathBuf,
    offset: u64,
    /// Read so far.
    pub seen: Vec<Event>,
}

impl Events {
    pub(crate) fn of(log: &Path) -> Self {
        let mut events = Self {
            log: log.to_owned(),
            offset: 0,
            seen: Vec::new(),
        };
        events.read();
        events
    }

    /// Takes in what was written since.
    pub fn read(&mut self) {
        let mut file = File::open(&self.log).unwrap();
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        let mut new = Vec::new();
        file.read_to_end(&mut new).unwrap();
        // The last line may be half written.
        let whole = new
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        self.offset += whole as u64;
        let lines = new[..whole].split(|byte| *byte == b'\n');
        let events = lines.filter_map(|line| serde_json::from_slice::<Event>(line).ok());
        self.seen.extend(events.filter(|event| event.unix_ms > 0));
    }

    /// How many there are of this kind.
    pub fn count(&self, event: &str) -> usize {
        self.seen.iter().filter(|seen| seen.event == event).count()
    }

    /// Waits until there is one of which `is_it` is true, read already or not. The log is written by a thread of its own, so an event may
    /// stand there some time after its effects were seen. Panics if there is none after 20 s.
    pub async fn find(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> &Event {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        let at = loop {
            if let Some(at) = self.seen.iter().position(&is_it) {
                break at;
            }
            assert!(
                tokio::time::Instant::now() < until,
                "no {what} in {:?}",
                self.seen
            );
            tokio::time::sleep(LOOK_AGAIN).await;
            self.read();
        };
        &self.seen[at]
    }

    /// Waits for one of this kind that has not been read yet, for `within` at most. False: there was none.
    pub async fn next(&mut self, event: &str, within: Duration) -> bool {
        let old = self.seen.len();
        let until = tokio::time::Instant::now() + within;
        while tokio::time::Instant::now() < until {
            self.read();
            if self.seen[old..].iter().any(|seen| seen.event == event) {
                return true;
            }
            std::thread::sleep(LOOK_AGAIN);
            tokio::task::yield_now().await;
        }
        false
    }
}

/// Now, on the clock of [`Event::unix_ms`].
pub fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}
