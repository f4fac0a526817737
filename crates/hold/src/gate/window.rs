//! How many released requests of one target may be unanswered at once. The window opens by its own size once a second, so
//! that requests which are never answered do not stop the others for good.

use std::time::Duration;

use crate::Time;

/// From one opening by its own size to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// One target's window.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// This gate's share, as the relay publishes it; 0 before that.
    size: u32,
    unanswered: u32,
    /// Raised when all that is unanswered is forgotten: an answer to a request of an older generation makes no room.
    generation: u32,
    /// When the window last closed, or opened by its own size.
    opened: Time,
}

impl Window {
    pub(super) fn resize(&mut self, size: u32) {
        self.size = size;
    }

    /// Forgets all that is unanswered: the target begins to serve, or has not answered for a period.
    pub(super) fn restart(&mut self, now: Time) {
        self.unanswered = 0;
        self.generation = self.generation.wrapping_add(1);
        self.opened = now;
    }

    pub(super) fn is_open(&self) -> bool {
        self.unanswered < self.size
    }

    /// When the window opens by its own size; `None` while it is open.
    pub(super) fn opens_at(&self) -> Option<Time> {
        (!self.is_open()).then(|| self.opened + PERIOD)
    }

    /// Counts a released request. Returns the generation to give to [`Window::answered`].
    pub(super) fn release(&mut self, now: Time) -> u32 {
        self.unanswered += 1;
        if !self.is_open() {
            self.opened = now;
        }
        self.generation
    }

    /// A released request of this generation has been answered, or has ended without an answer.
    pub(super) fn answered(&mut self, generation: u32) {
        if self.is_current(generation) {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
    }

    pub(super) fn is_current(&self, generation: u32) -> bool {
        self.generation == generation
    }
}
