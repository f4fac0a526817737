//! One root context: its gate, its place among the members, and, while it has the lease, the relay.
//!
//! Root callbacks and stream callbacks share it. A stream callback never dispatches a call and never touches another
//! stream: it leaves that to the root by a message to the station's own queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use envoy_share::{Candidate, Credits, Gauges, Lease, keys};
use hold::{
    Bound, Config, Gate, GateId, LogLevel, Member, Output, PermitRequest, SlotsToRead, TargetPermits, Time,
    Update,
};

use crate::calls::{self, Call};
use crate::host;
use crate::metrics::Metrics;
use crate::relaying::Relaying;
use crate::shared;

thread_local! {
    /// Every definition takes a new id in Envoy, so the stats are defined once for each VM.
    static METRICS: Rc<Metrics> = Rc::new(Metrics::define());
}

/// What a root context is while it is registered.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) member: Member,
    /// `None` if Envoy gave none: then nobody rings, and every tick looks.
    pub(crate) queue: Option<u32>,
    candidate: Candidate,
    /// Number of the head that the gate has followed last under this name; [`host::CREATE`] if none.
    head: Cell<u32>,
}

/// One configured root context.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) root: u32,
    pub(crate) config: Config,
    pub(crate) metrics: Rc<Metrics>,
    pub(crate) vm_id: String,
    token: Option<String>,
    started: Instant,
    pub(crate) gate: RefCell<Option<Gate>>,
    pub(crate) place: RefCell<Option<Place>>,
    pub(crate) relaying: RefCell<Option<Relaying>>,
    /// On their way, by token; answers come in about the order of the calls.
    pub(crate) calls: RefCell<VecDeque<(u32, Call)>>,
    /// Queues of other members, by id and nonce: dozens at most.
    pub(crate) queues: RefCell<Vec<((GateId, u64), u32)>>,
    /// A message to the own queue is on its way.
    pub(crate) rung: Cell<bool>,
    /// What the gate has taken of the ledgers.
    credits: RefCell<Credits>,
    /// The gauges as this relay has written them last.
    pub(crate) shown: Cell<Option<Gauges>>,
    pub(crate) next_heartbeat: Cell<Time>,
    pub(crate) odd_heartbeat: Cell<bool>,
    pub(crate) tick_period: Cell<Duration>,
    /// Until when a tick comes each period, and not only when something is due.
    pub(crate) urgent_until: Cell<Time>,
    ended: Cell<bool>,
}

impl Station {
    pub(crate) fn new(root: u32, config: Config) -> Self {
        let token = config
            .control_plane
            .token_env
            .as_ref()
            .and_then(|name| match std::env::var(name) {
                Ok(token) if !token.is_empty() => Some(token),
                _ => {
                    host::error(&format!(
                        "holdfast: control_plane.token_env: the VM's environment has no `{name}`: add it to \
                     vm_config.environment_variables; calls go out without a token"
                    ));
                    None
                }
            });
        Self {
            root,
            config,
            metrics: METRICS.with(Rc::clone),
            vm_id: host::vm_id(),
            token,
            started: Instant::now(),
            gate: RefCell::new(None),
            place: RefCell::new(None),
            relaying: RefCell::new(None),
            calls: RefCell::new(VecDeque::new()),
            queues: RefCell::new(Vec::new()),
            rung: Cell::new(false),
            credits: RefCell::new(Credits::default()),
            shown: Cell::new(None),
            next_heartbeat: Cell::new(Time::ZERO),
            odd_heartbeat: Cell::new(false),
            tick_period: Cell::new(Duration::ZERO),
            urgent_until: Cell::new(Time::ZERO),
            ended: Cell::new(false),
        }
    }

    /// The VM's own clock.
    pub(crate) fn now(&self) -> Time {
        self.started.elapsed()
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Registers at the first tick or stream, in this order: queue, row, targets. The relay writes the targets and then
    /// lists the rows, so no gate is missed.
    pub(crate) fn register(&self, now: Time) {
        if self.place.borrow().is_some() || self.ended.get() {
            return;
        }
        let Some(member) = self.take_place() else { return };
        self.urgent(now);
        if self.config.service {
            return;
        }
        let mut gate = Gate::new(self.config.clone(), member, now);
        gate.set_verbose(host::logs_debug());
        gate.publish_status(now);
        self.gate.replace(Some(gate));
        self.carry_out_all(now);
        self.look(now);
    }

    /// Joins the members and opens the queue.
    pub(crate) fn take_place(&self) -> Option<Member> {
        let member = shared::join(!self.config.service)?;
        host::shared_put(&keys::bell(member.id), b"");
        let queue = host::queue_register(&keys::queue(member.id));
        let candidate = Candidate::new(
            member,
            self.config.service,
            self.config.ticks.heartbeat_interval(),
        );
        self.place.replace(Some(Place {
            member,
            queue,
            candidate,
            head: Cell::new(host::CREATE),
        }));
        Some(member)
    }

    /// Brings the gate up to what is published.
    pub(crate) fn look(&self, now: Time) {
        if self.gate.borrow().is_none() {
            return;
        }
        // Most looks find what the last one found: then nothing is read of it.
        let followed = self.place.borrow().as_ref().map(|place| place.head.get());
        let Some((head, number)) = followed.and_then(shared::head_unless) else {
            return;
        };
        let Some(to_read) = self.with_gate(|gate| gate.slots_to_read(&head)) else {
            return;
        };
        if let Some(place) = self.place.borrow().as_ref() {
            place.head.set(number);
        }
        let (full, wanted) = match to_read {
            SlotsToRead::Nothing => return,
            SlotsToRead::All => (true, (0..head.slots).map(hold::Slot).collect()),
            SlotsToRead::Slots(slots) => (false, slots),
        };
        let slots = wanted
            .into_iter()
            .map(|slot| (slot, shared::slot(slot).0))
            .collect();
        if let Some(gate) = self.gate.borrow_mut().as_mut() {
            gate.apply(now, Update { head, full, slots });
        }
    }

    /// Everything that is due, from a root callback.
    pub(crate) fn run(&self, now: Time) {
        self.look(now);
        // The relay reads what is told of this.
        self.carry_out_all(now);
        // Before the gate decides: a decision ends in another context, and a call belongs to the context that is active.
        self.run_relay(now);
        self.with_gate(|gate| gate.handle_timeout(now));
        if self.carry_out_all(now) {
            self.ring_self();
        }
        self.arm(now);
    }

    /// Carries out what the gate wants done. Questions and decisions are among it only after `handle_timeout`, which a root callback
    /// calls. True if the gate has more to ask or to decide: a root callback has to follow.
    pub(crate) fn carry_out_all(&self, now: Time) -> bool {
        // Before a status is written: its key may be another's by now.
        self.rejoin_after_a_stop(now);
        let mut wakes = false;
        while let Some(output) = self.with_gate(Gate::poll_output).flatten() {
            wakes |= output == Output::Wake;
            self.carry_out(now, output);
        }
        wakes
    }

    pub(crate) fn carry_out(&self, now: Time, output: Output) {
        match output {
            Output::Confirm(call) => calls::confirm(self, now, &call),
            Output::ReadAuthority(stream) => {
                let authority = host::authority_of(stream, self.root);
                self.with_gate(|gate| gate.release(now, stream, &authority));
            }
            Output::TakePermits(stream, permits) => {
                if let Some(granted) = self.take_target_permits(permits) {
                    self.with_gate(|gate| gate.permits_answered(now, stream, granted));
                }
            }
            Output::Resume(stream) => {
                host::resume(stream, self.root);
            }
            Output::Refuse(stream, reply) => {
                host::refuse(stream, &reply, self.root);
            }
            Output::PublishStatus(row) => {
                if let Some(member) = self.member() {
                    shared::put_row(member.id, &row);
                }
            }
            Output::NotifyRelay => {
                self.urgent(now);
                self.ring_relay(now);
            }
            Output::ReturnPermits(permits) => {
                self.credits.borrow_mut().give_back(&permits);
                self.settle_credits();
            }
            Output::Count(counts) => self.metrics.count(&counts),
            Output::Log(LogLevel::Debug, line) => host::debug(&line),
            Output::Log(LogLevel::Warn, line) => host::warn(&format!("holdfast: {line}")),
            // What is to follow is the callback's business: it may be a root callback itself.
            Output::Wake => {}
        }
    }

    /// Takes permits of a target's ledger, for a request that has those of the Envoy's.
    fn take_target_permits(&self, permits: TargetPermits) -> Option<Result<(), Bound>> {
        let member = self.member()?;
        Some(self.credits.borrow_mut().take_of(
            &shared::Ledgers,
            member,
            Some(permits.slot),
            permits.bytes,
            permits.max_requests,
            permits.max_bytes,
        ))
    }

    /// Takes what a request needs to be held, of its target's ledger and of the Envoy's.
    pub(crate) fn take_permits(&self, member: Member, permits: &PermitRequest) -> Result<(), (Bound, bool)> {
        let mut credits = self.credits.borrow_mut();
        credits.take(&shared::Ledgers, member, permits, &self.config.limits)
    }

    /// Writes the accounts that are owed.
    pub(crate) fn settle_credits(&self) {
        if let Some(member) = self.member() {
            self.credits.borrow_mut().settle(&shared::Ledgers, member);
        }
    }

    /// Compares every account with its ledger: somebody may have taken this gate for dead.
    pub(crate) fn check_credits(&self) {
        self.credits.borrow_mut().doubt();
        self.settle_credits();
    }

    /// Closes the accounts under a name that is about to be given up. True if that is done.
    pub(crate) fn disown_credits(&self, former: Member) -> bool {
        self.credits.borrow_mut().disown(&shared::Ledgers, former)
    }

    /// From a stream callback: what only the root may do the gate leaves to the root.
    pub(crate) fn leave_to_root(&self, now: Time) {
        // While nothing is urgent the next tick may be far away: the root has to arm the one that this needs.
        let rests = self.tick_period.get() > self.config.ticks.period;
        if self.carry_out_all(now) || rests {
            self.ring_self();
        }
    }

    pub(crate) fn member(&self) -> Option<Member> {
        self.place.borrow().as_ref().map(|place| place.member)
    }

    pub(crate) fn with_gate<T>(&self, f: impl FnOnce(&mut Gate) -> T) -> Option<T> {
        self.gate.borrow_mut().as_mut().map(f)
    }

    pub(crate) fn with_candidate<T>(&self, f: impl FnOnce(&mut Candidate) -> T) -> Option<T> {
        self.place
            .borrow_mut()
            .as_mut()
            .map(|place| f(&mut place.candidate))
    }

    /// The root context ends well: after its last stream.
    pub(crate) fn sign_off(&self) {
        let Some(place) = self.place.take() else { return };
        self.ended.set(true);
        if self.relaying.take().is_some() {
            let (lease, number) = shared::get::<Lease>(keys::LEASE);
            if let Some(lease) = lease.filter(|lease| lease.owner == Some(place.member)) {
                shared::cas(keys::LEASE, &Lease { owner: None, ..lease }, number);
            }
        }
        self.gate.replace(None);
        // One that is still in debt stays listed: the relay misses it, closes its accounts and forgets it then.
        if self.credits.borrow_mut().close(&shared::Ledgers, place.member) {
            shared::leave(place.member);
        }
    }

    /// True once the root context has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }
}
