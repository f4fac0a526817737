//! How much this gate uses one target: requests in flight, and the last arrival. The warm path reads no clock, so an
//! arrival there gets its time when the status is written.

use std::time::Duration;

use crate::{GateStatus, Time};

/// An arrival within this time of another is no news: the relay reports the first at once, the others in its own time.
const ARRIVAL_NEWS: Duration = Duration::from_secs(1);

/// The use of one target.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Requests that passed or were resumed, and have not ended.
    in_flight: u32,
    /// An arrival on the warm path that `last_arrival` does not show yet.
    arrived: bool,
    last_arrival: Option<Time>,
}

impl Usage {
    /// A request arrives and passes, at a time that is not known.
    pub(super) fn pass(&mut self) {
        self.in_flight += 1;
        self.arrived = true;
    }

    /// A request arrives. True if there was none in the second before.
    pub(super) fn arrive(&mut self, now: Time) -> bool {
        self.arrived = false;
        let last = self.last_arrival.replace(now);
        last.is_none_or(|at| now.since(at) > ARRIVAL_NEWS)
    }

    /// So many requests are in flight from now on.
    pub(super) fn begin(&mut self, requests: u32) {
        self.in_flight += requests;
    }

    /// One of the requests in flight has ended.
    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The age of the last arrival, unless it is older than a status lists.
    pub(super) fn idle(&mut self, now: Time) -> Option<Duration> {
        if std::mem::take(&mut self.arrived) {
            self.last_arrival = Some(now);
        }
        self.last_arrival
            .map(|at| now.since(at))
            .filter(|idle| *idle < GateStatus::RECENT)
    }
}
