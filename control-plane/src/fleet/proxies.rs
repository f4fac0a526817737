//! The proxies: who is live, what each has applied and uses, and who has gone silent.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{Incarnation, Proxy, Report, Reporter, Revision, TargetId};

use super::Missed;
use crate::life::Quorum;
use crate::time::Time;

/// One proxy: one life of one group of VMs in one Envoy process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyKey {
    /// Envoy's node id.
    pub id: String,
    /// Tells two lives of the same node id apart.
    pub incarnation: Incarnation,
}

impl From<&Proxy> for ProxyKey {
    fn from(proxy: &Proxy) -> Self {
        Self {
            id: proxy.id.clone(),
            incarnation: proxy.incarnation.clone(),
        }
    }
}

impl From<&Reporter> for ProxyKey {
    fn from(proxy: &Reporter) -> Self {
        Self {
            id: proxy.id.clone(),
            incarnation: proxy.incarnation.clone(),
        }
    }
}

impl std::fmt::Display for ProxyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.id, self.incarnation)
    }
}

/// Number of one poll, unique within one control plane's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PollId(pub u64);

/// What one proxy has of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Requests held.
    pub held: u32,
    /// Requests in flight.
    pub in_flight: u32,
}

impl Use {
    /// True if anything is held or in flight.
    pub fn busy(self) -> bool {
        self.held > 0 || self.in_flight > 0
    }
}

/// State of one proxy.
#[derive(Clone, Debug)]
pub struct ProxyState {
    /// Highest term heard of, in polls and reports.
    pub term: u64,
    /// `(term, seq)` of the newest report.
    pub reported: Option<(u64, u64)>,
    /// Its open poll.
    pub poll: Option<PollId>,
    /// When it was last heard of. With a poll open it is heard of all the time.
    pub last_word: Time,
    /// Three heartbeats without a word. Changed by [`Proxies`] alone, which counts them.
    pub silent: bool,
    /// What all its gates have applied, of this control plane's life. Changed by [`Proxies`] alone.
    pub applied: u64,
    /// What it uses. Holds only targets that are configured and in use. Changed by [`Proxies`] alone, which adds them up.
    pub usage: BTreeMap<TargetId, Use>,
    /// What it does not reach, as of its last report. Bounded by whoever sets it.
    pub unreached: Vec<Missed>,
}

/// What a report has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// What was applied.
    pub applied: u64,
    /// What was in use.
    pub usage: BTreeMap<TargetId, Use>,
}

/// What all proxies together have applied. It changes rarely, and only then does any target's [`Quorum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    NoProxy,
    /// One that is not forgotten says nothing.
    Silent,
    /// The least of what any of them has applied.
    Applied(u64),
}

impl Standing {
    /// What it means for a stop of something that has held since revision `n`.
    pub fn quorum(self, n: u64) -> Quorum {
        match self {
            Self::NoProxy => Quorum::NoProxy,
            Self::Silent => Quorum::Silent,
            Self::Applied(least) if least >= n => Quorum::Confirmed,
            Self::Applied(_) => Quorum::Unconfirmed,
        }
    }
}

/// Time limits of proxies.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A proxy says something at least this often.
    pub heartbeat: Duration,
    /// A silent one goes on blocking sleeps for this long after its last word.
    pub forget_after: Duration,
    /// Most proxies at once.
    pub max: usize,
}

impl Limits {
    /// Without a word for this long a proxy counts as silent.
    pub fn silence(&self) -> Duration {
        self.heartbeat * 3
    }
}

/// What became of a proxy that said nothing for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// Its demand no longer counts; it goes on blocking sleeps.
    Silent(ProxyKey),
    /// It is as if it had never been.
    Forgotten(ProxyKey),
}

/// There are as many proxies as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// All proxies that are not forgotten. What is asked of all of them together is kept up to date as they change, because
/// it is asked for every target.
#[derive(Clone, Debug)]
pub struct Proxies {
    limits: Limits,
    all: BTreeMap<ProxyKey, ProxyState>,
    /// How many are silent.
    silent: usize,
    /// How many have applied what.
    applied: BTreeMap<u64, usize>,
    /// Held and in flight, of every target that has any.
    totals: BTreeMap<TargetId, (u64, u64)>,
    /// Nobody lapses before it. Made exact by [`Self::lapse`]; a word in between only puts a lapse off.
    next_lapse: Option<Time>,
}

impl Proxies {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            all: BTreeMap::new(),
            silent: 0,
            applied: BTreeMap::new(),
            totals: BTreeMap::new(),
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

    /// A word of a proxy: it is live. Returns its state and whether it is new or was silent.
    pub fn hear(&mut self, key: &ProxyKey, now: Time) -> Result<(&mut ProxyState, bool), TooMany> {
        if !self.all.contains_key(key) && self.all.len() >= self.limits.max {
            return Err(TooMany);
        }
        let mut fresh = false;
        let state = self.all.entry(key.clone()).or_insert_with(|| {
            fresh = true;
            ProxyState {
                term: 0,
                reported: None,
                poll: None,
                last_word: now,
                silent: false,
                applied: 0,
                usage: BTreeMap::new(),
                unreached: Vec::new(),
            }
        });
        if fresh {
            *self.applied.entry(0).or_default() += 1;
        }
        if std::mem::take(&mut state.silent) {
            self.silent -= 1;
            fresh = true;
        }
        state.last_word = now;
        let lapses = now + self.limits.silence();
        self.next_lapse = Some(self.next_lapse.map_or(lapses, |at| at.min(lapses)));
        Ok((state, fresh))
    }

    /// What a proxy that was heard says to have applied and in use, in place of what it said before.
    pub fn report(&mut self, key: &ProxyKey, applied: u64, usage: BTreeMap<TargetId, Use>) -> Option<Before> {
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
            let lapses = now + self.limits.silence();
            self.next_lapse = Some(self.next_lapse.map_or(lapses, |at| at.min(lapses)));
        }
    }

    /// Signs a proxy off.
    pub fn remove(&mut self, key: &ProxyKey) -> Option<ProxyState> {
        let state = self.all.remove(key)?;
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

    /// Held and in flight, over all proxies that speak.
    pub fn usage(&self, id: &TargetId) -> (u64, u64) {
        self.totals.get(id).copied().unwrap_or_default()
    }

    /// What all of them have applied.
    pub fn standing(&self) -> Standing {
        match self.applied.first_key_value() {
            None => Standing::NoProxy,
            Some(_) if self.silent > 0 => Standing::Silent,
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
        let forget_after = self.limits.forget_after.max(silence);
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
            }
        }
        self.next_lapse = self.first_lapse();
        lapses
    }

    fn silence(&mut self, key: &ProxyKey) {
        // A confirm says what is in flight as well: one whose other half was dropped is none.
        self.report(key, 0, BTreeMap::new());
        if let Some(state) = self.all.get_mut(key) {
            state.unreached = Vec::new();
            state.silent = true;
            self.silent += 1;
        }
    }

    fn first_lapse(&self) -> Option<Time> {
        let quiet = self.all.values().filter(|state| state.poll.is_none());
        let silence = self.limits.silence();
        let lapse_at = |state: &ProxyState| {
            let wait = if state.silent {
                self.limits.forget_after.max(silence)
            } else {
                silence
            };
            state.last_word + wait
        };
        quiet.map(lapse_at).min()
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

/// Age of the newest arrival that `report` tells of `id`.
pub fn arrival_age(report: &Report, id: &TargetId) -> Option<Duration> {
    report.targets.get(id)?.idle_ms.map(Duration::from_millis)
}

/// `applied` if it is of `instance`, else 0: another life's revisions say nothing about this one's.
pub fn applied_of(applied: Option<&Revision>, instance: &str) -> u64 {
    applied
        .filter(|revision| revision.instance == instance)
        .map_or(0, |revision| revision.n)
}
