//! The ticks of a station: what happens at each, and when the next is due.
//!
//! A heartbeat of the row, and of the lease if it is ours, comes once an interval, always. Between two heartbeats a station ticks only
//! while something is urgent, and when a time is up.

use std::time::Duration;

use envoy_share::Relay;
use hold::Time;

use crate::calls;
use crate::host;
use crate::relaying::Relaying;
use crate::shared;
use crate::station::Station;

/// Ticks for which something stays urgent: what follows from it, in this VM and in others, comes within these.
const URGENT_TICKS: u32 = 10;

/// Shortest tick period: how exactly a confirm is repeated.
const TICK_MIN: Duration = Duration::from_millis(5);

/// A thread whose heartbeat is so many intervals late has stood still.
const STOPPED: u32 = 4;

impl Station {
    /// One tick: the heartbeat, if it is due, and a look at who has the lease.
    pub(crate) fn tick(&self, now: Time) {
        // A timer may fire a little early: that must not cost another tick.
        if now + TICK_MIN >= self.next_heartbeat.get() {
            self.heartbeat(now);
        } else {
            self.settle_credits();
            if self.with_gate(|gate| gate.status_changed()) == Some(true) {
                self.urgent(now);
                self.publish_status(now);
            }
            if self.relaying.borrow().is_none() {
                self.tick_lease(now);
            }
        }
        self.with_relay(|relay| relay.tick(now));
        if self.with_relay(Relay::take_news) == Some(true) {
            self.urgent(now);
        }
    }

    fn heartbeat(&self, now: Time) {
        self.rejoin_after_a_stop(now);
        self.next_heartbeat
            .set(now + self.config.ticks.heartbeat_interval());
        // Each second one.
        if self.odd_heartbeat.replace(!self.odd_heartbeat.get()) {
            self.rejoin_if_forgotten(now);
            self.check_credits();
            self.close_strangers();
            // The level may be changed while Envoy runs.
            let verbose = host::logs_debug();
            self.with_gate(|gate| gate.set_verbose(verbose));
            // All gauges are written anew: another `vm_id` may have written the same ones.
            self.shown.set(None);
        }
        self.settle_credits();
        if self.with_gate(|gate| gate.status_changed()) == Some(true) {
            self.urgent(now);
        }
        self.publish_status(now);
        self.tick_lease(now);
    }

    fn publish_status(&self, now: Time) {
        self.with_gate(|gate| gate.publish_status(now));
        self.carry_out_all(now);
    }

    /// Something has happened from which more may follow soon.
    pub(crate) fn urgent(&self, now: Time) {
        self.urgent_until
            .set(now + self.config.ticks.period * URGENT_TICKS);
    }

    /// A thread that stood still for long may have been taken for dead and forgotten: its accounts were closed then, and its id, and with
    /// it the key of its row, may be another's.
    pub(crate) fn rejoin_after_a_stop(&self, now: Time) {
        let due = self.next_heartbeat.get();
        if due > Time::ZERO && now > due + self.config.ticks.heartbeat_interval() * STOPPED {
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
        self.publish_status(now);
        // Under its new name it has followed nothing yet.
        self.look(now);
    }

    /// Sets the tick period to what is due next: a time of the gate's or the relay's, the heartbeat, and while something is urgent the
    /// next look.
    pub(crate) fn arm(&self, now: Time) {
        let gate = self.with_gate(|gate| gate.poll_timeout()).flatten();
        let relay = self.relaying.borrow().as_ref().and_then(Relaying::poll_timeout);
        let is_urgent = now < self.urgent_until.get() || calls::is_asking(self);
        let look = is_urgent.then(|| now + self.config.ticks.period);
        let heartbeat = Some(self.next_heartbeat.get());
        let due = [gate, relay, look, heartbeat].into_iter().flatten().min();
        let period = due.unwrap_or(now).saturating_sub(now).max(TICK_MIN);
        // Coarse steps, so that the period is not set anew at every callback.
        let period = Duration::from_millis(hold::millis(period).div_ceil(5) * 5);
        if period != self.tick_period.replace(period) {
            host::set_tick_period(period);
        }
    }
}
