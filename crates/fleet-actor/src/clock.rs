//! The one clock of the control plane: everything else is told what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use fleet::time::{Time, millis};

/// Reads tokio's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The moment now.
    pub fn now(&self) -> Time {
        Time::new(self.start.elapsed())
    }

    /// The instant of `time`, for tokio's timers.
    pub fn instant(&self, time: Time) -> Instant {
        // A deadline that overflows is as good as one in thirty years.
        const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
        self.start
            .checked_add(time.as_duration().min(FAR))
            .unwrap_or(self.start)
    }
}

/// Milliseconds since 1970, for log lines that several programs' timelines are joined by.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
