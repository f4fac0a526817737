//! Defines and records Envoy's stats. Gates only add to counters and histograms; the gauges are the relay's (a gauge that dies with its VM
//! drifts). Names and tags are listed in docs/metrics.md.

use std::rc::Rc;

use envoy_share::Gauges;
use hold::{Counts, Refusal, Tally};

use crate::host::{self, Stat};

thread_local! {
    /// Every definition takes a new id in Envoy, so the stats are defined once for each VM.
    static METRICS: Rc<Metrics> = Rc::new(Metrics::define());
}

#[derive(Debug)]
pub(crate) struct Metrics {
    held: Option<u32>,
    released: Option<u32>,
    gone: Option<u32>,
    refused: Vec<Option<u32>>,
    bounds: Option<u32>,
    confirms: Vec<Option<u32>>,
    confirm_give_up: Option<u32>,
    wait: Option<u32>,
    sync_ok: Option<u32>,
    sync_failed: Option<u32>,
    report_ok: Option<u32>,
    report_failed: Option<u32>,
    takeovers: Option<u32>,
    now_held: Option<u32>,
    now_in_flight: Option<u32>,
    targets: Option<u32>,
    targets_ready: Option<u32>,
    targets_unknown: Option<u32>,
    gates: Option<u32>,
    gates_silent: Option<u32>,
    control_plane_up: Option<u32>,
    sync_age: Option<u32>,
}

impl Metrics {
    /// Those that all root contexts of this VM share.
    pub(crate) fn of_this_vm() -> Rc<Self> {
        METRICS.with(Rc::clone)
    }

    fn define() -> Self {
        let counter = |name: &str| host::define_stat(Stat::Counter, &format!("holdfast.{name}"));
        let gauge = |name: &str| host::define_stat(Stat::Gauge, &format!("holdfast.{name}"));
        Self {
            held: counter("requests_held_total"),
            released: counter("requests_released_total"),
            gone: counter("requests_gone_total"),
            refused: Refusal::ALL
                .iter()
                .map(|refusal| counter(&format!("requests_refused_total.reason={}", refusal.name())))
                .collect(),
            bounds: counter("bounds_hit_total"),
            confirms: Tally::ALL
                .iter()
                .map(|tally| counter(&format!("confirms_total.outcome={}", tally.name())))
                .collect(),
            confirm_give_up: counter("confirms_given_up_total"),
            wait: host::define_stat(Stat::Histogram, "holdfast.hold_duration_ms"),
            sync_ok: counter("syncs_total.outcome=ok"),
            sync_failed: counter("syncs_total.outcome=failed"),
            report_ok: counter("reports_total.outcome=ok"),
            report_failed: counter("reports_total.outcome=failed"),
            takeovers: counter("relay_takeovers_total"),
            now_held: gauge("requests_held"),
            now_in_flight: gauge("requests_in_flight"),
            targets: gauge("targets"),
            targets_ready: gauge("targets_ready"),
            targets_unknown: gauge("targets_unknown"),
            gates: gauge("gates"),
            gates_silent: gauge("gates_silent"),
            control_plane_up: gauge("control_plane_up"),
            sync_age: gauge("last_sync_age_ms"),
        }
    }

    pub(crate) fn count(&self, counts: &Counts) {
        add(self.held, counts.held);
        add(self.released, counts.released);
        add(self.gone, counts.gone);
        for ((stat, count), refusal) in self.refused.iter().zip(counts.refused).zip(Refusal::ALL) {
            add(*stat, count);
            if refusal.is_bound() {
                add(self.bounds, count);
            }
        }
        for (stat, count) in self.confirms.iter().zip(counts.confirms) {
            add(*stat, count);
        }
        add(self.confirm_give_up, counts.confirm_give_up);
        if let Some(stat) = self.wait {
            for wait in &counts.waits {
                host::record(stat, protocol::millis(*wait));
            }
        }
    }

    pub(crate) fn sync(&self, ok: bool) {
        add(if ok { self.sync_ok } else { self.sync_failed }, 1);
    }

    pub(crate) fn report(&self, ok: bool) {
        add(if ok { self.report_ok } else { self.report_failed }, 1);
    }

    pub(crate) fn takeover(&self) {
        add(self.takeovers, 1);
    }

    /// Writes the gauges that differ from what was `shown` before; all of them if nothing was.
    pub(crate) fn show(&self, gauges: &Gauges, shown: Option<&Gauges>) {
        let stats = [
            self.now_held,
            self.now_in_flight,
            self.targets,
            self.targets_ready,
            self.targets_unknown,
            self.gates,
            self.gates_silent,
            self.control_plane_up,
            self.sync_age,
        ];
        let known = shown.map(values);
        for (at, (stat, value)) in stats.into_iter().zip(values(gauges)).enumerate() {
            let same = known.is_some_and(|known| known.get(at) == Some(&value));
            if let Some(stat) = stat.filter(|_| !same) {
                host::record(stat, value);
            }
        }
    }
}

fn values(gauges: &Gauges) -> [u64; 9] {
    [
        gauges.held,
        gauges.in_flight,
        gauges.targets,
        gauges.targets_ready,
        gauges.targets_unknown,
        gauges.gates,
        gauges.gates_silent,
        gauges.control_plane_up,
        gauges.sync_age_ms,
    ]
}

fn add(stat: Option<u32>, by: u64) {
    if let Some(stat) = stat
        && by > 0
    {
        host::increment(stat, by);
    }
}
