//! What happened, as log lines: `event`, `target`, `unix_ms` and what belongs to it. `cargo xtask demo` reads them.

use tracing::{debug, info, warn};

use super::Metrics;
use crate::unix_ms;
use fleet::FleetEvent;
use fleet::time::millis;

/// Writes one event to the log and counts it.
pub(super) fn write(event: &FleetEvent, metrics: &Metrics) {
    let unix_ms = unix_ms();
    match event {
        FleetEvent::Moved {
            target,
            from,
            to,
            why,
            after,
            woke_in,
            by,
            failure,
        } => {
            let after_ms = millis(*after);
            let woke_ms = woke_in.map(millis);
            let by = by.as_ref().map(ToString::to_string);
            let reason_class = failure.as_ref().map(|failure| failure.class.name());
            let reason = failure.as_ref().map(|failure| failure.reason.as_str());
            info!(event = *to, %target, from, to, why = why.name(), after_ms, woke_ms, by, reason_class, reason, unix_ms, "{from} -> {to}");
            metrics.moved(from, to, *why, *woke_in);
        }
        FleetEvent::Refused { target, refusal } => {
            info!(event = "refused", %target, %refusal, unix_ms, "a wish is refused: {refusal}");
        }
        FleetEvent::Contended {
            target,
            by,
            times,
            wait,
        } => {
            metrics.starts_held_back.inc();
            let wait_ms = millis(*wait);
            warn!(event = "contended", %target, by, times, wait_ms, unix_ms, "{times} wakes undone in a row: the next start waits");
        }
        FleetEvent::Published { target, n } => {
            let state = format!("{:?}", target.state).to_lowercase();
            info!(event = "published", target = %target.id, state, revision = n, unix_ms, "published {state}");
        }
        FleetEvent::Removed { target } => info!(event = "removed", %target, unix_ms, "no longer published"),
        FleetEvent::Reported {
            target,
            proxy,
            state,
            held,
        } => {
            let state = format!("{state:?}").to_lowercase();
            info!(event = "reported", %target, %proxy, state, held, unix_ms, "{held} held while {state}");
        }
        FleetEvent::Unreached {
            target,
            proxy,
            cluster,
            saw,
        } => {
            warn!(event = "unreached", %target, %proxy, cluster, saw, unix_ms, "an Envoy does not reach it: {saw}");
        }
        FleetEvent::Confirmed { target, proxy } => {
            info!(event = "confirmed", %target, %proxy, unix_ms, "drain confirmed")
        }
        FleetEvent::Live(proxy) => info!(event = "proxy_live", %proxy, unix_ms, "proxy is live"),
        FleetEvent::Module { proxy, module } => match module.compared() {
            "newer" => {
                info!(event = "proxy_newer", %proxy, %module, unix_ms, "proxy's module is newer than the control plane")
            }
            compared => {
                warn!(event = "proxy_behind", %proxy, %module, compared, unix_ms, "proxy's module is older than the control plane, or does not say: what it does not know it holds for, and does not do");
            }
        },
        FleetEvent::Silent(proxy) => {
            warn!(event = "proxy_silent", %proxy, unix_ms, "proxy has gone silent: nothing is put to sleep until it is back or forgotten");
        }
        FleetEvent::Forgotten(proxy) => {
            warn!(event = "proxy_forgotten", %proxy, unix_ms, "silent proxy is forgotten")
        }
        FleetEvent::Evicted { proxy, others } => {
            metrics.proxies_evicted.inc();
            metrics.bounds.hit("proxies");
            // The first says it all: made-up proxies come in crowds.
            if *others == 1 {
                warn!(event = "proxy_evicted", %proxy, others, unix_ms, "proxies are as many as may be (--max-proxies): {proxy} has made room; nothing is put to sleep until it would be forgotten");
            } else {
                debug!(event = "proxy_evicted", %proxy, others, unix_ms, "proxy has made room");
            }
        }
        FleetEvent::OthersForgotten(count) => {
            warn!(
                event = "others_forgotten",
                count, unix_ms, "{count} proxies that had made room are forgotten"
            );
        }
        FleetEvent::Left(proxy) => info!(event = "proxy_left", %proxy, unix_ms, "proxy has signed off"),
        FleetEvent::StaleReport(proxy) => {
            metrics.reports_ignored.inc();
            debug!(event = "report_ignored", %proxy, unix_ms, "report is older than one already seen");
        }
        FleetEvent::Renamed { from, to } => {
            info!(event = "renamed", target = %to, %from, unix_ms, "{from} is called {to} from now on");
        }
        FleetEvent::Dropped(target) => {
            info!(event = "dropped", %target, unix_ms, "removed target is let go; its workload goes on");
        }
    }
}
