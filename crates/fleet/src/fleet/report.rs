//! Takes in the reports of proxies: what they hold, what passes, what they have applied.

use std::collections::BTreeSet;

use protocol::{Report, TargetId, Usage};

use super::proxies::{Misfit, Newest, ProxyKey, Use, applied_of};
use super::{Effect, Fleet, FleetEvent};
use crate::lifecycle::Phase;
use crate::time::Time;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Taken in.
    Taken,
    /// Older than one already seen.
    Stale,
    /// Its term does not fit what was heard of this proxy.
    Misfit(Misfit),
    /// There are as many proxies as may be, and all of them speak.
    TooMany,
}

impl Fleet {
    /// A proxy says what it holds and uses: the wake-up call.
    pub fn report(&mut self, report: &Report, now: Time) -> Reported {
        let key = ProxyKey::from(&report.proxy);
        let order = (report.proxy.term, report.proxy.seq);
        if let Some(state) = self.proxies.find(&key) {
            if let Err(misfit) = state.judge(report.proxy.term) {
                self.emit(FleetEvent::StaleReport(key));
                return Reported::Misfit(misfit);
            }
            if state.is_overtaken(order, now, self.settings.limits.silence()) {
                self.emit(FleetEvent::StaleReport(key));
                return Reported::Stale;
            }
        }
        if report.leaving {
            return self.sign_off(key, now);
        }
        let known: Vec<_> = report
            .targets
            .iter()
            .filter(|(id, _)| self.targets.contains_key(*id))
            .collect();
        let watermark = self.proxies.watermark();
        let Ok(heard) = self.proxies.hear(&key, report.proxy.term, now) else {
            return Reported::TooMany;
        };
        let applied = applied_of(report.applied.as_ref(), &self.settings.instance);
        let busy = known
            .iter()
            .map(|(id, usage)| ((*id).clone(), in_use(usage)))
            .filter(|(_, one)| one.busy());
        let newest = Newest { order, at: now };
        let Some(before) = self.proxies.report(&key, newest, applied, busy.collect()) else {
            return Reported::TooMany;
        };
        self.take_unreached(&key, report, now);

        let mut affected: BTreeSet<TargetId> = before.usage.keys().cloned().collect();
        for (id, usage) in known {
            let was = before.usage.get(id).copied().unwrap_or_default();
            self.take_in(&key, id, usage, was, now);
            affected.insert(id.clone());
        }
        for id in &affected {
            let is_busy = report.targets.get(id).is_some_and(|usage| in_use(usage).busy());
            if (is_busy || before.usage.contains_key(id))
                && let Some(entry) = self.targets.get_mut(id)
            {
                entry.last_use = entry.last_use.max(Some(now));
            }
        }
        self.note_confirms(&key, before.applied, applied);
        let twins: Vec<_> = affected
            .iter()
            .flat_map(|id| self.twins.of(id))
            .cloned()
            .collect();
        affected.extend(twins);
        self.heard(&key, heard, watermark, affected, now);
        Reported::Taken
    }

    /// For the log: the drains that this proxy has confirmed.
    fn note_confirms(&mut self, key: &ProxyKey, before: u64, applied: u64) {
        let waiting = self.index.confirms(before + 1..=applied);
        let drains = |id: &&TargetId| {
            self.targets
                .get(*id)
                .is_some_and(|entry| matches!(entry.life.phase, Phase::Draining { .. }))
        };
        let confirmed = waiting.filter(drains).cloned();
        self.effects.extend(confirmed.map(|target| {
            let proxy = key.clone();
            Effect::Emit(FleetEvent::Confirmed { target, proxy })
        }));
    }

    fn sign_off(&mut self, key: ProxyKey, now: Time) -> Reported {
        if let Some(state) = self.proxies.remove(&key) {
            for id in state.usage.keys() {
                if let Some(entry) = self.targets.get_mut(id) {
                    entry.last_use = entry.last_use.max(Some(now));
                }
            }
            if let Some(poll) = state.poll {
                self.effects.push(Effect::EndPoll(poll));
            }
            self.emit(FleetEvent::Left(key));
            self.tick_all(now);
        }
        Reported::Taken
    }

    fn take_in(&mut self, key: &ProxyKey, id: &TargetId, usage: &Usage, before: Use, now: Time) {
        let settings = &self.settings;
        let Some(entry) = self.targets.get_mut(id) else {
            return;
        };
        if let Some(age) = usage.idle_ms {
            // An arrival from before this control plane's clock began is as old as anything can be.
            let arrival = now
                .checked_before(std::time::Duration::from_millis(age))
                .unwrap_or_default();
            entry.arrived(key, arrival, settings);
        } else if in_use(usage).busy() {
            entry.arrived(key, now, settings);
        }
        let state = entry.published.state;
        if usage.held > 0 && before.held == 0 && !entry.life.phase.passes() {
            let (target, proxy, held) = (id.clone(), key.clone(), usage.held);
            self.effects.push(Effect::Emit(FleetEvent::Reported {
                target,
                proxy,
                state,
                held,
            }));
        }
    }
}

fn in_use(usage: &Usage) -> Use {
    Use {
        held: usage.held,
        in_flight: usage.in_flight,
    }
}
