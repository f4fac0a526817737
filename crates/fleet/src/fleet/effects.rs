//! What a fleet wants done, and what it says happened.

use std::sync::Arc;
use std::time::Duration;

use protocol::{State, TargetId};

use super::WokenBy;
use super::proxies::{Module, PollId, ProxyKey};
use crate::command::Command;
use crate::lifecycle::{Failure, Reason, Refusal};
use crate::view::Publication;

/// What a [`super::Fleet`] wants done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// For the backend.
    Backend(Command),
    /// For the view that proxies read.
    Publish(Publication),
    /// A newer poll of the same proxy has come, or the proxy is no longer known: this one is turned away.
    EndPoll(PollId),
    /// For the log and the metrics.
    Emit(FleetEvent),
    /// The status of this target shows something else than before, or the target has come or gone. Ages and counts of requests,
    /// which change all the time, do not count.
    Changed(TargetId),
}

/// What happened, for the log and the metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum FleetEvent {
    /// A target changed its phase.
    Moved {
        /// Which.
        target: TargetId,
        /// Left.
        from: &'static str,
        /// Entered.
        to: &'static str,
        /// Why.
        why: Reason,
        /// How long it had been in `from`.
        after: Duration,
        /// From the wish to wake it to ready; only on entering ready from a wake.
        woke_in: Option<Duration>,
        /// Who or what woke it, on entering waking and, after a wake, ready.
        by: Option<WokenBy>,
        /// Why it failed.
        failure: Option<Failure>,
    },
    /// A person's wish was not carried out.
    Refused {
        /// Which.
        target: TargetId,
        /// Why.
        refusal: Refusal,
    },
    /// Another manager has undone a wake again: the next start is held back.
    Contended {
        /// Which.
        target: TargetId,
        /// Who, if it is known.
        by: Option<String>,
        /// Wakes undone in a row.
        times: u32,
        /// How long the next start waits.
        wait: Duration,
    },
    /// A target's published form changed.
    Published {
        /// Which.
        target: Arc<protocol::Target>,
        /// Under which revision.
        n: u64,
    },
    /// A target is no longer published.
    Removed {
        /// Which.
        target: TargetId,
    },
    /// The first report of demand on a target that does not pass.
    Reported {
        /// Which.
        target: TargetId,
        /// By whom.
        proxy: ProxyKey,
        /// Its phase on the wire.
        state: State,
        /// Requests held.
        held: u32,
    },
    /// An Envoy does not reach a target that is ready, by a cluster that it did not tell of before.
    Unreached {
        /// Which.
        target: TargetId,
        /// By whom.
        proxy: ProxyKey,
        /// Envoy's name of the cluster.
        cluster: String,
        /// What it saw.
        saw: String,
    },
    /// A proxy has confirmed a drain.
    Confirmed {
        /// Which.
        target: TargetId,
        /// By whom.
        proxy: ProxyKey,
    },
    /// A proxy is live: new, or back after silence.
    Live(ProxyKey),
    /// A proxy's module is of another version than the control plane.
    Module {
        /// Whose.
        proxy: ProxyKey,
        /// Which.
        module: Module,
    },
    /// A proxy said nothing for three heartbeats.
    Silent(ProxyKey),
    /// A proxy said nothing for so long that it no longer counts.
    Forgotten(ProxyKey),
    /// There were as many proxies as may be: this one has made room. It goes on blocking sleeps.
    Evicted {
        /// Which.
        proxy: ProxyKey,
        /// How many have made room and are not forgotten, this one included.
        others: u64,
    },
    /// So many that had made room no longer count.
    OthersForgotten(u64),
    /// A proxy signed off.
    Left(ProxyKey),
    /// A report older than one already seen was ignored.
    StaleReport(ProxyKey),
    /// A target goes on under another name.
    Renamed {
        /// Its former name.
        from: TargetId,
        /// Its name from now on.
        to: TargetId,
    },
    /// A removed target is no longer ours; what runs of its workload goes on.
    Dropped(TargetId),
}

impl FleetEvent {
    /// True if it is something that the owner of a target would want to read in its history.
    pub fn is_history(&self) -> bool {
        matches!(
            self,
            Self::Moved { .. } | Self::Refused { .. } | Self::Contended { .. } | Self::Dropped(_)
        )
    }
}
