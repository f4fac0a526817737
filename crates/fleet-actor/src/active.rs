//! Which fleet answers: none while this replica does not lead.
//!
//! The one who leads takes the [`Seat`] and leaves it; what answers only looks. An [`Active`] is no longer open the
//! moment its lease is over, whether anybody has noticed or not.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Fence, FleetHandle};

/// A fleet that answers, for as long as it may.
#[derive(Clone, Debug)]
pub struct Active {
    /// The fleet.
    pub fleet: FleetHandle,
    /// Ends with the lease. `None`: there is nobody else who could lead.
    fence: Option<Fence>,
    /// Cancelled when the seat is left: polls are answered.
    ended: CancellationToken,
}

impl Active {
    /// True if what it says may be told now.
    pub fn is_open(&self) -> bool {
        !self.ended.is_cancelled() && self.fence.as_ref().is_none_or(|fence| fence.left().is_some())
    }

    /// Waits until the seat is left.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// Says which fleet answers.
#[derive(Debug)]
pub struct Seat(watch::Sender<Option<Active>>);

/// Looks at the [`Seat`].
#[derive(Clone, Debug)]
pub struct Sight(watch::Receiver<Option<Active>>);

impl Seat {
    /// A seat that nobody has taken.
    pub fn new() -> (Self, Sight) {
        let (seat, sight) = watch::channel(None);
        (Self(seat), Sight(sight))
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

    /// From now on nobody answers, and open polls are turned away.
    pub fn leave(&self) {
        end(self.0.send_replace(None));
    }
}

impl Sight {
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
