//! How the release of one target is split over its gates, and which of them asks first.

use protocol::{Confirm, State};

use crate::relay::rows::Part;
use crate::{GateId, SlotRecord};

/// Takes from the rows' parts what concerns this target. True if the record changed.
pub(super) fn follow_parts(record: &mut SlotRecord, parts: &[Part]) -> bool {
    let Some(target) = &record.target else {
        return false;
    };
    if target.state != State::Ready {
        return false;
    }
    let mut changed = false;
    if record.proven != Some(target.epoch) {
        if parts.iter().any(|part| part.proven == Some(target.epoch)) {
            record.proven = Some(target.epoch);
            changed = true;
        } else if !matches!(target.confirm, Confirm::Off { .. }) {
            let waits = |gate: GateId| {
                parts
                    .iter()
                    .any(|part| part.gate == gate && part.held > 0 && part.alive)
            };
            if record.prober.is_none_or(|prober| !waits(prober)) {
                let next = parts
                    .iter()
                    .filter(|part| part.held > 0 && part.alive)
                    .max_by_key(|part| part.held)
                    .map(|part| part.gate);
                changed |= next.is_some() && next != record.prober;
                record.prober = next.or(record.prober);
            }
        }
    }
    let held: u64 = parts.iter().map(|part| u64::from(part.held)).sum();
    if held == 0 {
        return changed;
    }
    let total = u64::from(target.release.concurrency_per_endpoint)
        .saturating_mul(u64::from(target.ready_endpoints.max(1)));
    let share_of = |gate: GateId| {
        record
            .shares
            .iter()
            .find(|(other, _)| *other == gate)
            .map(|(_, share)| u64::from(*share))
    };
    let shared: u64 = parts
        .iter()
        .filter(|part| part.held > 0)
        .filter_map(|part| share_of(part.gate))
        .sum();
    let somebody_has_none = parts
        .iter()
        .any(|part| part.held > 0 && share_of(part.gate).is_none());
    let fair = |part: &Part| (total.saturating_mul(u64::from(part.held)) / held).max(1);
    let somebody_has_little = parts.iter().any(|part| {
        part.held > 0 && share_of(part.gate).is_some_and(|share| fair(part) > share.saturating_mul(2))
    });
    // Split anew when somebody came, when somebody has less than half of what is fair, or when those who are done hold
    // half of it all.
    if somebody_has_none || somebody_has_little || shared.saturating_mul(2) < total {
        let shares: Vec<(GateId, u32)> = parts
            .iter()
            .filter(|part| part.held > 0)
            .map(|part| (part.gate, u32::try_from(fair(part)).unwrap_or(u32::MAX)))
            .collect();
        if shares != record.shares {
            record.shares = shares;
            changed = true;
        }
    }
    changed
}
