//! Which fleet answers: none while this replica does not lead.
//!
//! A leadership sets the [`ActiveFleet`] and clears it; handlers only read it. An [`Active`] is no longer open the moment its
//! lease is over, whether the leadership has noticed or not.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Fence, FleetHandle};

/// A fleet that answers, for as long as it may.
#[derive(Clone, Debug)]
pub struct Active {
    /// The fleet.
    pub fleet: FleetHandle,
    /// Ends with the lease. `None`: no other replica could lead.
    fence: Option<Fence>,
    /// Cancelled when another fleet answers, or none: polls are answered.
    ended: CancellationToken,
}

impl Active {
    /// True if what it says may be told now.
    pub fn is_open(&self) -> bool {
        !self.ended.is_cancelled() && self.fence.as_ref().is_none_or(|fence| fence.left().is_some())
    }

    /// Waits until another fleet answers, or none.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Sets which fleet answers.
#[derive(Debug)]
pub struct ActiveFleet(watch::Sender<Option<Active>>);

/// Reads the [`ActiveFleet`].
#[derive(Clone, Debug)]
pub struct ActiveFleetHandle(watch::Receiver<Option<Active>>);

impl ActiveFleet {
    /// No fleet answers yet.
    pub fn new() -> (Self, ActiveFleetHandle) {
        let (sender, receiver) = watch::channel(None);
        (Self(sender), ActiveFleetHandle(receiver))
    }

    /// From now on `fleet` answers, while `fence` is open. One that answered before does so no more.
    pub fn take(&self, fleet: FleetHandle, fence: Option<Fence>) {
        let active = Active {
            fleet,
            fence,
            ended: CancellationToken::new(),
        };
        end(self.0.send_replace(Some(active)));
    }

    /// From now on no fleet answers, and open polls are turned away.
    pub fn leave(&self) {
        end(self.0.send_replace(None));
    }
}

impl ActiveFleetHandle {
    /// The fleet that may answer now.
    pub fn active(&self) -> Option<Active> {
        self.0.borrow().clone().filter(Active::is_open)
    }
}

fn end(active: Option<Active>) {
    if let Some(active) = active {
        active.ended.cancel();
    }
}
