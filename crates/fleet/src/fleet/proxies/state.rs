//! What is known of one proxy, and what its words are judged by.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{Incarnation, Proxy, Reporter, TargetId};

use super::{Missed, Module};
use crate::lifecycle::DrainConsent;
use crate::time::Time;

/// Most that a term rises by from one word of a proxy to the next. A relay speaks as soon as it has taken over, and it
/// takes half a second to find out that the one before it has died; so a proxy that speaks at all does not skip so many.
pub const MAX_TERM_RISE: u64 = 16;

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
    /// Highest term heard of, in polls and reports, since it was last silent. Changed by [`super::Proxies`] alone.
    pub term: u64,
    /// The newest report since it was last silent.
    pub reported: Option<Newest>,
    /// It has said that it applied something of this control plane, or was known to the one before. Those that never did
    /// make room for others first.
    pub proven: bool,
    /// Its open poll.
    pub poll: Option<PollId>,
    /// When it was last heard of. With a poll open it is heard of all the time.
    pub last_word: Time,
    /// Three heartbeats without a word. Changed by [`super::Proxies`] alone, which counts them.
    pub silent: bool,
    /// What all its gates have applied, of this control plane's life. Changed by [`super::Proxies`] alone.
    pub applied: u64,
    /// What it uses. Holds only targets that are configured and in use. Changed by [`super::Proxies`] alone, which adds them up.
    pub usage: BTreeMap<TargetId, Use>,
    /// What it said of its module; `None` until its first sync. Changed by [`super::Proxies`] alone, which counts them.
    pub module: Option<Module>,
    /// What it does not reach, as of its last report. Bounded by the caller that sets it.
    pub unreached: Vec<Missed>,
}

/// The newest report of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// `(term, seq)`.
    pub order: (u64, u64),
    /// When it came.
    pub at: Time,
}

/// Why a word of a proxy is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A relay of a later term speaks for this proxy.
    Superseded,
    /// The term is higher by more than [`MAX_TERM_RISE`].
    TermJump {
        /// The highest heard of.
        from: u64,
    },
}

impl ProxyState {
    /// Of a proxy that has just been heard of first.
    pub(super) fn new(term: u64, now: Time) -> Self {
        Self {
            term,
            reported: None,
            proven: false,
            poll: None,
            last_word: now,
            silent: false,
            applied: 0,
            usage: BTreeMap::new(),
            module: None,
            unreached: Vec::new(),
        }
    }

    /// What its module is beside ours: one of [`Module::WORDS`].
    pub fn compared(&self) -> &'static str {
        self.module.unwrap_or(Module::Unknown).compared()
    }

    /// Whether a relay of `term` may speak. The order of terms binds only as long as the proxy speaks: after a silence
    /// any relay is heard, so that a made-up term cannot silence a proxy for good.
    pub fn judge(&self, term: u64) -> Result<(), Misfit> {
        if self.silent || term == self.term {
            Ok(())
        } else if term < self.term {
            Err(Misfit::Superseded)
        } else if term - self.term > MAX_TERM_RISE {
            Err(Misfit::TermJump { from: self.term })
        } else {
            Ok(())
        }
    }

    /// True if a report of this order has been overtaken. A report that was delayed comes soon after the one that overtook
    /// it; if none has been taken for `patience`, the newest known is none that this relay has sent.
    pub fn is_overtaken(&self, order: (u64, u64), now: Time, patience: Duration) -> bool {
        self.reported
            .is_some_and(|newest| order < newest.order && now.since(newest.at) < patience)
    }
}

/// What a report has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// What was applied.
    pub applied: u64,
    /// What was in use.
    pub usage: BTreeMap<TargetId, Use>,
}

/// What all proxies together have applied. It changes rarely, and only then does any target's [`DrainConsent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyWatermark {
    /// There is none.
    NoProxy,
    /// One that is not forgotten says nothing, or had to make room.
    Silent,
    /// The least of what any of them has applied.
    Applied(u64),
}

impl ProxyWatermark {
    /// What it means for a stop of something that has held since revision `n`.
    pub fn consent(self, n: u64) -> DrainConsent {
        match self {
            Self::NoProxy => DrainConsent::NoProxy,
            Self::Silent => DrainConsent::Silent,
            Self::Applied(least) if least >= n => DrainConsent::Confirmed,
            Self::Applied(_) => DrainConsent::Unconfirmed,
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
    /// Most proxies at once. Beyond it silent ones make room.
    pub max: usize,
}

impl Limits {
    /// Without a word for this long a proxy counts as silent.
    pub fn silence(&self) -> Duration {
        self.heartbeat * 3
    }

    /// Without a word for this long a proxy is as if it had never been: never sooner than it is silent.
    pub fn forget_after(&self) -> Duration {
        self.forget_after.max(self.silence())
    }
}

/// What became of a proxy that said nothing for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Its demand no longer counts; it goes on blocking sleeps.
    Silent(ProxyKey),
    /// It is as if it had never been.
    Forgotten(ProxyKey),
    /// So many that had to make room would have been forgotten by now.
    Others(u64),
}

/// There are as many proxies as may be, and all of them speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;
