//! One configured root context: composes the gate, the relay while it has the lease, and what both need of Envoy.
//!
//! Root callbacks and stream callbacks share it. A stream callback sends no call and touches no other stream: it leaves that to the
//! root by a notification to itself. No host call is made while the gate or the relay is borrowed.

mod relay;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use envoy_share::Relay;
use hold::{Bound, Config, Gate, LogLevel, Member, Output, PermitRequest, SlotsToRead, Time, Update};

use crate::calls::{Answer, Calls};
use crate::heartbeat::Schedule;
use crate::host::{self, CallAnswer};
use crate::membership::{Membership, give_up_lease};
use crate::metrics::Metrics;
use crate::notifications::Notifications;
use crate::permits::TakenPermits;
use crate::relaying::Relaying;
use crate::shared;

/// One configured root context.
#[derive(Debug)]
pub(crate) struct FilterRoot {
    /// Envoy's number of the context.
    id: u32,
    config: Config,
    metrics: Rc<Metrics>,
    started: Instant,
    membership: Membership,
    schedule: Schedule,
    notifications: Notifications,
    calls: Calls,
    permits: TakenPermits,
    /// `None` until it has registered, and in the singleton service.
    gate: RefCell<Option<Gate>>,
    /// While it has the lease.
    relaying: RefCell<Option<Rc<Relaying>>>,
    ended: Cell<bool>,
}

impl FilterRoot {
    pub(crate) fn new(id: u32, config: Config) -> Self {
        Self {
            id,
            metrics: Metrics::of_this_vm(),
            started: Instant::now(),
            membership: Membership::new(config.service, config.ticks.heartbeat_interval()),
            schedule: Schedule::new(&config.ticks),
            notifications: Notifications::new(),
            calls: Calls::new(config.control_plane.clone()),
            permits: TakenPermits::default(),
            gate: RefCell::new(None),
            relaying: RefCell::new(None),
            ended: Cell::new(false),
            config,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The VM's own clock.
    pub(crate) fn now(&self) -> Time {
        Time::new(self.started.elapsed())
    }

    pub(crate) fn member(&self) -> Option<Member> {
        self.membership.member()
    }

    /// True once the root context has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    pub(crate) fn is_relay(&self) -> bool {
        self.relaying.borrow().is_some()
    }

    /// Gives the gate an input, or takes an output of it. `None` if there is no gate. Makes no host call meanwhile.
    pub(crate) fn with_gate<T>(&self, f: impl FnOnce(&mut Gate) -> T) -> Option<T> {
        self.gate.borrow_mut().as_mut().map(f)
    }

    fn with_relay<T>(&self, f: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        self.relaying().map(|relaying| relaying.with(f))
    }

    fn relaying(&self) -> Option<Rc<Relaying>> {
        self.relaying.borrow().clone()
    }

    /// Registers at the first tick or stream, in this order: queue, status, targets. The relay writes the targets and then lists the statuses,
    /// so no gate is missed.
    pub(crate) fn register(&self, now: Time) {
        if self.member().is_some() || self.has_ended() {
            return;
        }
        let Some(member) = self.join() else { return };
        self.schedule.mark_urgent(now);
        if self.config.service {
            return;
        }
        let mut gate = Gate::new(self.config.clone(), member, now);
        gate.set_verbose(host::logs_debug());
        self.gate.replace(Some(gate));
        self.publish_status(now);
        self.follow(now);
    }

    fn join(&self) -> Option<Member> {
        let member = self.membership.join()?;
        self.notifications.open(member);
        Some(member)
    }

    /// One tick of Envoy's timer.
    pub(crate) fn on_tick(&self, now: Time) {
        self.register(now);
        if self.schedule.is_heartbeat_due(now) {
            self.heartbeat(now);
        } else {
            self.settle_permits();
            if self.with_gate(|gate| gate.status_changed()) == Some(true) {
                self.schedule.mark_urgent(now);
                self.publish_status(now);
            }
            if !self.is_relay() {
                self.tick_lease(now);
            }
        }
        self.with_relay(|relay| relay.tick(now));
        if self.with_relay(Relay::take_news) == Some(true) {
            self.schedule.mark_urgent(now);
        }
        self.run(now);
    }

    /// A message has come on this root context's queue.
    pub(crate) fn on_notified(&self, now: Time) {
        if self.notifications.on_notified() {
            self.schedule.mark_urgent(now);
        }
        self.run(now);
    }

    /// An answer to a call has come; or none, and the call has failed. Decides nothing: that is left to [`FilterRoot::run`].
    pub(crate) fn on_answer(&self, now: Time, token: u32, answer: Option<&CallAnswer>) {
        let Some(answer) = self.calls.answered(token, answer) else {
            return;
        };
        let term = self.with_relay(|relay| relay.term());
        match answer {
            Answer::Confirm(token, outcome) => {
                self.with_gate(|gate| gate.confirmed(now, token, outcome));
            }
            Answer::Sync { term: of, response } => {
                self.metrics.sync(response.is_ok());
                if term == Some(of) {
                    self.with_relay(|relay| relay.sync_answered(now, response));
                }
            }
            Answer::Report {
                term: of,
                accepted,
                by,
            } => {
                self.metrics.report(accepted);
                if term == Some(of) {
                    if let Some(by) = by {
                        self.with_relay(|relay| relay.taken_by(now, &by));
                    }
                    self.with_relay(|relay| relay.report_answered(now, accepted));
                }
            }
        }
    }

    /// Everything that is due, from a root callback.
    pub(crate) fn run(&self, now: Time) {
        self.follow(now);
        // The relay reads what is told of this.
        self.carry_out_all(now);
        // Before the gate decides: a decision ends in another context, and a call belongs to the context that is active.
        self.run_relay(now);
        self.with_gate(|gate| gate.handle_timeout(now));
        if self.carry_out_all(now) {
            self.notifications.notify_self();
        }
        let gate = self.with_gate(|gate| gate.poll_timeout()).flatten();
        let relay = self.with_relay(|relay| relay.poll_timeout()).flatten();
        let due = gate.into_iter().chain(relay).min();
        self.schedule.arm(now, due, self.calls.is_confirming());
    }

    /// From a stream callback: what only the root may do is left to the root. While nothing is urgent the next tick may be far away,
    /// and the root has to arm the one that this needs.
    pub(crate) fn leave_to_root(&self, now: Time) {
        if self.carry_out_all(now) || self.schedule.is_at_rest() {
            self.notifications.notify_self();
        }
    }

    /// Brings the gate up to what is published.
    fn follow(&self, now: Time) {
        if self.gate.borrow().is_none() {
            return;
        }
        let Some(manifest) = self.membership.next_publication() else {
            return;
        };
        let (full, wanted) = match self.with_gate(|gate| gate.slots_to_read(&manifest)) {
            Some(SlotsToRead::All) => (true, (0..manifest.slots).map(hold::Slot).collect()),
            Some(SlotsToRead::Slots(slots)) => (false, slots),
            Some(SlotsToRead::Nothing) | None => return,
        };
        let slots = wanted
            .into_iter()
            .map(|slot| (slot, shared::slot(slot).0))
            .collect();
        self.with_gate(|gate| {
            gate.apply(
                now,
                Update {
                    manifest,
                    full,
                    slots,
                },
            )
        });
    }

    /// Carries out what the gate wants done. Questions and decisions are among it only after `handle_timeout`, which a root callback
    /// calls. True if the gate has more to ask or to decide: a root callback has to follow.
    fn carry_out_all(&self, now: Time) -> bool {
        // Before a status is written: its key may be another's by now.
        self.rejoin_after_a_stop(now);
        let mut wakes = false;
        while let Some(output) = self.with_gate(Gate::poll_output).flatten() {
            wakes |= output == Output::Wake;
            self.carry_out(now, output);
        }
        wakes
    }

    fn carry_out(&self, now: Time, output: Output) {
        match output {
            Output::Confirm(call) => {
                if let Err(outcome) = self.calls.confirm(&call) {
                    self.with_gate(|gate| gate.confirmed(now, call.token, outcome));
                }
            }
            Output::ReadAuthority(stream) => {
                let authority = host::authority_of(stream, self.id);
                self.with_gate(|gate| gate.release(now, stream, &authority));
            }
            Output::TakePermits(stream, permits) => {
                if let Some(member) = self.member() {
                    let granted = self.permits.take_of_target(member, permits);
                    self.with_gate(|gate| gate.permits_answered(now, stream, granted));
                }
            }
            Output::Resume(stream) => {
                host::resume(stream, self.id);
            }
            Output::Refuse(stream, reply) => {
                host::refuse(stream, &reply, self.id);
            }
            Output::PublishStatus(status) => {
                if let Some(member) = self.member() {
                    shared::put_status(member.id, &status);
                }
            }
            Output::NotifyRelay => {
                self.schedule.mark_urgent(now);
                if self.is_relay() {
                    self.notifications.notify_self();
                } else if let Some(owner) = self.membership.owner_to_notify(now) {
                    self.notifications.notify(owner);
                }
            }
            Output::ReturnPermits(permits) => {
                if let Some(member) = self.member() {
                    self.permits.give_back(member, &permits);
                }
            }
            Output::Count(counts) => self.metrics.count(&counts),
            Output::Log(LogLevel::Debug, line) => host::debug(&line),
            Output::Log(LogLevel::Warn, line) => host::warn(&format!("holdfast: {line}")),
            // What is to follow is the callback's business: it may be a root callback itself.
            Output::Wake => {}
        }
    }

    /// Takes what a request needs to be held, of its target's quota and of the Envoy's. `None` if there is no member, which has
    /// an account there.
    pub(crate) fn take_permits(&self, permits: &PermitRequest) -> Option<Result<(), (Bound, bool)>> {
        let member = self.member()?;
        Some(self.permits.take(member, permits, &self.config.limits))
    }

    fn settle_permits(&self) {
        if let Some(member) = self.member() {
            self.permits.settle(member);
        }
    }

    fn check_permits(&self) {
        if let Some(member) = self.member() {
            self.permits.check(member);
        }
    }

    fn heartbeat(&self, now: Time) {
        self.rejoin_after_a_stop(now);
        if self.schedule.begin_heartbeat(now) {
            self.rejoin_if_forgotten(now);
            self.check_permits();
            if let Some(relaying) = self.relaying() {
                relaying.close_strangers_later();
                relaying.show_all();
            }
            // The level may be changed while Envoy runs.
            let verbose = host::logs_debug();
            self.with_gate(|gate| gate.set_verbose(verbose));
        }
        self.settle_permits();
        if self.with_gate(|gate| gate.status_changed()) == Some(true) {
            self.schedule.mark_urgent(now);
        }
        self.publish_status(now);
        self.tick_lease(now);
    }

    fn publish_status(&self, now: Time) {
        self.with_gate(|gate| gate.publish_status(now));
        self.carry_out_all(now);
    }

    /// A thread that stood still for long may have been taken for dead and forgotten: its accounts were closed then, and its id, and with
    /// it the key of its status, may be another's.
    fn rejoin_after_a_stop(&self, now: Time) {
        if self.schedule.has_stood_still(now) {
            self.rejoin_if_forgotten(now);
            self.check_permits();
        }
    }

    /// A gate that was silent for so long that it was forgotten comes back as a new one.
    fn rejoin_if_forgotten(&self, now: Time) {
        let Some(former) = self.member() else { return };
        // Until what it holds stands under no name, it keeps this one.
        if shared::members().contains(former) || !self.permits.disown(former) {
            return;
        }
        host::warn("holdfast: this gate was forgotten; it registers again");
        self.relaying.replace(None);
        let Some(member) = self.join() else { return };
        self.with_gate(|gate| gate.rename(member));
        self.permits.settle(member);
        self.publish_status(now);
        // Under its new name it has followed nothing yet.
        self.follow(now);
    }

    /// The root context ends well: after its last stream.
    pub(crate) fn sign_off(&self) {
        let Some(member) = self.membership.end() else {
            return;
        };
        self.ended.set(true);
        if self.relaying.take().is_some() {
            give_up_lease(member);
        }
        self.gate.replace(None);
        // One that is still in debt stays listed: the relay misses it, closes its accounts and forgets it then.
        if self.permits.close(member) {
            shared::leave(member);
        }
    }
}
