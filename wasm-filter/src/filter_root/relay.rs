//! What a root context does for the whole Envoy while it has the lease.

use std::rc::Rc;

use envoy_share::{Relay, RelayCommand, SyncFailure};
use hold::{Gate, Output, Time};

use super::FilterRoot;

use crate::host;
use crate::membership::LeaseState;
use crate::relaying::Relaying;

impl FilterRoot {
    /// One look at the lease: begins a term as the relay, goes on, or steps down.
    pub(super) fn tick_lease(&self, now: Time) {
        match self.membership.tick_lease(now, self.is_relay()) {
            LeaseState::Renewed => {}
            LeaseState::Taken(term) => {
                if let Some(relaying) = Relaying::take_over(&self.config, term, now) {
                    self.metrics.takeover();
                    self.relaying.replace(Some(Rc::new(relaying)));
                }
            }
            LeaseState::OfAnother => self.step_down(),
        }
    }

    fn step_down(&self) {
        if self.relaying.take().is_some() {
            host::warn("holdfast: this root context is no longer the relay");
        }
    }

    /// Everything that is due for the relay: publish, read the statuses, sync, report.
    pub(super) fn run_relay(&self, now: Time) {
        let Some(relaying) = self.relaying() else { return };
        relaying.read_statuses(now);
        relaying.with(|relay| relay.handle_timeout(now));
        while let Some(command) = relaying.with(|relay| relay.poll_command(now)) {
            match command {
                RelayCommand::Publish { slots, manifest } => {
                    // What the gates say to this is looked for soon.
                    self.schedule.mark_urgent(now);
                    if !relaying.publish(&slots, &manifest) {
                        self.step_down();
                        return;
                    }
                    let gates = relaying.with(|relay| relay.gates_to_notify());
                    let others = gates.into_iter().filter(|gate| Some(*gate) != self.member());
                    others.for_each(|gate| self.notifications.notify(gate));
                    self.follow_own_publication(now);
                    relaying.read_statuses(now);
                }
                RelayCommand::Sync { request } => {
                    if !self.calls.sync(&request) {
                        self.metrics.sync(false);
                        relaying.with(|relay| relay.sync_answered(now, Err(SyncFailure::Unreachable)));
                    }
                }
                RelayCommand::ForgetSync => self.calls.forget_sync(),
                RelayCommand::Free(member) => relaying.close_later(member, false),
                RelayCommand::Forget(member) => relaying.close_later(member, true),
            }
        }
        relaying.close_accounts();
        if let Some(report) = relaying.with(|relay| relay.poll_report(now))
            && !self.calls.report(&report)
        {
            self.metrics.report(false);
            relaying.with(|relay| relay.report_answered(now, false));
        }
        relaying.show(now, &self.metrics);
        while let Some(warning) = relaying.with(Relay::poll_warning) {
            host::warn(&format!("holdfast: {warning}"));
        }
    }

    /// The relay's own gate follows a publication at once, without a message to itself.
    fn follow_own_publication(&self, now: Time) {
        self.follow(now);
        while let Some(output) = self.with_gate(Gate::poll_output).flatten() {
            // The statuses are read right after this, and then the gate decides.
            if output != Output::NotifyRelay {
                self.carry_out(now, output);
            }
        }
    }
}
