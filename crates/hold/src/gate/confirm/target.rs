//! Which epoch of one target is confirmed, by which gate, and from when this gate may ask. Knows no cluster.

use std::time::Duration;

use protocol::{Confirm, Target};

use super::rules::{SLOW_GAP, Terms};
use crate::{GateId, SlotRecord, Time};

/// How long a gate waits for the relay to name the gate that asks, before it asks untold: the relay may be changing hands.
const UNTOLD: Duration = Duration::from_secs(2);

/// How the gates of one Envoy share the slow pace of the confirm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    /// This gate's place among those that do not ask for all.
    place: u32,
    /// Their number; 0 before anything is known of them.
    of: u32,
}

impl Turn {
    fn new(record: &SlotRecord, me: GateId) -> Self {
        let others = || {
            record
                .shares
                .iter()
                .map(|(gate, _)| *gate)
                .filter(|gate| Some(*gate) != record.prober)
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match others().position(|gate| gate == me) {
            Some(place) => Self {
                place: count(place),
                of: count(others().count()),
            },
            // Not named yet: behind all of them.
            None => Self {
                place: count(others().count()),
                of: count(others().count()).saturating_add(1),
            },
        }
    }
}

/// The confirm of one target.
#[derive(Debug, Default)]
pub(in crate::gate) struct TargetConfirm {
    /// The epoch whose readiness needs no confirm: the target was ready in the first snapshot of this Envoy, or cannot be
    /// asked and has settled.
    preconfirmed_epoch: Option<u64>,
    /// The epoch in which some gate of this Envoy has had a yes, as the relay publishes it.
    confirmed_epoch: Option<u64>,
    /// The epoch in which this gate itself has had a yes that it stands for.
    confirmed_here: Option<u64>,
    /// The one gate that asks for all.
    prober: Option<GateId>,
    turn: Turn,
    /// When the target began to serve.
    serving_since: Time,
}

impl TargetConfirm {
    /// Takes in what the relay publishes of it.
    pub(in crate::gate) fn update(&mut self, record: &SlotRecord, me: GateId) {
        self.preconfirmed_epoch = record.preconfirmed_epoch.or(self.preconfirmed_epoch);
        self.confirmed_epoch = record.confirmed_epoch;
        self.prober = record.prober;
        self.turn = Turn::new(record, me);
    }

    /// The target begins to serve.
    pub(in crate::gate) fn serve(&mut self, now: Time) {
        self.serving_since = now;
    }

    /// What was known of its readiness says nothing any more.
    pub(in crate::gate) fn forget(&mut self) {
        self.preconfirmed_epoch = None;
        self.confirmed_here = None;
    }

    /// It has to be asked although it was ready in the first snapshot: its cluster may lead elsewhere now.
    pub(in crate::gate) fn require(&mut self) {
        self.preconfirmed_epoch = None;
    }

    /// True if requests of this epoch need no confirm.
    pub(in crate::gate) fn is_waived(&self, target: &Target) -> bool {
        self.preconfirmed_epoch == Some(target.epoch)
    }

    /// A target that cannot be asked is let pass once it has settled, by the warm path too.
    pub(in crate::gate) fn settle(&mut self, now: Time, target: &Target) {
        if self.has_settled(Some(now), target) {
            self.preconfirmed_epoch = Some(target.epoch);
        }
    }

    /// True if the target cannot be asked and has been serving for long enough, as far as is known without a clock.
    pub(in crate::gate) fn has_settled(&self, now: Option<Time>, target: &Target) -> bool {
        match target.confirm {
            Confirm::Off { settle_ms: 0 } => true,
            Confirm::Off { settle_ms } => now.is_some_and(|now| now >= self.settles_at(settle_ms)),
            _ => false,
        }
    }

    /// When a target that cannot be asked will have settled, if that is to come.
    pub(in crate::gate) fn next_settle(&self, now: Time, target: &Target) -> Option<Time> {
        match target.confirm {
            Confirm::Off { settle_ms } => Some(self.settles_at(settle_ms)).filter(|at| now < *at),
            _ => None,
        }
    }

    fn settles_at(&self, settle_ms: u64) -> Time {
        self.serving_since + Duration::from_millis(settle_ms)
    }

    /// True if some gate of this Envoy has had its yes in this epoch.
    pub(in crate::gate) fn is_confirmed(&self, target: &Target) -> bool {
        let epoch = Some(target.epoch);
        self.confirmed_epoch == epoch || self.confirmed_here == epoch
    }

    /// The epoch in which this gate has had its yes.
    pub(in crate::gate) fn confirmed_here(&self) -> Option<u64> {
        self.confirmed_here
    }

    /// This gate has had a yes. Returns true if that is news to the other gates of this Envoy.
    pub(in crate::gate) fn confirm(&mut self, target: &Target) -> bool {
        let epoch = Some(target.epoch);
        let is_news = self.confirmed_here != epoch && self.confirmed_epoch != epoch;
        self.confirmed_here = epoch;
        is_news
    }

    /// By which rules this gate asks; `None` if nothing is asked.
    pub(in crate::gate) fn terms(&self, target: &Target, me: GateId) -> Option<Terms> {
        let sharers = if self.prober == Some(me) {
            0
        } else {
            self.turn.of.max(1)
        };
        Terms::new(&target.confirm, self.is_confirmed(target), sharers)
    }

    /// From when this gate may ask through its clusters: later while another one asks for all, because answers that are
    /// no count towards the ejection of the host, over all workers together.
    pub(in crate::gate) fn asks_from(&self, target: &Target, me: GateId) -> Time {
        match self.prober {
            _ if self.is_confirmed(target) => Time::ZERO,
            Some(prober) if prober == me => Time::ZERO,
            // One that has had no yes for so long may be asking through a cluster that leads nowhere.
            Some(_) => self.serving_since + given_up_after(&target.confirm) + SLOW_GAP * self.turn.place,
            None => self.serving_since + UNTOLD,
        }
    }
}

/// By then the gate that asks for all has had its yes or its doubt, and the request that it released has been answered:
/// another question that is answered as badly begins a new count towards the ejection of the host.
fn given_up_after(confirm: &Confirm) -> Duration {
    match confirm {
        Confirm::Http {
            timeout_ms,
            give_up_ms,
            ..
        }
        | Confirm::Grpc {
            timeout_ms,
            give_up_ms,
            ..
        } => Duration::from_millis(timeout_ms.saturating_add(*give_up_ms)) + UNTOLD,
        Confirm::Off { .. } | Confirm::Unknown => UNTOLD,
    }
}
