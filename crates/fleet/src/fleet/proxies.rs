//! The proxies: which are live and which silent, what each has applied and uses, and which makes room for another.

pub mod known;
mod missed;
mod module;
mod others;
mod room;
mod state;
mod sums;

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Revision, TargetId};

pub use known::Known;
pub use missed::Missed;
pub use module::Module;
pub use state::{
    Before, Expired, Limits, MAX_TERM_RISE, Misfit, Newest, PollId, ProxyKey, ProxyState, ProxyWatermark,
    TooMany, Use,
};

use crate::lifecycle::DrainConsent;
use crate::time::Time;
use others::Others;
pub(super) use sums::shift;
use sums::{not_missed, take_off, uncount};

/// All proxies that are not forgotten. What is asked of all of them together is kept up to date as they change, because
/// it is asked for every target.
#[derive(Clone, Debug)]
pub struct Proxies {
    limits: Limits,
    all: BTreeMap<ProxyKey, ProxyState>,
    /// Those that had to make room.
    others: Others,
    /// How many are silent.
    silent: usize,
    /// How many have applied what.
    applied: BTreeMap<u64, usize>,
    /// Held and in flight, of every target that has any.
    totals: BTreeMap<TargetId, (u64, u64)>,
    /// Held and in flight, over all targets.
    total: (u64, u64),
    /// Proxies that do not reach a target, by target.
    missed_by: BTreeMap<TargetId, BTreeSet<ProxyKey>>,
    /// How many polls are open.
    polling: u64,
    /// How many that speak run which module: the words of [`Module::compared`].
    modules: BTreeMap<&'static str, u64>,
    /// Raised whenever a proxy comes or goes.
    changes: u64,
    /// Lower bound of the next moment a proxy can turn silent or be forgotten; exact after [`Self::expire`].
    next_expiry: Option<Time>,
}

/// What a word of a proxy has brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// It is new, or was silent.
    pub fresh: bool,
    /// The proxy that had to make room for it, with its open poll.
    pub evicted: Option<(ProxyKey, Option<PollId>)>,
}

impl Proxies {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            all: BTreeMap::new(),
            others: Others::new(limits.forget_after()),
            silent: 0,
            applied: BTreeMap::new(),
            totals: BTreeMap::new(),
            total: (0, 0),
            missed_by: BTreeMap::new(),
            polling: 0,
            modules: BTreeMap::new(),
            changes: 0,
            next_expiry: None,
        }
    }

    /// Every proxy, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&ProxyKey, &ProxyState)> {
        self.all.iter()
    }

    /// One proxy.
    pub fn find(&self, key: &ProxyKey) -> Option<&ProxyState> {
        self.all.get(key)
    }

    /// How many had to make room and are not forgotten.
    pub fn others(&self) -> u64 {
        self.others.count()
    }

    /// Takes in the proxies that another control plane knew: silent, and last heard of now, since the real time is not known. They are taken for
    /// real, so that made-up ones make room first.
    pub fn remember(&mut self, known: &Known, now: Time) {
        self.others.add(known.others, now);
        for key in &known.proxies {
            if self.all.contains_key(key) {
                continue;
            }
            if self.all.len() >= self.limits.max {
                self.others.add(1, now);
                continue;
            }
            let state = ProxyState {
                silent: true,
                proven: true,
                ..ProxyState::new(0, now)
            };
            self.all.insert(key.clone(), state);
            self.silent += 1;
            *self.applied.entry(0).or_default() += 1;
        }
        self.changes += 1;
        self.expires_at(now + self.limits.forget_after());
    }

    /// The proxies that another control plane would have to know.
    pub fn known(&self) -> Known {
        Known {
            proxies: self.all.keys().cloned().collect(),
            others: self.others.count(),
        }
    }

    /// Another number whenever [`Self::known`] says something else.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A word of a proxy, whose relay has this term: it is live. [`ProxyState::judge`] has been asked.
    pub fn hear(&mut self, key: &ProxyKey, term: u64, now: Time) -> Result<Heard, TooMany> {
        let known = self.all.contains_key(key);
        let evicted = if known { None } else { self.make_room(key, now)? };
        let new = || ProxyState::new(term, now);
        let state = self.all.entry(key.clone()).or_insert_with(new);
        let mut fresh = !known;
        if fresh {
            self.changes += 1;
            *self.applied.entry(0).or_default() += 1;
        }
        if std::mem::take(&mut state.silent) {
            self.silent -= 1;
            fresh = true;
        }
        state.term = state.term.max(term);
        state.last_word = now;
        if fresh {
            shift(&mut self.modules, None, Some(state.compared()));
        }
        self.expires_at(now + self.limits.silence());
        Ok(Heard { fresh, evicted })
    }

    /// Makes `poll` the open poll of a proxy that was heard. Returns the one that it replaces.
    pub fn open_poll(&mut self, key: &ProxyKey, poll: PollId) -> Option<PollId> {
        let older = self.all.get_mut(key)?.poll.replace(poll);
        self.polling += u64::from(older.is_none());
        older
    }

    /// What a proxy that was heard says of its module. True if it has not said so before.
    pub fn set_module(&mut self, key: &ProxyKey, module: Module) -> bool {
        let Some(state) = self.all.get_mut(key) else {
            return false;
        };
        let before = state.compared();
        let news = state.module.replace(module) != Some(module);
        if !state.silent {
            shift(&mut self.modules, Some(before), Some(state.compared()));
        }
        news
    }

    /// What a proxy that was heard says to have applied and in use, in place of what it said before.
    pub fn report(
        &mut self,
        key: &ProxyKey,
        newest: Newest,
        applied: u64,
        usage: BTreeMap<TargetId, Use>,
    ) -> Option<Before> {
        let state = self.all.get_mut(key)?;
        state.reported = Some(newest);
        state.proven |= applied > 0;
        self.replace(key, applied, usage)
    }

    fn replace(&mut self, key: &ProxyKey, applied: u64, usage: BTreeMap<TargetId, Use>) -> Option<Before> {
        let state = self.all.get_mut(key)?;
        let before = Before {
            applied: std::mem::replace(&mut state.applied, applied),
            usage: std::mem::replace(&mut state.usage, usage),
        };
        if before.applied != applied {
            uncount(&mut self.applied, before.applied);
            *self.applied.entry(applied).or_default() += 1;
        }
        for (id, one) in &before.usage {
            take_off(&mut self.totals, &mut self.total, id, *one);
        }
        for (id, one) in &state.usage {
            for (held, in_flight) in [self.totals.entry(id.clone()).or_default(), &mut self.total] {
                *held += u64::from(one.held);
                *in_flight += u64::from(one.in_flight);
            }
        }
        Some(before)
    }

    /// A poll has ended: its end was a word, too.
    pub fn close_poll(&mut self, key: &ProxyKey, poll: PollId, now: Time) {
        if let Some(state) = self.all.get_mut(key)
            && state.poll == Some(poll)
        {
            state.poll = None;
            self.polling -= 1;
            state.last_word = now;
            self.expires_at(now + self.limits.silence());
        }
    }

    /// Signs a proxy off.
    pub fn remove(&mut self, key: &ProxyKey) -> Option<ProxyState> {
        let state = self.all.remove(key)?;
        self.changes += 1;
        uncount(&mut self.applied, state.applied);
        self.silent -= usize::from(state.silent);
        self.polling -= u64::from(state.poll.is_some());
        if !state.silent {
            shift(&mut self.modules, Some(state.compared()), None);
        }
        for (id, one) in &state.usage {
            take_off(&mut self.totals, &mut self.total, id, *one);
        }
        for target in state.unreached.iter().map(Missed::target) {
            not_missed(&mut self.missed_by, target, key);
        }
        Some(state)
    }

    /// Held and in flight, over all proxies that speak.
    pub fn usage(&self, id: &TargetId) -> (u64, u64) {
        self.totals.get(id).copied().unwrap_or_default()
    }

    /// What all of them have applied.
    pub fn watermark(&self) -> ProxyWatermark {
        if self.silent > 0 || !self.others.is_empty() {
            return ProxyWatermark::Silent;
        }
        match self.applied.first_key_value() {
            None => ProxyWatermark::NoProxy,
            Some((least, _)) => ProxyWatermark::Applied(*least),
        }
    }

    /// What the proxies say to a stop of something that has held since revision `n`.
    pub fn consent(&self, n: u64) -> DrainConsent {
        self.watermark().consent(n)
    }

    /// Silences and forgets the proxies that have said nothing for too long, at most one step for each, and returns them. Their demand is
    /// dropped at once.
    pub fn expire(&mut self, now: Time) -> Vec<Expired> {
        if self.next_expiry.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let silence = self.limits.silence();
        let forget_after = self.limits.forget_after();
        let mut expired = Vec::new();
        for (key, state) in self.all.iter().filter(|(_, state)| state.poll.is_none()) {
            let quiet = now.since(state.last_word);
            if quiet >= forget_after {
                expired.push(Expired::Forgotten(key.clone()));
            } else if quiet >= silence && !state.silent {
                expired.push(Expired::Silent(key.clone()));
            }
        }
        for one in &expired {
            match one {
                Expired::Forgotten(key) => drop(self.remove(key)),
                Expired::Silent(key) => self.silence(key),
                Expired::Others(_) => {}
            }
        }
        let others = self.others.expire(now);
        self.changes += u64::from(others > 0);
        expired.extend((others > 0).then_some(Expired::Others(others)));
        self.next_expiry = self.first_expiry();
        expired
    }

    fn silence(&mut self, key: &ProxyKey) {
        // A confirm says what is in flight as well: one whose other half was dropped is none.
        self.replace(key, 0, BTreeMap::new());
        self.set_unreached(key, Vec::new());
        if let Some(state) = self.all.get_mut(key) {
            state.silent = true;
            // The next relay that speaks is heard.
            (state.term, state.reported) = (0, None);
            self.silent += 1;
            shift(&mut self.modules, Some(state.compared()), None);
        }
    }

    fn first_expiry(&self) -> Option<Time> {
        let quiet = self.all.values().filter(|state| state.poll.is_none());
        let expiry = |state: &ProxyState| {
            let wait = if state.silent {
                self.limits.forget_after()
            } else {
                self.limits.silence()
            };
            state.last_word + wait
        };
        quiet.map(expiry).chain(self.others.deadline()).min()
    }

    fn expires_at(&mut self, at: Time) {
        self.next_expiry = Some(self.next_expiry.map_or(at, |known| known.min(at)));
    }

    /// When [`Self::expire`] must be asked: it may have something to say then, and has nothing to say before.
    pub fn deadline(&self) -> Option<Time> {
        self.next_expiry
    }
}

/// `applied` if it is of `instance`, else 0: another life's revisions say nothing about this one's.
pub fn applied_of(applied: Option<&Revision>, instance: &str) -> u64 {
    applied
        .filter(|revision| revision.instance == instance)
        .map_or(0, |revision| revision.n)
}
