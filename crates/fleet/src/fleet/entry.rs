//! One target in a fleet: its document, its life, and what is published of it.

use std::sync::Arc;

use protocol::{State, Target, TargetId};

use super::Settings;
use super::index::Marks;
use super::proxies::{Proxies, ProxyKey};
use super::wakes::Wake;
use crate::config::{MatchKeys, ScaleTarget};
use crate::lifecycle::{Facts, Lifecycle, Phase};
use crate::time::Time;

/// One target with its life and what was published of it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As configured last.
    pub(super) spec: Arc<ScaleTarget>,
    /// Its keys, less those that a newer target has taken over from a retiring one.
    pub(super) keys: MatchKeys,
    /// Its life.
    pub(super) life: Lifecycle,
    /// When its keys last changed; `None` since the first configuration.
    pub(super) keys_changed: Option<Time>,
    /// A live proxy has matched a request since then, or a person asked for a sleep.
    pub(super) matched: bool,
    /// Newest matched arrival.
    pub(super) last_arrival: Option<Time>,
    /// Newest use.
    pub(super) last_use: Option<Time>,
    /// Node id of the proxy that told of the newest arrival.
    pub(super) caller: Option<String>,
    /// The last wake.
    pub(super) wake: Option<Wake>,
    /// What the proxies have been told.
    pub(super) published: Arc<Target>,
    /// Revision since which the proxies have been told not to let requests pass.
    pub(super) held_since: u64,
    /// What a person should know about its document.
    pub(super) conditions: Vec<super::Condition>,
    /// When it must be stepped again.
    pub(super) deadline: Option<Time>,
    /// What the index has of it.
    pub(super) marks: Marks,
}

impl Entry {
    /// A target that begins asleep and is published under `n`.
    pub(super) fn new(spec: Arc<ScaleTarget>, keys_changed: Option<Time>, now: Time, n: u64) -> Self {
        let life = Lifecycle::asleep(now);
        let keys = spec.keys.clone();
        let published = Arc::new(wire(&spec, &keys, &life));
        Self {
            spec,
            keys,
            life,
            keys_changed,
            matched: false,
            last_arrival: None,
            last_use: None,
            caller: None,
            wake: None,
            published,
            held_since: n,
            conditions: Vec::new(),
            deadline: None,
            marks: Marks::default(),
        }
    }

    /// What the index should have of it.
    pub(super) fn marks_now(&self) -> Marks {
        Marks {
            deadline: self.deadline,
            confirm: self.life.phase.minds_confirms().then_some(self.held_since),
            phase: Some(self.life.phase.name()),
            unreached: 0,
            shows: None,
        }
    }

    /// Makes `life` its life, before anything was published of it.
    pub(super) fn begin(&mut self, life: Lifecycle) {
        self.published = Arc::new(wire(&self.spec, &self.keys, &life));
        self.life = life;
    }

    /// What its life is judged by.
    pub(super) fn facts(&self, id: &TargetId, proxies: &Proxies, settings: &Settings, now: Time) -> Facts {
        let (held, in_flight) = proxies.usage(id);
        Facts {
            now,
            held,
            in_flight,
            last_arrival: self.last_arrival,
            last_use: self.last_use,
            consent: proxies.consent(self.held_since),
            matched: self.matched,
            may_drain_at: settings.started + (settings.lease * 2).max(self.spec.idle_after),
            idle_after: self.spec.idle_after,
            suspend: self.spec.suspend,
            sleeps_when_idle: settings.sleeps_when_idle,
            jitter: settings.jitter(id, now),
            policy: settings.policy,
        }
    }

    /// What the proxies should be told now; while `closing`, that nothing is there to be passed into.
    pub(super) fn wire(&self, closing: bool) -> Target {
        let target = wire(&self.spec, &self.keys, &self.life);
        match (closing, target.state) {
            (true, State::Ready | State::Draining | State::Waking | State::Suspended) => Target {
                state: State::Asleep,
                ready_endpoints: 0,
                ..target
            },
            _ => target,
        }
    }

    /// True if the proxies have been told what [`Self::wire`] makes of it while nothing closes. Asked at every step, so
    /// nothing is made to compare with.
    pub(super) fn is_told(&self) -> bool {
        let Target {
            id: _,
            state,
            reason,
            reason_class,
            retry_after_ms,
            epoch,
            found,
            ready_endpoints,
            hosts,
            clusters,
            leaving,
            hold,
            release,
            confirm,
            ignore,
        } = &*self.published;
        let Self { spec, keys, life, .. } = self;
        let (class, why, retry) = failure(life);
        let told = *state == life.phase.on_the_wire()
            && reason.as_deref() == why
            && reason_class.as_deref() == class
            && *retry_after_ms == retry
            && *epoch == life.epoch
            && *found == life.is_as_found()
            && *ready_endpoints == endpoints(life)
            && keys.hosts.iter().map(|key| key.as_str()).eq(hosts)
            && keys.clusters.iter().map(|key| key.as_str()).eq(clusters)
            && keys.leaving.iter().map(|key| key.as_str()).eq(leaving)
            && (hold, release, confirm, ignore) == (&spec.hold, &spec.release, &spec.confirm, &spec.ignore);
        debug_assert_eq!(
            told,
            *self.published == self.wire(false),
            "must be what wire says"
        );
        told
    }

    /// Takes in an arrival that a proxy reports.
    pub(super) fn arrived(&mut self, proxy: &ProxyKey, arrival: Time, settings: &Settings) {
        // An age is rounded and takes a while to arrive: an estimate that moves by less is the same arrival again.
        if self
            .last_arrival
            .is_none_or(|last| arrival > last + settings.arrival_jitter)
        {
            self.last_arrival = Some(arrival);
            self.last_use = self.last_use.max(Some(arrival));
            if self.caller.as_ref() != Some(&proxy.id) {
                self.caller = Some(proxy.id.clone());
            }
        }
        if self.keys_changed.is_none_or(|changed| arrival > changed) {
            self.matched = true;
        }
    }
}

fn wire(spec: &ScaleTarget, keys: &MatchKeys, life: &Lifecycle) -> Target {
    let (class, reason, retry_after_ms) = failure(life);
    Target {
        id: spec.id.clone(),
        state: life.phase.on_the_wire(),
        reason: reason.map(str::to_owned),
        reason_class: class.map(str::to_owned),
        retry_after_ms,
        epoch: life.epoch,
        found: life.is_as_found(),
        ready_endpoints: endpoints(life),
        hosts: keys.hosts.iter().map(|key| key.as_str().to_owned()).collect(),
        clusters: keys.clusters.iter().map(|key| key.as_str().to_owned()).collect(),
        leaving: keys.leaving.iter().map(|key| key.as_str().to_owned()).collect(),
        hold: spec.hold.clone(),
        release: spec.release.clone(),
        confirm: spec.confirm.clone(),
        ignore: spec.ignore.clone(),
    }
}

/// Why it cannot start, in a word and in a sentence, and when to come back.
fn failure(life: &Lifecycle) -> (Option<&'static str>, Option<&str>, Option<u64>) {
    match &life.phase {
        Phase::Failed {
            class,
            reason,
            retry_after,
            ..
        } => (
            Some(class.name()),
            Some(reason),
            Some(crate::time::millis(*retry_after)),
        ),
        _ => (None, None, None),
    }
}

fn endpoints(life: &Lifecycle) -> u32 {
    match life.phase {
        Phase::Ready | Phase::Draining { .. } => life.seen.ready,
        _ => 0,
    }
}
