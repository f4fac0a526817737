//! What `/metrics` shows. Counters and histograms are counted where things happen; gauges are set from what the fleet
//! counts at each scrape, which waits for no other task: anyone may scrape, as often as they like.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::fleet::Counts;
use crate::fleet::proxies::Module;
use crate::life::Why;

/// All metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
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
    bounds_hit: Family<[(&'static str, &'static str); 1], Counter>,
    /// Notes that a listener was too slow for.
    pub notes_missed: Counter,
    /// Starts that wait because another manager undoes them.
    pub starts_held_back: Counter,
    status_writes: Family<[(&'static str, &'static str); 1], Counter>,
    /// ScaleTargets whose status waits to be written.
    pub(crate) status_writes_waiting: Gauge,
    /// Proxies that made room for others.
    pub proxies_evicted: Counter,
    known_writes: Family<[(&'static str, &'static str); 1], Counter>,
    /// Polls answered.
    pub syncs: Counter,
    /// Reports taken in.
    pub reports: Counter,
    /// Reports older than one already seen.
    pub reports_ignored: Counter,
    /// Removals cut off from the history.
    pub history_truncations: Counter,
    unauthorized: Family<[(&'static str, &'static str); 3], Counter>,
    /// TLS handshakes that failed or did not end in time.
    pub tls_failures: Counter,
    /// Lines of the log that could not be written.
    pub log_lines_lost: Counter,
    scale_orders: Family<[(&'static str, &'static str); 1], Counter>,
    scale_writes: Family<[(&'static str, &'static str); 1], Counter>,
    /// Further attempts to carry an order to scale out.
    pub scale_retries: Counter,
    events: Family<[(&'static str, &'static str); 1], Counter>,
    leader: Gauge,
    /// Times this replica began to lead.
    pub lease_transitions: Counter,
    /// Requests of a leader to renew its lease, or to read it, that failed.
    pub lease_renew_failures: Counter,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("holdfast");
        // From a process that is up at once to one that takes a minute.
        let buckets = [
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        ];
        let mut new = Self {
            registry: Arc::default(),
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
            bounds_hit: Family::default(),
            notes_missed: Counter::default(),
            starts_held_back: Counter::default(),
            status_writes: Family::default(),
            status_writes_waiting: Gauge::default(),
            proxies_evicted: Counter::default(),
            known_writes: Family::default(),
            syncs: Counter::default(),
            reports: Counter::default(),
            reports_ignored: Counter::default(),
            history_truncations: Counter::default(),
            unauthorized: Family::default(),
            tls_failures: Counter::default(),
            log_lines_lost: Counter::default(),
            scale_orders: Family::default(),
            scale_writes: Family::default(),
            scale_retries: Counter::default(),
            events: Family::default(),
            leader: Gauge::default(),
            lease_transitions: Counter::default(),
            lease_renew_failures: Counter::default(),
        };
        registry.register("targets", "Targets by state", new.targets.clone());
        registry.register(
            "proxies",
            "Proxies: live, silent, and those that had to make room",
            new.proxies.clone(),
        );
        registry.register(
            "proxies_by_module",
            "Proxies that speak, by what the version of their module is beside the control plane's",
            new.modules.clone(),
        );
        registry.register("held_requests", "Requests held, as reported", new.held.clone());
        registry.register(
            "in_flight_requests",
            "Requests in flight, as reported",
            new.in_flight.clone(),
        );
        registry.register(
            "unreached_clusters",
            "Clusters of Envoys that do not reach a ready target, as reported",
            new.unreached.clone(),
        );
        registry.register("open_polls", "Long polls open now", new.open_polls.clone());
        registry.register(
            "wakes",
            "Targets that became ready after a wake",
            new.wakes.clone(),
        );
        registry.register("wake_seconds", "From the wish to ready", new.wake_seconds.clone());
        registry.register("sleeps", "Targets that reached zero", new.sleeps.clone());
        registry.register("failures", "Wakes that failed", new.failures.clone());
        registry.register(
            "drains_abandoned",
            "Drains given up, by reason",
            new.drains_abandoned.clone(),
        );
        registry.register(
            "bounds_hit",
            "Requests refused at a bound, by bound",
            new.bounds_hit.clone(),
        );
        registry.register(
            "notes_missed",
            "Notes on targets that a listener was too slow for",
            new.notes_missed.clone(),
        );
        registry.register(
            "starts_held_back",
            "Starts that wait because another manager has undone those before",
            new.starts_held_back.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of the status of ScaleTargets, by outcome",
            new.status_writes.clone(),
        );
        registry.register(
            "status_writes_waiting",
            "ScaleTargets whose status waits to be written",
            new.status_writes_waiting.clone(),
        );
        registry.register(
            "proxies_evicted",
            "Proxies that made room for others, because there were as many as may be",
            new.proxies_evicted.clone(),
        );
        registry.register(
            "known_proxies_writes",
            "Writes of which proxies are known, for the next control plane, by outcome",
            new.known_writes.clone(),
        );
        registry.register("syncs", "Long polls answered", new.syncs.clone());
        registry.register("reports", "Reports taken in", new.reports.clone());
        registry.register(
            "reports_ignored",
            "Reports older than one already seen",
            new.reports_ignored.clone(),
        );
        registry.register(
            "history_truncations",
            "Removals cut off from the history",
            new.history_truncations.clone(),
        );
        registry.register(
            "unauthorized",
            "Requests without the right token, by where from, what for, and why",
            new.unauthorized.clone(),
        );
        registry.register(
            "tls_failures",
            "TLS handshakes that failed",
            new.tls_failures.clone(),
        );
        registry.register(
            "log_lines_lost",
            "Lines of the log that could not be written",
            new.log_lines_lost.clone(),
        );
        registry.register(
            "scale_orders",
            "Orders to scale that ended, by outcome",
            new.scale_orders.clone(),
        );
        registry.register(
            "scale_writes",
            "Writes of replicas, by what became of them",
            new.scale_writes.clone(),
        );
        registry.register(
            "scale_retries",
            "Further attempts to carry an order to scale out",
            new.scale_retries.clone(),
        );
        registry.register(
            "events",
            "Events for people to read, by what became of them",
            new.events.clone(),
        );
        registry.register("leader", "1 while this replica answers", new.leader.clone());
        registry.register(
            "lease_transitions",
            "Times this replica began to lead",
            new.lease_transitions.clone(),
        );
        registry.register(
            "lease_renew_failures",
            "Requests to renew its lease that failed while it led",
            new.lease_renew_failures.clone(),
        );
        new.registry = Arc::new(registry);
        new
    }

    /// A target changed its phase.
    pub(crate) fn moved(&self, from: &'static str, to: &'static str, why: Why, woke_in: Option<Duration>) {
        if let Some(woke_in) = woke_in {
            self.wakes.inc();
            self.wake_seconds.observe(woke_in.as_secs_f64());
        }
        match (from, to) {
            ("stopping", "asleep") => drop(self.sleeps.inc()),
            (_, "failed") => drop(self.failures.inc()),
            _ => {}
        }
        if matches!((from, to), ("draining", "ready" | "waking")) || why == Why::Abandoned {
            self.drains_abandoned
                .get_or_create(&[("reason", why.name())])
                .inc();
        }
    }

    /// An order to scale has ended.
    pub(crate) fn scale_ordered(&self, outcome: &'static str) {
        self.scale_orders.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Replicas were written, or were to be.
    pub(crate) fn scale_written(&self, outcome: &'static str) {
        self.scale_writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A write of a ScaleTarget's status has ended.
    pub(crate) fn status_written(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.status_writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A write of which proxies are known has ended.
    pub(crate) fn known_written(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.known_writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// An Event was written, or why not: `limited`, `fenced`, `failed`, or its target is `gone`.
    pub(crate) fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A request was refused because `bound` was reached.
    pub fn bound_hit(&self, bound: &'static str) {
        self.bounds_hit.get_or_create(&[("bound", bound)]).inc();
    }

    /// A request has no token that is good for it.
    pub(crate) fn turned_away(&self, from: &'static str, call: &'static str, why: &'static str) {
        self.unauthorized
            .get_or_create(&[("from", from), ("call", call), ("why", why)])
            .inc();
    }

    /// The text of `/metrics`, with gauges as of `counts`. `None`: this replica does not lead, and has no targets.
    pub fn render(&self, counts: Option<&Counts>) -> String {
        self.leader.set(i64::from(counts.is_some()));
        match counts {
            Some(counts) => self.show(counts),
            None => self.show_nothing(),
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }

    fn show_nothing(&self) {
        self.targets.clear();
        self.proxies.clear();
        self.modules.clear();
        for gauge in [&self.held, &self.in_flight, &self.unreached, &self.open_polls] {
            gauge.set(0);
        }
    }

    fn show(&self, counts: &Counts) {
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
        Self::new()
    }
}
