use std::collections::BTreeSet;

use protocol::{Report, TargetId, Usage};

use super::proxies::{ProxyKey, Use, applied_of};
use super::{Effect, Fleet, Note};
use crate::life::{Event, Phase};
use crate::time::Time;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Taken in.
    Taken,
    /// Older than one already seen.
    Stale,
    /// There are as many proxies as may be.
    TooMany,
}

impl Fleet {
    /// A proxy says what it holds and uses: the wake-up call.
    pub fn report(&mut self, report: &Report, now: Time) -> Reported {
        let key = ProxyKey::from(&report.proxy);
        let order = (report.proxy.term, report.proxy.seq);
        let outdated = self.proxies.find(&key).is_some_and(|state| {
            report.proxy.term < state.term || state.reported.is_some_and(|seen| order < seen)
        });
        if outdated {
            self.note(Note::StaleReport(key));
            return Reported::Stale;
        }
        if report.leaving {
            return self.sign_off(key, now);
        }
        let known: Vec<_> = report
            .targets
            .iter()
            .filter(|(id, _)| self.targets.contains_key(*id))
            .collect();
        let Ok((state, fresh)) = self.proxies.hear(&key, now) else {
            return Reported::TooMany;
        };
        state.term = state.term.max(report.proxy.term);
        state.reported = Some(order);
        let applied_before = state.applied;
        state.applied = applied_of(report.applied.as_ref(), &self.settings.instance);
        let applied = state.applied;
        let busy = known
            .iter()
            .map(|(id, usage)| ((*id).clone(), in_use(usage)))
            .filter(|(_, one)| one.busy());
        let before = std::mem::replace(&mut state.usage, busy.collect());

        let mut affected: BTreeSet<TargetId> = before.keys().cloned().collect();
        for (id, usage) in known {
            self.take_in(&key, id, usage, before.get(id).copied().unwrap_or_default(), now);
            affected.insert(id.clone());
        }
        for (id, entry) in &mut self.targets {
            let was_busy = before.get(id).is_some_and(|one| one.busy());
            if was_busy || report.targets.get(id).is_some_and(|usage| in_use(usage).busy()) {
                entry.last_use = entry.last_use.max(Some(now));
            }
            if applied != applied_before && entry.held_since > applied_before.min(applied) {
                affected.insert(id.clone());
                let confirmed = (applied_before + 1..=applied).contains(&entry.held_since);
                if confirmed && matches!(entry.life.phase, Phase::Draining { .. }) {
                    let (target, proxy) = (id.clone(), key.clone());
                    self.effects.push(Effect::Note(Note::Confirmed { target, proxy }));
                }
            }
        }
        if fresh {
            self.note(Note::Live(key));
            self.tick_all(now);
        }
        let twins: Vec<_> = affected
            .iter()
            .flat_map(|id| self.twins.of(id))
            .cloned()
            .collect();
        affected.extend(twins);
        for id in affected {
            self.advance(&id, Event::Tick, now);
        }
        Reported::Taken
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
            self.note(Note::Left(key));
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
            self.effects.push(Effect::Note(Note::Reported {
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
