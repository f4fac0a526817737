//! What is counted of a fleet: counters where things happen, gauges from its [`Counts`] when they are read.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use fleet::Counts;
use fleet::lifecycle::Reason;
use fleet::proxies::Module;

/// Counts how often each bound of the control plane was reached. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct BoundsHit(Family<[(&'static str, &'static str); 1], Counter>);

impl BoundsHit {
    /// Something was refused because `bound` was reached.
    pub fn hit(&self, bound: &'static str) {
        self.0.get_or_create(&[("bound", bound)]).inc();
    }

    /// Makes them readable as `bounds_hit`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "bounds_hit",
            "Requests refused at a bound, by bound",
            self.0.clone(),
        );
    }
}

/// Metrics of a fleet. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    targets: Family<[(&'static str, &'static str); 1], Gauge>,
    proxies: Family<[(&'static str, &'static str); 1], Gauge>,
    modules: Family<[(&'static str, &'static str); 1], Gauge>,
    held: Gauge,
    unreached: Gauge,
    in_flight: Gauge,
    open_polls: Gauge,
    wakes: Counter,
    wake_seconds: Histogram,
    sleeps: Counter,
    failures: Counter,
    drains_abandoned: Family<[(&'static str, &'static str); 1], Counter>,
    known_writes: Family<[(&'static str, &'static str); 1], Counter>,
    /// Events that a listener was too slow for.
    pub notes_missed: Counter,
    /// Starts that wait because another manager undoes them.
    pub(super) starts_held_back: Counter,
    /// Proxies that made room for others.
    pub(super) proxies_evicted: Counter,
    /// Reports older than one already seen.
    pub(super) reports_ignored: Counter,
    /// Removals cut off from the history.
    pub(super) history_truncations: Counter,
    /// Bounds that were reached.
    pub(super) bounds: BoundsHit,
}

impl Metrics {
    /// All at zero. `bounds`: where it is counted that one was reached.
    pub fn new(bounds: BoundsHit) -> Self {
        // From a process that is up at once to one that takes a minute.
        let buckets = [
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        ];
        Self {
            targets: Family::default(),
            proxies: Family::default(),
            modules: Family::default(),
            held: Gauge::default(),
            unreached: Gauge::default(),
            in_flight: Gauge::default(),
            open_polls: Gauge::default(),
            wakes: Counter::default(),
            wake_seconds: Histogram::new(buckets),
            sleeps: Counter::default(),
            failures: Counter::default(),
            drains_abandoned: Family::default(),
            known_writes: Family::default(),
            notes_missed: Counter::default(),
            starts_held_back: Counter::default(),
            proxies_evicted: Counter::default(),
            reports_ignored: Counter::default(),
            history_truncations: Counter::default(),
            bounds,
        }
    }

    /// Makes all but the bounds readable.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("targets", "Targets by state", self.targets.clone());
        registry.register(
            "proxies",
            "Proxies: live, silent, and those that had to make room",
            self.proxies.clone(),
        );
        registry.register(
            "proxies_by_module",
            "Proxies that speak, by what the version of their module is beside the control plane's",
            self.modules.clone(),
        );
        registry.register("held_requests", "Requests held, as reported", self.held.clone());
        registry.register(
            "in_flight_requests",
            "Requests in flight, as reported",
            self.in_flight.clone(),
        );
        registry.register(
            "unreached_clusters",
            "Clusters of Envoys that do not reach a ready target, as reported",
            self.unreached.clone(),
        );
        registry.register("open_polls", "Long polls open now", self.open_polls.clone());
        registry.register(
            "wakes",
            "Targets that became ready after a wake",
            self.wakes.clone(),
        );
        registry.register(
            "wake_seconds",
            "From the wish to ready",
            self.wake_seconds.clone(),
        );
        registry.register("sleeps", "Targets that reached zero", self.sleeps.clone());
        registry.register("failures", "Wakes that failed", self.failures.clone());
        registry.register(
            "drains_abandoned",
            "Drains given up, by reason",
            self.drains_abandoned.clone(),
        );
        registry.register(
            "notes_missed",
            "Events of targets that a listener was too slow for",
            self.notes_missed.clone(),
        );
        registry.register(
            "starts_held_back",
            "Starts that wait because another manager has undone those before",
            self.starts_held_back.clone(),
        );
        registry.register(
            "proxies_evicted",
            "Proxies that made room for others, because there were as many as may be",
            self.proxies_evicted.clone(),
        );
        registry.register(
            "known_proxies_writes",
            "Writes of which proxies are known, for the next control plane, by outcome",
            self.known_writes.clone(),
        );
        registry.register(
            "reports_ignored",
            "Reports older than one already seen",
            self.reports_ignored.clone(),
        );
        registry.register(
            "history_truncations",
            "Removals cut off from the history",
            self.history_truncations.clone(),
        );
    }

    /// A target changed its phase.
    pub(super) fn moved(&self, from: &'static str, to: &'static str, why: Reason, woke_in: Option<Duration>) {
        if let Some(woke_in) = woke_in {
            self.wakes.inc();
            self.wake_seconds.observe(woke_in.as_secs_f64());
        }
        match (from, to) {
            ("stopping", "asleep") => drop(self.sleeps.inc()),
            (_, "failed") => drop(self.failures.inc()),
            _ => {}
        }
        if matches!((from, to), ("draining", "ready" | "waking")) || why == Reason::Abandoned {
            self.drains_abandoned
                .get_or_create(&[("reason", why.name())])
                .inc();
        }
    }

    /// A write of which proxies are known has ended.
    pub(super) fn known_written(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.known_writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Sets the gauges to `counts`. `None`: there is no fleet here, so nothing is shown of one.
    pub fn show(&self, counts: Option<&Counts>) {
        match counts {
            Some(counts) => self.show_counts(counts),
            None => self.show_nothing(),
        }
    }

    fn show_nothing(&self) {
        self.targets.clear();
        self.proxies.clear();
        self.modules.clear();
        for gauge in [&self.held, &self.in_flight, &self.unreached, &self.open_polls] {
            gauge.set(0);
        }
    }

    fn show_counts(&self, counts: &Counts) {
        const STATES: [&str; 7] = [
            "asleep",
            "waking",
            "ready",
            "draining",
            "stopping",
            "failed",
            "suspended",
        ];
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let of = |counts: &BTreeMap<&'static str, u64>, word| gauge(counts.get(word).copied().unwrap_or(0));
        for state in STATES {
            let there = of(&counts.targets, state);
            self.targets.get_or_create(&[("state", state)]).set(there);
        }
        let Counts {
            live, silent, others, ..
        } = *counts;
        for (state, there) in [("live", live), ("silent", silent), ("evicted", others)] {
            self.proxies.get_or_create(&[("state", state)]).set(gauge(there));
        }
        for module in Module::WORDS {
            let there = of(&counts.modules, module);
            self.modules.get_or_create(&[("module", module)]).set(there);
        }
        self.open_polls.set(gauge(counts.polling));
        self.held.set(gauge(counts.held));
        self.in_flight.set(gauge(counts.in_flight));
        self.unreached.set(gauge(counts.unreached));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(BoundsHit::default())
    }
}
