//! Clusters that lead to a ready target and do not reach it: what Envoys say, and what people are told of it.
//!
//! An Envoy's word stands until its next report, and no longer than the readiness that it is about.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::{Report, TargetId, Unreached};
use serde::Serialize;

use super::proxies::{Missed, ProxyKey};
use super::{Condition, Effect, Entry, Fleet, FleetEvent};
use crate::command::Command;
use crate::config::ClusterKey;
use crate::lifecycle::Phase;
use crate::time::{Time, millis};

/// Most bytes of names and answers that are kept of one proxy: a full report of usual names has half of it.
const MAX_BYTES: usize = 16 << 10;

/// How an answer begins that says that no process listens.
const REFUSED: &str = "refused";

/// Longest answer kept, in bytes. What Envoys see has a few words.
const MAX_SAW: usize = 128;

/// Most of one target that are shown, those that have waited longest: enough to know where to look.
const MAX_SHOWN: usize = 16;

/// One cluster of one Envoy that does not reach a ready target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreachedBy {
    /// Envoy's node id.
    pub proxy: String,
    /// Tells two lives of the same node id apart.
    pub incarnation: String,
    /// Envoy's name of the cluster.
    pub cluster: String,
    /// What this Envoy saw last, for people.
    pub saw: String,
    /// Since the first such answer in this epoch, in ms; not before the target was ready.
    pub for_ms: u64,
}

impl Fleet {
    /// Takes what a proxy that was heard says in place of what it said before.
    pub(super) fn take_unreached(&mut self, key: &ProxyKey, report: &Report, now: Time) {
        let mut room = MAX_BYTES;
        let mut missed = Vec::new();
        let listed = report.unreached.iter().take(Report::MAX_UNREACHED);
        for one in listed.filter_map(|one| self.missed(one, now)) {
            let size = one.target.as_str().len() + one.cluster.len() + one.saw.len();
            let Some(left) = room.checked_sub(size) else { break };
            room = left;
            missed.push(one);
        }
        let Some(before) = self.proxies.set_unreached(key, missed.clone()) else {
            return;
        };
        let refused: BTreeSet<_> = missed
            .iter()
            .filter(|one| one.saw.starts_with(REFUSED))
            .map(|one| one.target.clone())
            .collect();
        let looks = refused
            .into_iter()
            .map(|id| Effect::Backend(Command::Look { id }));
        self.effects.extend(looks);
        let concerned = before.iter().chain(&missed).map(|one| one.target.clone());
        for id in concerned.collect::<BTreeSet<_>>() {
            self.mark(&id);
        }
        let is_known = |one: &Missed| before.iter().any(|old| old.is_same(one));
        let news = missed.into_iter().filter(|one| !is_known(one)).map(|one| {
            Effect::Emit(FleetEvent::Unreached {
                target: one.target,
                proxy: key.clone(),
                cluster: one.cluster,
                saw: one.saw,
            })
        });
        self.effects.extend(news);
    }

    /// What is kept of `one`; `None` if its target is not ready: then no proxy need reach it.
    fn missed(&self, one: &Unreached, now: Time) -> Option<Missed> {
        let entry = self.targets.get(&one.target)?;
        let up_since = entry.life.up_since.filter(|_| is_up(entry))?;
        // Not before the clock began, and not before it was there to be reached.
        let since = now
            .checked_before(Duration::from_millis(one.for_ms))
            .map_or(up_since, |since| since.max(up_since));
        Some(Missed {
            target: one.target.clone(),
            epoch: entry.life.epoch,
            cluster: cut(&one.cluster, ClusterKey::MAX_LEN),
            saw: cut(&one.saw, MAX_SAW),
            since,
        })
    }

    /// Clusters of proxies that do not reach this target now, the longest first.
    pub(super) fn misses(&self, id: &TargetId) -> Vec<(&ProxyKey, &Missed)> {
        let Some(entry) = self.targets.get(id).filter(|entry| is_up(entry)) else {
            return Vec::new();
        };
        // Said before it slept, it says nothing.
        let stands = |(_, one): &(&ProxyKey, &Missed)| one.epoch == entry.life.epoch;
        let mut list: Vec<_> = self.proxies.missed(id).filter(stands).collect();
        list.sort_by_key(|(_, one)| one.since);
        list
    }
}

fn is_up(entry: &Entry) -> bool {
    matches!(entry.life.phase, Phase::Ready | Phase::Draining { .. })
}

/// For people and programs: a part of the list.
pub(super) fn shown(list: &[(&ProxyKey, &Missed)], now: Time) -> Vec<UnreachedBy> {
    let some = list.iter().take(MAX_SHOWN);
    some.map(|(key, one)| UnreachedBy {
        proxy: key.id.clone(),
        incarnation: key.incarnation.to_string(),
        cluster: one.cluster.clone(),
        saw: one.saw.clone(),
        for_ms: millis(now.since(one.since)),
    })
    .collect()
}

/// In one sentence, which stays the same while the same are not reached.
pub(super) fn condition(list: &[(&ProxyKey, &Missed)]) -> Option<Condition> {
    let (key, one) = list.first()?;
    let more = match list.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let message = format!(
        "it is ready, but the Envoy {} does not reach it by cluster {}: {}{more}",
        key.id, one.cluster, one.saw
    );
    Some(Condition {
        kind: "Unreached",
        message: message.into(),
    })
}

/// The beginning of `text`, of at most `length` bytes.
fn cut(text: &str, length: usize) -> String {
    let end = (0..=length.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}
