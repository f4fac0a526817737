//! All targets and all proxies: every message is judged here, and what follows comes back as [`Effect`]s.
//!
//! Sans-IO: inputs are methods that take `now`; outputs are drained with [`Fleet::take_effects`]; one
//! [`Fleet::poll_timeout`]/[`Fleet::handle_timeout`] pair. Reads no clock, sends nothing, starts nothing.

mod advance;
mod condition;
mod configure;
mod configured;
mod counts;
mod effects;
mod entry;
mod index;
mod marks;
pub mod proxies;
mod renames;
mod report;
mod status;
mod twins;
mod unreached;
mod wakes;

#[cfg(test)]
mod props;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use protocol::{Proxy, TargetId};
use thiserror::Error;

pub use condition::Condition;
pub use configured::Configured;
pub use counts::Counts;
pub use effects::{Effect, FleetEvent};
pub use proxies::Missed;
pub use proxies::known::{self, Known};
pub use report::Reported;
pub use status::{ProxyStatus, Status, TargetStatus};
pub use unreached::UnreachedBy;
pub use wakes::{LastWake, WokenBy};

use crate::lifecycle::{Event, Lifecycle, Observed, Phase, Policy, Refusal, may_sleep};
use crate::time::{Time, millis};
use crate::view::Publication;
use entry::Entry;
use index::Index;
use proxies::{Expired, Heard, Limits, Misfit, Module, PollId, Proxies, ProxyKey, ProxyWatermark, TooMany};
use twins::Twins;

/// What a fleet is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Random name of this life of the control plane.
    pub instance: String,
    /// When it began.
    pub started: Time,
    /// No drain begins in the first two of them.
    pub lease: Duration,
    /// Time limits of lives.
    pub policy: Policy,
    /// Time limits and bounds of proxies.
    pub limits: Limits,
    /// False where only a person puts to sleep.
    pub sleeps_when_idle: bool,
    /// Two estimates of an arrival no further apart than this are the same arrival.
    pub arrival_jitter: Duration,
    /// Seeds the spread of retries.
    pub seed: u64,
    /// True where workloads end with the control plane.
    pub workloads_end_with_us: bool,
}

impl Settings {
    /// 0 to 1000, another for each target and moment: retries need a spread, not secrets.
    fn jitter(&self, id: &TargetId, now: Time) -> u16 {
        let mut hasher = DefaultHasher::new();
        (self.seed, id, now).hash(&mut hasher);
        u16::try_from(hasher.finish() % 1001).unwrap_or(0)
    }
}

/// All targets and all proxies.
#[derive(Debug)]
pub struct Fleet {
    settings: Settings,
    /// Counts what is published. 0: the configuration has not been read yet.
    n: u64,
    targets: BTreeMap<TargetId, Entry>,
    index: Index,
    twins: Twins,
    proxies: Proxies,
    effects: Vec<Effect>,
    /// Milliseconds from 1970 to [`Time`] zero. The caller sets it: here no clock is read.
    unix_zero: u64,
    /// The control plane shuts down: lives stand still.
    closing: bool,
}

/// Why a poll was not taken as the proxy's one open poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollRefusal {
    /// Its term does not fit what was heard of this proxy.
    Misfit(Misfit),
    /// There are as many proxies as may be, and all of them speak.
    TooMany,
    /// There are as many open polls as may be.
    TooManyPolls,
}

/// Why a person's wish is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WishRefusal {
    /// No such target.
    #[error("there is no such target")]
    Unknown,
    /// Not now.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl Fleet {
    /// Nothing known yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            n: 0,
            targets: BTreeMap::new(),
            index: Index::default(),
            twins: Twins::default(),
            proxies: Proxies::new(settings.limits),
            effects: Vec::new(),
            unix_zero: 0,
            closing: false,
            settings,
        }
    }

    /// Says what the wall clock shows at `now`, for what people read of later moments.
    pub fn set_wall_clock(&mut self, unix_ms: u64, now: Time) {
        self.unix_zero = unix_ms.saturating_sub(millis(now.as_duration()));
    }

    /// What to do, in order. Empties the list.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// A proxy has opened a poll: it is live, and its older poll ends.
    pub fn open_poll(&mut self, proxy: &Proxy, poll: PollId, now: Time) -> Result<(), PollRefusal> {
        let key = ProxyKey::from(proxy);
        let judged = self
            .proxies
            .find(&key)
            .map_or(Ok(()), |state| state.judge(proxy.term));
        judged.map_err(PollRefusal::Misfit)?;
        let before = self.proxies.watermark();
        let heard = self.proxies.hear(&key, proxy.term, now);
        let heard = heard.map_err(|TooMany| PollRefusal::TooMany)?;
        if let Some(older) = self.proxies.open_poll(&key, poll) {
            self.effects.push(Effect::EndPoll(older));
        }
        self.heard(&key, heard, before, BTreeSet::new(), now);
        Ok(())
    }

    /// What follows from a word of a proxy; `before`: how all of them stood, `affected`: what it spoke of.
    fn heard(
        &mut self,
        key: &ProxyKey,
        heard: Heard,
        before: ProxyWatermark,
        affected: BTreeSet<TargetId>,
        now: Time,
    ) {
        if let Some((evicted, poll)) = heard.evicted {
            self.effects.extend(poll.map(Effect::EndPoll));
            let others = self.proxies.others();
            self.emit(FleetEvent::Evicted {
                proxy: evicted,
                others,
            });
        }
        if heard.fresh {
            self.emit(FleetEvent::Live(key.clone()));
        }
        self.follow_watermark(before, affected, now);
    }

    /// Takes in what a proxy that was heard says of its module's version; tells it once.
    pub fn hear_module(&mut self, proxy: &Proxy, module: Option<&str>) {
        let (key, module) = (ProxyKey::from(proxy), Module::parse(module));
        if self.proxies.set_module(&key, module) && module.compared() != "same" {
            self.emit(FleetEvent::Module { proxy: key, module });
        }
    }

    /// Takes in the proxies that the control plane before this one knew. Until they are heard or forgotten they are silent.
    pub fn remember(&mut self, known: &Known, now: Time) {
        self.proxies.remember(known, now);
        self.tick_all(now);
    }

    /// The proxies that another control plane would have to know.
    pub fn known(&self) -> Known {
        self.proxies.known()
    }

    /// Another number whenever [`Self::known`] says something else.
    pub fn known_changes(&self) -> u64 {
        self.proxies.changes()
    }

    /// A poll has been answered, or its connection is gone.
    pub fn close_poll(&mut self, proxy: &Proxy, poll: PollId, now: Time) {
        self.proxies.close_poll(&ProxyKey::from(proxy), poll, now);
    }

    /// The backend saw something.
    pub fn observe(&mut self, id: &TargetId, seen: Observed, now: Time) {
        self.advance(id, Event::Observed(seen), now);
    }

    /// A person asks for a target to be up.
    pub fn wake(&mut self, id: &TargetId, now: Time) -> Result<(), WishRefusal> {
        let entry = self.targets.get(id).ok_or(WishRefusal::Unknown)?;
        if entry.life.phase == Phase::Suspended {
            return Err(self.refuse(id, Refusal::Suspended));
        }
        self.advance(id, Event::Wake, now);
        Ok(())
    }

    /// A person asks for a target to be put to sleep.
    pub fn sleep(&mut self, id: &TargetId, now: Time) -> Result<(), WishRefusal> {
        let facts = self.facts(id, now).ok_or(WishRefusal::Unknown)?;
        let entry = self.targets.get_mut(id).ok_or(WishRefusal::Unknown)?;
        if let Err(refusal) = may_sleep(&entry.life, &facts) {
            return Err(self.refuse(id, refusal));
        }
        entry.matched = true;
        self.advance(id, Event::Sleep, now);
        Ok(())
    }

    fn refuse(&mut self, id: &TargetId, refusal: Refusal) -> WishRefusal {
        self.emit(FleetEvent::Refused {
            target: id.clone(),
            refusal,
        });
        refusal.into()
    }

    /// The control plane shuts down: lives stand still, and where workloads end with it, the proxies are told to hold
    /// what would pass into them.
    pub fn close(&mut self) {
        self.closing = true;
        if self.settings.workloads_end_with_us {
            let ids: Vec<_> = self.targets.keys().cloned().collect();
            for id in ids {
                self.publish_if_changed(&id);
                self.mark(&id);
            }
        }
    }

    /// True if every proxy that speaks has confirmed what [`Self::close`] told it; at once if it told nothing.
    pub fn is_closed(&self) -> bool {
        if !self.settings.workloads_end_with_us {
            return self.closing;
        }
        let told = self.proxies.iter().filter(|(_, state)| !state.silent);
        self.closing && told.into_iter().all(|(_, state)| state.applied >= self.n)
    }

    /// The life of one target.
    pub fn life(&self, id: &TargetId) -> Option<&Lifecycle> {
        self.targets.get(id).map(|entry| &entry.life)
    }

    /// When [`Self::handle_timeout`] must be called if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Time> {
        let targets = self.index.deadline().filter(|_| !self.closing);
        targets.into_iter().chain(self.proxies.deadline()).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        let expired = self.proxies.expire(now);
        if expired.is_empty() {
            for id in self.index.due(now) {
                self.advance(&id, Event::Tick, now);
            }
            return;
        }
        for one in expired {
            self.emit(match one {
                Expired::Silent(key) => FleetEvent::Silent(key),
                Expired::Forgotten(key) => FleetEvent::Forgotten(key),
                Expired::Others(count) => FleetEvent::OthersForgotten(count),
            });
        }
        self.tick_all(now);
    }

    /// Ticks `affected`, and every target whose consent is another than it was when the proxies stood at `before`.
    fn follow_watermark(&mut self, before: ProxyWatermark, mut affected: BTreeSet<TargetId>, now: Time) {
        match (before, self.proxies.watermark()) {
            (before, after) if before == after => {}
            (ProxyWatermark::Applied(one), ProxyWatermark::Applied(other)) => {
                let changed = self.index.confirms(one.min(other) + 1..=one.max(other));
                affected.extend(changed.cloned());
            }
            _ => return self.tick_all(now),
        }
        for id in affected {
            self.advance(&id, Event::Tick, now);
        }
    }

    fn tick_all(&mut self, now: Time) {
        let ids: Vec<_> = self.targets.keys().cloned().collect();
        for id in ids {
            self.advance(&id, Event::Tick, now);
        }
    }

    fn emit(&mut self, event: FleetEvent) {
        self.effects.push(Effect::Emit(event));
    }

    fn next_revision(&mut self) -> u64 {
        self.n += 1;
        self.n
    }

    fn publish(&mut self, publication: Publication) {
        for target in &publication.changed {
            self.effects.push(Effect::Emit(FleetEvent::Published {
                target: target.clone(),
                n: publication.n,
            }));
        }
        for id in &publication.removed {
            self.effects
                .push(Effect::Emit(FleetEvent::Removed { target: id.clone() }));
        }
        self.effects.push(Effect::Publish(publication));
    }
}
