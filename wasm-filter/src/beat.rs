//! The ticks of a station: what happens at each beat, and when the next is due. A gate to which nothing happens rests.

use std::time::Duration;

use hold::Time;

use crate::host;
use crate::relaying::Relaying;
use crate::shared;
use crate::station::Station;

/// A gate rests after so many beats in which nothing happened to its row: then it ticks only as often as it beats its row.
const RESTS_AFTER: u32 = 10;

/// Shortest tick period: how exactly a confirm is repeated.
const TICK_MIN: Duration = Duration::from_millis(5);

impl Station {
    /// A beat of row and lease, if one is due.
    pub(crate) fn beat(&self, now: Time) {
        if now < self.next_beat.get() {
            return;
        }
        self.next_beat.set(now + self.config.ticks.period);
        // A tick at rest stands for all those that were left out.
        let rested = self.rests();
        let step = if rested { hold::Row::BEAT_TICKS } else { 1 };
        let before = self.ticks.get();
        self.ticks.set(before.wrapping_add(step));
        let passes = |every: u32| before / every != self.ticks.get() / every;
        if passes(10) {
            self.rejoin_if_forgotten(now);
            // The level may be changed while Envoy runs.
            let verbose = host::logs_debug();
            self.with_gate(|gate| gate.set_verbose(verbose));
        }
        let changed = self.with_gate(|gate| gate.row_changed()).unwrap_or(false);
        self.quiet.set(if changed {
            0
        } else {
            self.quiet.get().saturating_add(1)
        });
        if changed || rested || passes(hold::Row::BEAT_TICKS) {
            self.write_row(now);
        }
        self.beat_lease(now);
    }

    /// A gate that was silent for so long that it was forgotten comes back as a new one.
    fn rejoin_if_forgotten(&self, now: Time) {
        let Some(member) = self.place.borrow().as_ref().map(|place| place.member) else {
            return;
        };
        if shared::members().contains(member) {
            return;
        }
        host::warn("holdfast: this gate was forgotten; it registers again");
        self.relaying.replace(None);
        let Some(member) = self.take_place() else { return };
        self.with_gate(|gate| gate.rename(member));
        self.write_row(now);
    }

    /// Sets the tick period to what is due next, between the shortest and the beat.
    pub(crate) fn arm(&self, now: Time) {
        if self.rests() {
            let period = self.config.ticks.period * hold::Row::BEAT_TICKS;
            if period != self.tick_period.replace(period) {
                host::set_tick_period(period);
            }
            return;
        }
        let gate = self.with_gate(|gate| gate.poll_timeout(now)).flatten();
        let relay = self.relaying.borrow().as_ref().and_then(Relaying::poll_timeout);
        let due = gate
            .into_iter()
            .chain(relay)
            .min()
            .map(|at| at.saturating_sub(now));
        let longest = self.config.ticks.period;
        let period = due.unwrap_or(longest).clamp(TICK_MIN.min(longest), longest);
        // Coarse steps, so that the period is not set anew at every callback.
        let period = Duration::from_millis((u64::try_from(period.as_millis()).unwrap_or(100) / 5).max(1) * 5);
        if period != self.tick_period.replace(period) {
            host::set_tick_period(period);
        }
    }

    /// True for a gate to which nothing happens: nothing is held, its row stays as it is, another is the relay and beats. What is
    /// published it is told by a bell.
    fn rests(&self) -> bool {
        self.quiet.get() >= RESTS_AFTER
            && self.relaying.borrow().is_none()
            && self.with_gate(|gate| gate.poll_timeout(Time::ZERO).is_none() && !gate.row_changed())
                == Some(true)
            && self.with_candidate(|candidate| candidate.owner_beats()) == Some(true)
    }
}
