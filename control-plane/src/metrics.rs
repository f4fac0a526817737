//! What `/metrics` shows: what the parts count, and what is counted of calls. Gauges are set from what the fleet
//! counts at each scrape, which waits for no other task: anyone may scrape, as often as they like.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use fleet::Counts;
use fleet_actor::BoundsHit;

/// All metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Of the fleet.
    pub fleet: fleet_actor::Metrics,
    /// Of the work in a cluster.
    #[cfg(feature = "kubernetes")]
    pub cluster: cluster::Metrics,
    bounds: BoundsHit,
    /// Polls answered.
    pub syncs: Counter,
    /// Reports taken in.
    pub reports: Counter,
    unauthorized: Family<[(&'static str, &'static str); 3], Counter>,
    /// TLS handshakes that failed or did not end in time.
    pub tls_failures: Counter,
    /// Lines of the log that could not be written.
    pub log_lines_lost: Counter,
    leader: Gauge,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("holdfast");
        let bounds = BoundsHit::default();
        let mut new = Self {
            registry: Arc::default(),
            fleet: fleet_actor::Metrics::new(bounds.clone()),
            #[cfg(feature = "kubernetes")]
            cluster: cluster::Metrics::new(bounds.clone()),
            bounds,
            syncs: Counter::default(),
            reports: Counter::default(),
            unauthorized: Family::default(),
            tls_failures: Counter::default(),
            log_lines_lost: Counter::default(),
            leader: Gauge::default(),
        };
        new.fleet.register(&mut registry);
        #[cfg(feature = "kubernetes")]
        new.cluster.register(&mut registry);
        new.bounds.register(&mut registry);
        registry.register("syncs", "Long polls answered", new.syncs.clone());
        registry.register("reports", "Reports taken in", new.reports.clone());
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
        registry.register("leader", "1 while this replica answers", new.leader.clone());
        new.registry = Arc::new(registry);
        new
    }

    /// A request was refused because `bound` was reached.
    pub fn bound_hit(&self, bound: &'static str) {
        self.bounds.hit(bound);
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
        self.fleet.show(counts);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
