//! What the driver counts. The server's metrics read it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::modes::Direction;
use crate::processor::End;
use crate::stop::FailureKind;
use crate::sync::lock;

/// The six phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
}

impl Phase {
    #[cfg_attr(
        not(any(test, feature = "metrics")),
        allow(dead_code, reason = "metrics and tests read it")
    )]
    pub(crate) const ALL: [Self; 6] = [
        Self::RequestHeaders,
        Self::RequestBody,
        Self::RequestTrailers,
        Self::ResponseHeaders,
        Self::ResponseBody,
        Self::ResponseTrailers,
    ];

    pub(crate) fn headers(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::RequestHeaders,
            Direction::Response => Self::ResponseHeaders,
        }
    }

    pub(crate) fn body(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::RequestBody,
            Direction::Response => Self::ResponseBody,
        }
    }

    pub(crate) fn trailers(direction: Direction) -> Self {
        match direction {
            Direction::Request => Self::RequestTrailers,
            Direction::Response => Self::ResponseTrailers,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestHeaders => "request_headers",
            Self::RequestBody => "request_body",
            Self::RequestTrailers => "request_trailers",
            Self::ResponseHeaders => "response_headers",
            Self::ResponseBody => "response_body",
            Self::ResponseTrailers => "response_trailers",
        }
    }
}

/// Upper bounds of the times that handlers take, in microseconds: from what passes a header on to what waits for a model.
pub(crate) const BOUNDS: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Counters of one server. They only grow, but for the streams that are open.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    open: AtomicI64,
    ended: [AtomicU64; 6],
    messages: [AtomicU64; 6],
    phase_nanos: [AtomicU64; 6],
    phase_calls: [AtomicU64; 6],
    /// Calls that took at most so long as [`BOUNDS`] says, and longer than the bound before.
    phase_buckets: [[AtomicU64; BOUNDS.len()]; 6],
    deadlines: [AtomicU64; 6],
    body_bytes: [AtomicU64; 2],
    duplicate_ends: AtomicU64,
    panics: AtomicU64,
    immediate: Mutex<BTreeMap<u16, u64>>,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    limits: Mutex<BTreeMap<&'static str, u64>>,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Stats {
    pub(crate) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, end: End) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(counter) = self.ended.get(end.index()) {
            add(counter, 1);
        }
    }

    pub(crate) fn message(&self, phase: Phase) {
        if let Some(counter) = self.messages.get(phase as usize) {
            add(counter, 1);
        }
    }

    pub(crate) fn handler(&self, phase: Phase, time: Duration) {
        if let (Some(nanos), Some(calls)) = (
            self.phase_nanos.get(phase as usize),
            self.phase_calls.get(phase as usize),
        ) {
            add(nanos, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            add(calls, 1);
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let place = BOUNDS.iter().position(|bound| micros <= *bound);
            if let Some(bucket) = place.and_then(|place| self.phase_buckets.get(phase as usize)?.get(place)) {
                add(bucket, 1);
            }
        }
    }

    pub(crate) fn deadline(&self, phase: Phase) {
        if let Some(counter) = self.deadlines.get(phase as usize) {
            add(counter, 1);
        }
    }

    pub(crate) fn body(&self, direction: Direction, bytes: usize) {
        if let Some(counter) = self.body_bytes.get(direction as usize) {
            add(counter, u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn duplicate_end(&self) {
        add(&self.duplicate_ends, 1);
    }

    pub(crate) fn immediate(&self, status: u16) {
        *lock(&self.immediate).entry(status).or_default() += 1;
    }

    pub(crate) fn failure(&self, kind: FailureKind) {
        *lock(&self.failures).entry(kind.name()).or_default() += 1;
        match kind {
            FailureKind::Panic => add(&self.panics, 1),
            FailureKind::Limit(limit) => self.limit(limit),
            _ => {}
        }
    }

    pub(crate) fn limit(&self, limit: &'static str) {
        *lock(&self.limits).entry(limit).or_default() += 1;
    }
}

/// What metrics and tests read.
#[cfg_attr(
    not(any(test, feature = "metrics")),
    allow(dead_code, reason = "metrics and tests read it")
)]
impl Stats {
    pub(crate) fn open(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn ended(&self, end: End) -> u64 {
        self.ended
            .get(end.index())
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn messages(&self, phase: Phase) -> u64 {
        self.messages
            .get(phase as usize)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Seconds that handlers of a phase took together, and how many calls.
    pub(crate) fn handlers(&self, phase: Phase) -> (Duration, u64) {
        let read = |of: &[AtomicU64; 6]| {
            of.get(phase as usize)
                .map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        (
            Duration::from_nanos(read(&self.phase_nanos)),
            read(&self.phase_calls),
        )
    }

    /// Calls of a phase by how long they took, in the order of [`BOUNDS`]; those that took longer are not among them.
    pub(crate) fn times(&self, phase: Phase) -> [u64; BOUNDS.len()] {
        let mut times = [0; BOUNDS.len()];
        if let Some(buckets) = self.phase_buckets.get(phase as usize) {
            for (time, bucket) in times.iter_mut().zip(buckets) {
                *time = bucket.load(Ordering::Relaxed);
            }
        }
        times
    }

    pub(crate) fn deadlines(&self, phase: Phase) -> u64 {
        self.deadlines
            .get(phase as usize)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn body_bytes(&self, direction: Direction) -> u64 {
        self.body_bytes
            .get(direction as usize)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(crate) fn duplicate_ends(&self) -> u64 {
        self.duplicate_ends.load(Ordering::Relaxed)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(crate) fn immediates(&self) -> BTreeMap<u16, u64> {
        lock(&self.immediate).clone()
    }

    pub(crate) fn failures(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.failures).clone()
    }

    pub(crate) fn limits(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.limits).clone()
    }
}
