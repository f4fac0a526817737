//! Names what the state of a target means for its requests, and what it means for one of them. Pure: it knows neither the gate nor
//! any stream.

use protocol::{LossPolicy, State, Target};

use crate::reply::Refusal;

/// What the state of a target means for its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// They pass unasked: the target is suspended or removed, or its policy for a lost control plane says so.
    Pass,
    /// They pass once their cluster is confirmed.
    Serve,
    /// They are held.
    Hold,
    /// They are refused.
    Refuse(Refusal),
}

impl Admission {
    /// Of a target; `lost`: the control plane is.
    pub(super) fn of(target: &Target, lost: bool) -> Self {
        let policy = target.hold.on_control_plane_loss;
        match target.state {
            _ if target.has_unknown_words() => Self::Hold,
            State::Unknown => Self::Hold,
            State::Suspended => Self::Pass,
            State::Ready => Self::Serve,
            _ if lost && policy == LossPolicy::Pass && target.state != State::Draining => Self::Pass,
            State::Failed => Self::Refuse(Refusal::Failed),
            State::Draining => Self::Hold,
            State::Asleep | State::Waking if lost && policy == LossPolicy::Refuse => {
                Self::Refuse(Refusal::ControlPlaneLost)
            }
            State::Asleep | State::Waking => Self::Hold,
        }
    }
}

/// What its target says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It passes, and is no use of the target.
    Uncounted,
    /// It passes, and is in flight.
    Counted,
    /// It is to be held, once there are permits. `is_news`: no request arrived for a while.
    Held { is_news: bool },
    /// It is refused. A refused arrival is demand too: else a failed target would never be tried again.
    Refused { refusal: Refusal, is_news: bool },
    /// It is refused because the target ignores such requests, and is not ready.
    Ignored,
}
