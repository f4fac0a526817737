//! What people see of targets and proxies, put together when they ask; and whether it has changed.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use protocol::TargetId;
use serde::Serialize;

use super::proxies::ProxyKey;
use super::wakes::Wake;
use super::{Condition, Entry, Fleet, LastWake, Missed, UnreachedBy, unreached};
use crate::lifecycle::{Lifecycle, Phase};
use crate::time::{Time, millis};

/// All there is to see, for `GET /v1/targets`, `GET /v1/proxies` and `/metrics`.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Every target, in the order of ids.
    pub targets: Vec<TargetStatus>,
    /// Every proxy that is not forgotten.
    pub proxies: Vec<ProxyStatus>,
    /// Proxies that had to make room and are not forgotten: they block sleeps, too.
    pub others: u64,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetStatus {
    /// `namespace/name`.
    pub id: TargetId,
    /// Its phase; `stopping` is told apart from `asleep` here.
    pub state: &'static str,
    /// How long it has been in it, in ms.
    pub since_ms: u64,
    /// Why it failed, in one word: a name of [`FailureClass`](crate::lifecycle::FailureClass).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_class: Option<&'static str>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until it may be tried again, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Raised each time it enters ready from anything but draining.
    pub epoch: u64,
    /// Replicas that the workload is set to, as last seen.
    pub replicas: u32,
    /// Endpoints that are ready.
    pub ready_endpoints: u32,
    /// Requests held, over all proxies that speak.
    pub held: u64,
    /// Requests in flight, over all proxies that speak.
    pub in_flight: u64,
    /// Age of the last use, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// The last wake since the control plane began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_wake: Option<LastWake>,
    /// Host keys.
    pub hosts: Vec<String>,
    /// Cluster keys.
    pub clusters: Vec<String>,
    /// Clusters of Envoys that do not reach it although it is ready: at most 16, those that have waited longest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<UnreachedBy>,
    /// How many there are of them.
    pub unreached_clusters: u64,
    /// What a person should know.
    pub conditions: Vec<Condition>,
}

/// One proxy.
#[derive(Clone, Debug, Serialize)]
pub struct ProxyStatus {
    /// Envoy's node id.
    pub id: String,
    /// Tells two lives of the same node id apart.
    pub incarnation: String,
    /// Highest term heard of.
    pub term: u64,
    /// It holds a poll open.
    pub polling: bool,
    /// Three heartbeats without a word.
    pub silent: bool,
    /// Version of its module, as far as it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// What all its gates have applied, of this control plane's life.
    pub applied: u64,
    /// Age of its last word, in ms; 0 with a poll open.
    pub quiet_ms: u64,
}

const NEVER_MATCHED: Condition = Condition {
    kind: "NeverMatched",
    message: Cow::Borrowed(
        "no live proxy has matched a request to it since its match keys last changed, so it is not put to sleep: traffic may be passing by another way",
    ),
};
const RETIRING: Condition = Condition {
    kind: "Retiring",
    message: Cow::Borrowed("it was removed from the configuration and is dropped once it is up"),
};

/// Stays the same while nothing more is undone, so that what is written down of it need not be written again.
fn contended(life: &Lifecycle) -> Option<Condition> {
    let undone = life.undone.as_ref().filter(|one| one.is_contended())?;
    let by = undone.by.as_deref().unwrap_or("another manager");
    let times = undone.times;
    let message = format!(
        "{by} has set the replicas to zero soon after a wake, {times} times in a row, so each start waits longer than the one before: let one of the two do the scaling"
    );
    Some(Condition {
        kind: "Contended",
        message: message.into(),
    })
}

fn conditions(entry: &Entry, not_reached: &[(&ProxyKey, &Missed)]) -> impl Iterator<Item = Condition> {
    let never_matched = !entry.matched && entry.life.phase == Phase::Ready;
    let known = [(never_matched, NEVER_MATCHED), (entry.life.retiring, RETIRING)];
    known
        .into_iter()
        .filter_map(|(there, one)| there.then_some(one))
        .chain(unreached::condition(not_reached))
        .chain(contended(&entry.life))
        .chain(entry.conditions.iter().cloned())
}

/// Another number whenever the [`TargetStatus`] is another in anything but ages, counts of requests and the list of what is not
/// reached, of which the condition has the first and how many more there are.
pub(super) fn digest(entry: &Entry, not_reached: &[(&ProxyKey, &Missed)]) -> u64 {
    let (life, published) = (&entry.life, &entry.published);
    let mut hasher = DefaultHasher::new();
    (life.phase.name(), life.epoch, life.seen.replicas).hash(&mut hasher);
    if let Phase::Failed { class, reason, .. } = &life.phase {
        (class.name(), reason).hash(&mut hasher);
    }
    (published.ready_endpoints, &published.hosts, &published.clusters).hash(&mut hasher);
    entry.wake.hash(&mut hasher);
    conditions(entry, not_reached).for_each(|one| one.hash(&mut hasher));
    hasher.finish()
}

impl Fleet {
    /// All there is to see at `now`. Costs as much as there is: ask for one target where one is enough.
    pub fn status(&self, now: Time) -> Status {
        let targets = self.targets.iter();
        Status {
            targets: targets.map(|(id, entry)| self.shown(id, entry, now)).collect(),
            proxies: self.proxy_status(now),
            others: self.proxies.others(),
        }
    }

    /// What there is to see of one target.
    pub fn target_status(&self, id: &TargetId, now: Time) -> Option<TargetStatus> {
        let (id, entry) = self.targets.get_key_value(id)?;
        Some(self.shown(id, entry, now))
    }

    /// What there is to see of the proxies.
    pub fn proxy_status(&self, now: Time) -> Vec<ProxyStatus> {
        let proxies = self.proxies.iter().map(|(key, state)| ProxyStatus {
            id: key.id.clone(),
            incarnation: key.incarnation.to_string(),
            term: state.term,
            polling: state.poll.is_some(),
            silent: state.silent,
            module: state.module.map(|module| module.to_string()),
            applied: state.applied,
            quiet_ms: if state.poll.is_some() {
                0
            } else {
                millis(now.since(state.last_word))
            },
        });
        proxies.collect()
    }

    fn shown(&self, id: &TargetId, entry: &Entry, now: Time) -> TargetStatus {
        #[cfg(any(test, feature = "testing"))]
        crate::testing::look_at();
        let not_reached = &self.misses(id)[..];
        let (held, in_flight) = self.proxies.usage(id);
        let (reason_class, reason, retry_in_ms) = match &entry.life.phase {
            Phase::Failed {
                class,
                reason,
                retry_at,
                ..
            } => (
                Some(class.name()),
                Some(reason.clone()),
                Some(millis(retry_at.since(now))),
            ),
            _ => (None, None, None),
        };
        TargetStatus {
            id: id.clone(),
            state: entry.life.phase.name(),
            since_ms: millis(now.since(entry.life.since)),
            reason_class,
            reason,
            retry_in_ms,
            epoch: entry.life.epoch,
            replicas: entry.life.seen.replicas,
            ready_endpoints: entry.published.ready_endpoints,
            held,
            in_flight,
            idle_ms: entry.last_use.map(|used| millis(now.since(used))),
            last_wake: entry.wake.as_ref().map(Wake::summary),
            hosts: entry.published.hosts.clone(),
            clusters: entry.published.clusters.clone(),
            unreached: unreached::shown(not_reached, now),
            unreached_clusters: not_reached.len() as u64,
            conditions: conditions(entry, not_reached).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{World, id};
    use crate::testing::looked_at;

    /// Statuses of targets that `what` puts together.
    fn looks(what: impl FnOnce()) -> usize {
        let before = looked_at();
        what();
        looked_at() - before
    }

    #[test]
    fn one_target_costs_one_look_and_counting_costs_none() {
        let names: Vec<_> = (0..500).map(|n| format!("t{n}")).collect();
        let world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let one = || drop(world.fleet.target_status(&id("t7"), world.now));
        assert_eq!(looks(one), 1);
        assert_eq!(looks(|| drop(world.fleet.counts())), 0);
        assert_eq!(looks(|| drop(world.fleet.proxy_status(world.now))), 0);
        assert_eq!(looks(|| drop(world.fleet.status(world.now))), 500);
    }
}
