//! The last wake of a target: its cause, when it began, and how long it took.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Entry;
use crate::lifecycle::{Phase, Reason};
use crate::time::{Time, millis};

/// The cause of a wake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WokenBy {
    /// A request that the proxy of this node id holds or has refused.
    Proxy(String),
    /// A person who asked the control plane.
    Person,
    /// Others who set the replicas, by name if that is known.
    Others(Option<String>),
    /// The back-off of a failure was over, and a request had come.
    Retry,
    /// What was up is gone.
    LostEndpoints,
    /// It is left awake, because it was removed from the configuration.
    Removal,
    /// Its owner no longer suspends it.
    Resumption,
}

impl fmt::Display for WokenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proxy(id) => write!(f, "proxy {id}"),
            Self::Person => f.write_str("a person"),
            Self::Others(Some(manager)) => write!(f, "others ({manager})"),
            Self::Others(None) => f.write_str("others"),
            Self::Retry => f.write_str("retry"),
            Self::LostEndpoints => f.write_str("lost endpoints"),
            Self::Removal => f.write_str("removal"),
            Self::Resumption => f.write_str("end of suspension"),
        }
    }
}

impl Serialize for WokenBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The last wake of a target, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastWake {
    /// When it began, in ms since 1970.
    pub unix_ms: u64,
    /// From then to ready, in ms; absent while it is not, and for good if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Its cause.
    pub by: WokenBy,
}

/// A wake that began since the control plane did.
#[derive(Clone, Debug, Hash)]
pub(super) struct Wake {
    began: Time,
    unix_ms: u64,
    by: WokenBy,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    /// Not yet. A failure does not end it: endpoints may come all the same.
    Open,
    Ready(Duration),
    /// It went back to zero.
    Abandoned,
}

impl Wake {
    pub(super) fn summary(&self) -> LastWake {
        LastWake {
            unix_ms: self.unix_ms,
            duration_ms: match self.end {
                End::Ready(duration) => Some(millis(duration)),
                End::Open | End::Abandoned => None,
            },
            by: self.by.clone(),
        }
    }
}

/// What a change of phase says about wakes.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// From the wish to ready, on becoming so.
    pub(super) woke_in: Option<Duration>,
    /// Its cause, at its beginning and its end.
    pub(super) by: Option<WokenBy>,
}

impl Entry {
    /// Follows a change of phase. `caller` is the proxy that is meant if it was demand.
    pub(super) fn follow_wake(&mut self, why: Reason, caller: Option<&str>, now: Time, unix_ms: u64) -> Told {
        let open = self.wake.as_mut().filter(|wake| wake.end == End::Open);
        match self.life.phase {
            Phase::Waking { .. } => {
                let by = woken_by(why, caller, self.life.seen.set_by.as_deref());
                self.wake = Some(Wake {
                    began: now,
                    unix_ms,
                    by: by.clone(),
                    end: End::Open,
                });
                Told {
                    woke_in: None,
                    by: Some(by),
                }
            }
            Phase::Ready => open.map_or_else(Told::default, |wake| {
                let woke_in = now.since(wake.began);
                wake.end = End::Ready(woke_in);
                Told {
                    woke_in: Some(woke_in),
                    by: Some(wake.by.clone()),
                }
            }),
            Phase::Failed { .. } => Told::default(),
            Phase::Asleep | Phase::Draining { .. } | Phase::Stopping | Phase::Suspended => {
                if let Some(wake) = open {
                    wake.end = End::Abandoned;
                }
                Told::default()
            }
        }
    }
}

fn woken_by(why: Reason, caller: Option<&str>, set_by: Option<&str>) -> WokenBy {
    match why {
        Reason::Asked => WokenBy::Person,
        Reason::Retry => WokenBy::Retry,
        Reason::Lost => WokenBy::LostEndpoints,
        Reason::Retired => WokenBy::Removal,
        Reason::Suspend => WokenBy::Resumption,
        Reason::Demand => match caller {
            Some(id) => WokenBy::Proxy(id.to_owned()),
            // Demand is reported by proxies alone.
            None => WokenBy::Others(None),
        },
        _ => WokenBy::Others(set_by.map(str::to_owned)),
    }
}
