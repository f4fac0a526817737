//! The proxies: who is live, what each has applied and uses, who has gone silent, and who makes room for whom.

mod others;
mod room;
mod state;

use std::collections::BTreeMap;

use protocol::{Revision, TargetId};

pub use state::{
    Before, Lapse, Limits, MAX_TERM_RISE, Misfit, Newest, PollId, ProxyKey, ProxyState, Standing, TooMany,
    Use,
};

use super::{Known, Missed};
use crate::life::Quorum;
use crate::time::Time;
use others::Others;

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
    /// Raised whenever somebody comes or goes.
    changes: u64,
    /// Nobody lapses before it. Made exact by [`Self::lapse`]; a word in between only puts a lapse off.
    next_lapse: Option<Time>,
}

/// What a word of a proxy has brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// It is new, or was silent.
    pub fresh: bool,
    /// Who had to make room for it, with its open poll.
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
            changes: 0,
            next_lapse: None,
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

    /// Takes in whom another control plane knew: silent, and last heard of now, for nobody knows when. They are taken for
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
        self.lapses_at(now + self.limits.forget_after());
    }

    /// Whom another control plane would have to know.
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
        self.lapses_at(now + self.limits.silence());
        Ok(Heard { fresh, evicted })
    }

    /// Makes `poll` the open poll of a proxy that was heard. Returns the one that it replaces.
    pub fn open_poll(&mut self, key: &ProxyKey, poll: PollId) -> Option<PollId> {
        self.all.get_mut(key)?.poll.replace(poll)
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
            take_off(&mut self.totals, id, *one);
        }
        for (id, one) in &state.usage {
            let (held, in_flight) = self.totals.entry(id.clone()).or_default();
            *held += u64::from(one.held);
            *in_flight += u64::from(one.in_flight);
        }
        Some(before)
    }

    /// What a proxy that was heard does not reach, in place of what it said before, which is returned.
    pub fn set_unreached(&mut self, key: &ProxyKey, unreached: Vec<Missed>) -> Option<Vec<Missed>> {
        let state = self.all.get_mut(key)?;
        Some(std::mem::replace(&mut state.unreached, unreached))
    }

    /// A poll has ended: its end was a word, too.
    pub fn close_poll(&mut self, key: &ProxyKey, poll: PollId, now: Time) {
        if let Some(state) = self.all.get_mut(key)
            && state.poll == Some(poll)
        {
            state.poll = None;
            state.last_word = now;
            self.lapses_at(now + self.limits.silence());
        }
    }

    /// Signs a proxy off.
    pub fn remove(&mut self, key: &ProxyKey) -> Option<ProxyState> {
        let state = self.all.remove(key)?;
        self.changes += 1;
        uncount(&mut self.applied, state.applied);
        self.silent -= usize::from(state.silent);
        for (id, one) in &state.usage {
            take_off(&mut self.totals, id, *one);
        }
        Some(state)
    }

    /// Forgets what was said about a target that is no longer there.
    pub fn drop_target(&mut self, id: &TargetId) {
        self.totals.remove(id);
        for state in self.all.values_mut() {
            state.usage.remove(id);
        }
    }

    /// What is said of `from` is of `to` from now on, of which nothing has been said.
    pub fn rename_target(&mut self, from: &TargetId, to: &TargetId) {
        if let Some(total) = self.totals.remove(from) {
            self.totals.insert(to.clone(), total);
        }
        for state in self.all.values_mut() {
            if let Some(one) = state.usage.remove(from) {
                state.usage.insert(to.clone(), one);
            }
            state.unreached.retain(|one| !one.is_of(from));
        }
    }

    /// Held and in flight, over all proxies that speak.
    pub fn usage(&self, id: &TargetId) -> (u64, u64) {
        self.totals.get(id).copied().unwrap_or_default()
    }

    /// What all of them have applied.
    pub fn standing(&self) -> Standing {
        if self.silent > 0 || !self.others.is_empty() {
            return Standing::Silent;
        }
        match self.applied.first_key_value() {
            None => Standing::NoProxy,
            Some((least, _)) => Standing::Applied(*least),
        }
    }

    /// What the proxies say to a stop of something that has held since revision `n`.
    pub fn quorum(&self, n: u64) -> Quorum {
        self.standing().quorum(n)
    }

    /// Who has said nothing for too long, at most one step for each. Their demand is dropped at once.
    pub fn lapse(&mut self, now: Time) -> Vec<Lapse> {
        if self.next_lapse.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let silence = self.limits.silence();
        let forget_after = self.limits.forget_after();
        let mut lapses = Vec::new();
        for (key, state) in self.all.iter().filter(|(_, state)| state.poll.is_none()) {
            let quiet = now.since(state.last_word);
            if quiet >= forget_after {
                lapses.push(Lapse::Forgotten(key.clone()));
            } else if quiet >= silence && !state.silent {
                lapses.push(Lapse::Silent(key.clone()));
            }
        }
        for lapse in &lapses {
            match lapse {
                Lapse::Forgotten(key) => drop(self.remove(key)),
                Lapse::Silent(key) => self.silence(key),
                Lapse::Others(_) => {}
            }
        }
        let others = self.others.lapse(now);
        self.changes += u64::from(others > 0);
        lapses.extend((others > 0).then_some(Lapse::Others(others)));
        self.next_lapse = self.first_lapse();
        lapses
    }

    fn silence(&mut self, key: &ProxyKey) {
        // A confirm says what is in flight as well: one whose other half was dropped is none.
        self.replace(key, 0, BTreeMap::new());
        if let Some(state) = self.all.get_mut(key) {
            state.unreached = Vec::new();
            state.silent = true;
            // Whoever speaks next is heard.
            (state.term, state.reported) = (0, None);
            self.silent += 1;
        }
    }

    fn first_lapse(&self) -> Option<Time> {
        let quiet = self.all.values().filter(|state| state.poll.is_none());
        let lapse_at = |state: &ProxyState| {
            let wait = if state.silent {
                self.limits.forget_after()
            } else {
                self.limits.silence()
            };
            state.last_word + wait
        };
        quiet.map(lapse_at).chain(self.others.deadline()).min()
    }

    fn lapses_at(&mut self, at: Time) {
        self.next_lapse = Some(self.next_lapse.map_or(at, |known| known.min(at)));
    }

    /// When [`Self::lapse`] must be asked: it may have something to say then, and has nothing to say before.
    pub fn deadline(&self) -> Option<Time> {
        self.next_lapse
    }
}

fn uncount(counts: &mut BTreeMap<u64, usize>, one: u64) {
    if let Some(count) = counts.get_mut(&one) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&one);
        }
    }
}

fn take_off(totals: &mut BTreeMap<TargetId, (u64, u64)>, id: &TargetId, one: Use) {
    // Not there any more if the target was dropped meanwhile.
    if let Some((held, in_flight)) = totals.get_mut(id) {
        *held -= u64::from(one.held);
        *in_flight -= u64::from(one.in_flight);
        if (*held, *in_flight) == (0, 0) {
            totals.remove(id);
        }
    }
}

/// `applied` if it is of `instance`, else 0: another life's revisions say nothing about this one's.
pub fn applied_of(applied: Option<&Revision>, instance: &str) -> u64 {
    applied
        .filter(|revision| revision.instance == instance)
        .map_or(0, |revision| revision.n)
}
