//! Tracks the last status of every gate and detects gates that stopped writing.

use std::collections::BTreeMap;
use std::time::Duration;

use hold::{FixedMap, GateStatus, Member, Slot, Time};
use protocol::{Report, TargetId, Unreached, Usage};

use crate::Members;
use crate::relay::gauges::Gauges;
use crate::relay::split::Part;

#[derive(Debug)]
struct Known {
    member: Member,
    status: Option<GateStatus>,
    /// When the status was read: its ages count from here.
    read: Time,
    /// How long its heartbeat has not been raised, as far as it counts: see [`GateTable::tick`].
    silence: Duration,
    silent_since: Option<Time>,
    /// Its heartbeat has been seen to rise: the gate lives, and its arrivals are news.
    lives: bool,
}

impl Known {
    /// True if it has missed no more than one heartbeat.
    fn is_fresh(&self, interval: Duration) -> bool {
        self.silence <= interval * 2
    }
}

#[derive(Debug)]
pub(super) struct GateTable {
    interval: Duration,
    silent_after: Duration,
    /// When silence was counted last.
    ticked: Time,
    /// One for each root context of this Envoy: dozens at most.
    known: Vec<Known>,
    /// A status has said something new since [`GateTable::take_news`].
    news: bool,
}

impl GateTable {
    pub(super) fn new(now: Time, interval: Duration, silent_after: Duration) -> Self {
        Self {
            interval,
            silent_after,
            ticked: now,
            known: Vec::new(),
            news: false,
        }
    }

    pub(super) fn members(&mut self, now: Time, members: &Members) {
        self.known.retain(|known| members.contains(known.member));
        for member in members.live.iter().filter(|member| member.gate) {
            if self.known.iter().any(|known| known.member.id == member.id) {
                continue;
            }
            self.known.push(Known {
                member: *member,
                status: None,
                read: now,
                silence: Duration::ZERO,
                silent_since: None,
                lives: false,
            });
        }
    }

    pub(super) fn status(&mut self, now: Time, member: Member, status: GateStatus) {
        if status.nonce != member.nonce {
            return;
        }
        if let Some(known) = self.known.iter_mut().find(|known| known.member == member) {
            // A status that is read again without a new heartbeat is no news, and its ages go on counting from before.
            if known
                .status
                .as_ref()
                .is_none_or(|old| old.heartbeat != status.heartbeat)
            {
                known.lives |= known.status.is_some();
                known.silence = Duration::ZERO;
                known.silent_since = None;
                known.read = now;
            }
            self.news |= known
                .status
                .as_ref()
                .is_none_or(|old| !old.says_the_same_as(&status));
            known.status = Some(status);
        }
    }

    /// True if a status has said something new since the last call.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Gates whose heartbeat was raised lately. The queue of a dead VM must not be used: Envoy may deliver the message to another
    /// context of the VM that took its place.
    pub(super) fn fresh(&self) -> Vec<Member> {
        self.known
            .iter()
            .filter(|known| known.lives && known.is_fresh(self.interval))
            .map(|known| known.member)
            .collect()
    }

    /// Counts silence and gives the gates that have just been silent for too long. Of each stretch between two calls an interval counts at
    /// most, so a process that was stopped as a whole finds no gate dead when it goes on.
    pub(super) fn tick(&mut self, now: Time) -> Vec<Member> {
        let since = now.since(self.ticked).min(self.interval);
        self.ticked = now;
        let mut silent = Vec::new();
        for known in &mut self.known {
            known.silence += since;
            if known.silence >= self.silent_after && known.silent_since.is_none() {
                known.silent_since = Some(now);
                silent.push(known.member);
            }
        }
        silent
    }

    /// Gates that went silent so long ago that they block nothing any more.
    pub(super) fn forget(&mut self, now: Time, after: Duration) -> Vec<Member> {
        let due = |known: &Known| known.silent_since.is_some_and(|since| now.since(since) >= after);
        let members = self
            .known
            .iter()
            .filter(|known| due(known))
            .map(|known| known.member)
            .collect();
        self.known.retain(|known| !due(known));
        members
    }

    /// The oldest version that every gate has applied; `None` if there is no gate, so nothing to wait for.
    pub(super) fn applied(&self) -> Option<u64> {
        self.known
            .iter()
            .filter(|known| known.silent_since.is_none())
            .map(|known| known.status.as_ref().map_or(0, |status| status.applied))
            .min()
    }

    /// Use of every target that has any, or an arrival younger than `recent`. `tenant` says which target a status of that version means
    /// by a slot.
    pub(super) fn usage<'a>(
        &self,
        now: Time,
        tenant: impl Fn(Slot, u64) -> Option<&'a TargetId>,
        recent: Duration,
    ) -> BTreeMap<TargetId, Usage> {
        let mut out: BTreeMap<TargetId, Usage> = BTreeMap::new();
        for known in self.known.iter() {
            let Some(status) = &known.status else { continue };
            let since_read = protocol::millis(now.since(known.read));
            for entry in &status.entries {
                let Some(id) = tenant(entry.slot, status.applied) else {
                    continue;
                };
                let held = if known.silent_since.is_some() {
                    0
                } else {
                    entry.held
                };
                let idle = entry
                    .idle_ms
                    .map(|idle| idle.saturating_add(since_read))
                    .filter(|idle| known.lives && Duration::from_millis(*idle) <= recent);
                if held == 0 && entry.in_flight == 0 && idle.is_none() {
                    continue;
                }
                let usage = out.entry(id.clone()).or_default();
                usage.held = usage.held.saturating_add(held);
                usage.in_flight = usage.in_flight.saturating_add(entry.in_flight);
                usage.idle_ms = match (usage.idle_ms, idle) {
                    (Some(one), Some(other)) => Some(one.min(other)),
                    (one, other) => one.or(other),
                };
            }
        }
        out
    }

    /// Clusters that live gates do not reach, those that have waited longest first, each once.
    pub(super) fn unreached<'a>(
        &self,
        now: Time,
        tenant: impl Fn(Slot, u64) -> Option<&'a TargetId>,
    ) -> Vec<Unreached> {
        let mut out: Vec<Unreached> = Vec::new();
        for known in self.known.iter().filter(|known| known.silent_since.is_none()) {
            let Some(status) = &known.status else { continue };
            let since_read = protocol::millis(now.since(known.read));
            for unreached in &status.unreached {
                let Some(target) = tenant(unreached.slot, status.applied) else {
                    continue;
                };
                let for_ms = unreached.for_ms.saturating_add(since_read);
                let same =
                    |other: &&mut Unreached| other.target == *target && other.cluster == unreached.cluster;
                match out.iter_mut().find(same) {
                    Some(other) => other.for_ms = other.for_ms.max(for_ms),
                    None => out.push(Unreached {
                        target: target.clone(),
                        cluster: unreached.cluster.clone(),
                        saw: unreached.saw.clone(),
                        for_ms,
                    }),
                }
            }
        }
        out.sort_by_key(|unreached| std::cmp::Reverse(unreached.for_ms));
        out.truncate(Report::MAX_UNREACHED);
        out
    }

    /// Every live gate's part in every target that it lists, by slot.
    pub(super) fn parts(&self, is_tenant: impl Fn(Slot, u64) -> bool) -> FixedMap<Slot, Vec<Part>> {
        let mut out: FixedMap<Slot, Vec<Part>> = FixedMap::default();
        for known in self.known.iter().filter(|known| known.silent_since.is_none()) {
            let Some(status) = &known.status else { continue };
            for entry in &status.entries {
                if (entry.held > 0 || entry.confirmed_epoch.is_some())
                    && is_tenant(entry.slot, status.applied)
                {
                    out.entry(entry.slot).or_default().push(Part {
                        gate: known.member.id,
                        held: entry.held,
                        confirmed_epoch: entry.confirmed_epoch,
                        alive: known.is_fresh(self.interval),
                    });
                }
            }
        }
        out
    }

    pub(super) fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        for known in self.known.iter() {
            let silent = known.silent_since.is_some();
            gauges.gates += u64::from(!silent);
            gauges.gates_silent += u64::from(silent);
            for entry in known.status.iter().flat_map(|status| &status.entries) {
                gauges.held += if silent { 0 } else { u64::from(entry.held) };
                gauges.in_flight += u64::from(entry.in_flight);
            }
        }
        gauges
    }
}
