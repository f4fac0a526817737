//! The ticks of a station: what happens at each beat, and when the next is due. A station to which nothing happens rests.

use std::time::Duration;

use envoy_share::{Candidate, Relay};
use hold::{Row, Time};

use crate::calls;
use crate::host;
use crate::relaying::Relaying;
use crate::shared;
use crate::station::Station;

/// A station rests after so many beats in which nothing happened: then it ticks only as often as it beats its row or its lease.
const RESTS_AFTER: u32 = 10;

/// Shortest tick period: how exactly a confirm is repeated.
const TICK_MIN: Duration = Duration::from_millis(5);

/// More ticks than the longest rest: a thread that beats no sooner has stood still.
const STOPPED: u32 = 2 * Row::REST_TICKS;

impl Station {
    /// A beat of row and lease, if one is due.
    pub(crate) fn beat(&self, now: Time) {
        if now < self.next_beat.get() {
            return;
        }
        self.rejoin_after_a_stop(now);
        // Those that were left out at rest included. A thread that stood still has no more to count.
        let step = self.ticks_since_beat(now).clamp(1, self.stride.get());
        self.next_beat.set(now + self.config.ticks.period);
        let before = self.ticks.get();
        self.ticks.set(before.wrapping_add(step));
        let passes = |every: u32| before / every != self.ticks.get() / every;
        if passes(10) {
            self.rejoin_if_forgotten(now);
            self.check_credits();
            self.close_strangers();
            // The level may be changed while Envoy runs.
            let verbose = host::logs_debug();
            self.with_gate(|gate| gate.set_verbose(verbose));
            // All gauges are written anew: another `vm_id` may have written the same ones.
            self.shown.set(None);
        }
        let changed = self.with_gate(|gate| gate.row_changed()).unwrap_or(false);
        let news = self.with_relay(Relay::take_news).unwrap_or(false);
        self.quiet.set(if changed || news {
            0
        } else {
            self.quiet.get().saturating_add(1)
        });
        self.settle_credits();
        if changed || step > 1 || passes(Row::BEAT_TICKS) {
            self.write_row(now);
        }
        // Promised with the beat of a lease; a gate looks at that first.
        let promised = self.relaying.borrow().as_ref().map_or(1, |_| self.rest());
        self.beat_lease(now, step, promised);
        let relays = self.relaying.borrow().is_some();
        self.stride.set(if relays { promised } else { self.rest() });
    }

    /// Whole ticks since the last beat.
    pub(crate) fn ticks_since_beat(&self, now: Time) -> u32 {
        let period = self.config.ticks.period;
        hold::periods((now + period).saturating_sub(self.next_beat.get()), period)
    }

    /// Whoever stood still for so long may have been taken for dead and forgotten: its accounts were closed then, and its id, and with
    /// it the key of its row, may be another's.
    pub(crate) fn rejoin_after_a_stop(&self, now: Time) {
        if self.next_beat.get() > Time::ZERO && self.ticks_since_beat(now) > STOPPED {
            self.rejoin_if_forgotten(now);
            self.check_credits();
        }
    }

    /// A gate that was silent for so long that it was forgotten comes back as a new one.
    fn rejoin_if_forgotten(&self, now: Time) {
        let Some(former) = self.member() else { return };
        // Until what it holds stands under no name, it keeps this one.
        if shared::members().contains(former) || !self.disown_credits(former) {
            return;
        }
        host::warn("holdfast: this gate was forgotten; it registers again");
        self.relaying.replace(None);
        let Some(member) = self.take_place() else { return };
        self.with_gate(|gate| gate.rename(member));
        self.settle_credits();
        self.write_row(now);
        // Under its new name it has followed nothing yet.
        self.look(now);
    }

    /// Sets the tick period to what is due next, between the shortest and the beat.
    pub(crate) fn arm(&self, now: Time) {
        let gate = self.with_gate(|gate| gate.poll_timeout(now)).flatten();
        let relay = self.relaying.borrow().as_ref().and_then(Relaying::poll_timeout);
        let due = gate
            .into_iter()
            .chain(relay)
            .min()
            .map(|at| at.saturating_sub(now));
        // A rest begins with a beat, and may end before the next.
        let beat_period = self.config.ticks.period;
        let stride = self.stride.get().min(self.rest());
        let longest = (self.next_beat.get() + beat_period * (stride - 1))
            .saturating_sub(now)
            .max(beat_period);
        let period = due.unwrap_or(longest).clamp(TICK_MIN.min(longest), longest);
        // Coarse steps, so that the period is not set anew at every callback.
        let period = Duration::from_millis((hold::millis(period) / 5).max(1) * 5);
        if period != self.tick_period.replace(period) {
            host::set_tick_period(period);
        }
    }

    /// Ticks from one beat to the next, as things are: 1, and more at rest.
    fn rest(&self) -> u32 {
        let is_quiet = self.quiet.get() >= RESTS_AFTER
            && self.with_gate(|gate| gate.row_changed()) != Some(true)
            && !calls::is_asking(self);
        if !is_quiet {
            return 1;
        }
        match self.relaying.borrow().as_ref() {
            // The others count its beats.
            Some(relaying) if relaying.is_idle() => Candidate::REST_TICKS,
            Some(_) => Candidate::QUIET_TICKS,
            // What is published a gate is told by a bell, from a relay that lives.
            None if self.with_candidate(|candidate| candidate.owner_beats()) == Some(true) => {
                match self.with_gate(|gate| gate.is_idle()) {
                    Some(true) => Row::REST_TICKS,
                    Some(false) => Row::BEAT_TICKS,
                    None => 1,
                }
            }
            None => 1,
        }
    }
}
