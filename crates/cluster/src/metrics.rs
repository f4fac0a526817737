//! What is counted of the work in a cluster: writes, Events, the lease.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use fleet_actor::BoundsHit;

/// Metrics of the work in a cluster. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    status_writes: Family<[(&'static str, &'static str); 1], Counter>,
    /// ScaleTargets whose status waits to be compared with what is shown.
    pub(super) status_writes_waiting: Gauge,
    scale_orders: Family<[(&'static str, &'static str); 1], Counter>,
    scale_writes: Family<[(&'static str, &'static str); 1], Counter>,
    /// Further attempts to carry an order to scale out.
    pub(super) scale_retries: Counter,
    events: Family<[(&'static str, &'static str); 1], Counter>,
    /// Times this replica began to lead.
    pub(super) lease_transitions: Counter,
    /// Requests of a leader to renew its lease, or to read it, that failed.
    pub(super) lease_renew_failures: Counter,
    bounds: BoundsHit,
}

impl Metrics {
    /// All at zero. `bounds`: where it is counted that one was reached.
    pub fn new(bounds: BoundsHit) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Makes all but the bounds readable.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "status_writes",
            "Writes of the status of ScaleTargets, by outcome",
            self.status_writes.clone(),
        );
        registry.register(
            "status_writes_waiting",
            "ScaleTargets whose status waits to be compared with what is shown",
            self.status_writes_waiting.clone(),
        );
        registry.register(
            "scale_orders",
            "Orders to scale that ended, by outcome",
            self.scale_orders.clone(),
        );
        registry.register(
            "scale_writes",
            "Writes of replicas, by what became of them",
            self.scale_writes.clone(),
        );
        registry.register(
            "scale_retries",
            "Further attempts to carry an order to scale out",
            self.scale_retries.clone(),
        );
        registry.register(
            "events",
            "Events for people to read, by what became of them",
            self.events.clone(),
        );
        registry.register(
            "lease_transitions",
            "Times this replica began to lead",
            self.lease_transitions.clone(),
        );
        registry.register(
            "lease_renew_failures",
            "Requests to renew its lease that failed while it led",
            self.lease_renew_failures.clone(),
        );
    }

    /// An order to scale has ended.
    pub(super) fn scale_ordered(&self, outcome: &'static str) {
        self.scale_orders.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Replicas were written, or were to be.
    pub(super) fn scale_written(&self, outcome: &'static str) {
        self.scale_writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A write of a ScaleTarget's status has ended.
    pub(super) fn status_written(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.status_writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// An Event was written, or why not: `limited`, `fenced`, `failed`, or its target is `gone`.
    pub(super) fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Something was refused because `bound` was reached.
    pub(super) fn bound_hit(&self, bound: &'static str) {
        self.bounds.hit(bound);
    }
}
