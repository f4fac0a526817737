//! The proxies: who is live, what each has applied and uses, and who has gone silent.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{Incarnation, Proxy, Report, Reporter, Revision, TargetId};

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
    /// Three heartbeats without a word.
    pub silent: bool,
    /// What all its gates have applied, of this control plane's life.
    pub applied: u64,
    /// What it uses. Holds only targets that are configured and in use.
    pub usage: BTreeMap<TargetId, Use>,
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

/// All proxies that are not forgotten.
#[derive(Clone, Debug)]
pub struct Proxies {
    limits: Limits,
    all: BTreeMap<ProxyKey, ProxyState>,
}

impl Proxies {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            all: BTreeMap::new(),
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
            }
        });
        fresh |= std::mem::take(&mut state.silent);
        state.last_word = now;
        Ok((state, fresh))
    }

    /// A poll has ended: its end was a word, too.
    pub fn close_poll(&mut self, key: &ProxyKey, poll: PollId, now: Time) {
        if let Some(state) = self.all.get_mut(key)
            && state.poll == Some(poll)
        {
            state.poll = None;
            state.last_word = now;
        }
    }

    /// Signs a proxy off.
    pub fn remove(&mut self, key: &ProxyKey) -> Option<ProxyState> {
        self.all.remove(key)
    }

    /// Forgets what was said about a target that is no longer there.
    pub fn drop_target(&mut self, id: &TargetId) {
        for state in self.all.values_mut() {
            state.usage.remove(id);
        }
    }

    /// Held and in flight, over all proxies that speak.
    pub fn usage(&self, id: &TargetId) -> (u64, u64) {
        let speaking = self.all.values().filter(|state| !state.silent);
        let uses = speaking.filter_map(|state| state.usage.get(id));
        uses.fold((0, 0), |(held, in_flight), one| {
            (held + u64::from(one.held), in_flight + u64::from(one.in_flight))
        })
    }

    /// What the proxies say to a stop of something that has held since revision `n`.
    pub fn quorum(&self, n: u64) -> Quorum {
        if self.all.is_empty() {
            Quorum::NoProxy
        } else if self.all.values().any(|state| state.silent) {
            Quorum::Silent
        } else if self.all.values().all(|state| state.applied >= n) {
            Quorum::Confirmed
        } else {
            Quorum::Unconfirmed
        }
    }

    /// Who has said nothing for too long, at most one step for each. Their demand is dropped at once.
    pub fn lapse(&mut self, now: Time) -> Vec<Lapse> {
        let Limits { forget_after, .. } = self.limits;
        let silence = self.limits.silence();
        let mut lapses = Vec::new();
        self.all.retain(|key, state| {
            if state.poll.is_some() {
                return true;
            }
            let quiet = now.since(state.last_word);
            if quiet >= forget_after.max(silence) {
                lapses.push(Lapse::Forgotten(key.clone()));
                return false;
            }
            if quiet >= silence && !state.silent {
                state.silent = true;
                state.usage.clear();
                // A confirm says what is in flight as well: one whose other half was dropped is none.
                state.applied = 0;
                lapses.push(Lapse::Silent(key.clone()));
            }
            true
        });
        lapses
    }

    /// When [`Self::lapse`] will have something to say, if nobody says a word.
    pub fn deadline(&self) -> Option<Time> {
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
