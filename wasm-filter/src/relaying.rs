//! The relay's part of a station: the lease, the rows, the publications.

use std::time::Duration;

use envoy_share::{
    Gauges, Lease, LeaseStep, Members, Record as _, Relay, RelayCommand, RelayStart, close_accounts, keys,
    strangers,
};
use hold::{Gate, GateId, Head, Member, Output, Row, Slot, SlotRecord, Time};

use crate::calls;
use crate::host;
use crate::shared;
use crate::station::Station;

/// How long a gate may be silent before it is taken for dead, and never fewer than 20 heartbeats.
const SILENCE: Duration = Duration::from_secs(10);
const SILENT_HEARTBEATS: u32 = 20;

/// The age of the last sync is written when it has changed by this.
const SHOW_AGE_MS: u64 = 500;

/// The relay and the compare-and-swap numbers of all that it alone writes.
#[derive(Debug)]
pub(crate) struct Relaying {
    pub(crate) relay: Relay,
    head: u32,
    /// By slot: they are dense.
    slots: Vec<u32>,
    /// One for each gate: dozens at most.
    rows: Vec<(GateId, u32)>,
    members: Option<(u32, Members)>,
    /// Members that are no more and whose accounts have to be closed, and whether they are to be forgotten then.
    buried: Vec<(Member, bool)>,
}

impl Relaying {
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.relay.poll_timeout()
    }

    fn set_slot(&mut self, slot: Slot, number: u32) {
        let at = slot.0 as usize;
        if at >= self.slots.len() {
            self.slots.resize(at + 1, host::CREATE);
        }
        if let Some(place) = self.slots.get_mut(at) {
            *place = number;
        }
    }
}

impl Station {
    /// One look at the lease: renews it, takes it, or steps down.
    pub(crate) fn tick_lease(&self, now: Time) {
        let (lease, number) = shared::get::<Lease>(keys::LEASE);
        let step = self.with_candidate(|candidate| candidate.tick(now, lease.as_ref()));
        match step {
            Some(LeaseStep::Renew(lease)) if self.relaying.borrow().is_none() => {
                // Ours, but a write of ours has failed: a new term, so that what is reported in it counts as newer.
                let lease = Lease {
                    term: lease.term + 1,
                    ..lease
                };
                if shared::cas(keys::LEASE, &lease, number) {
                    self.become_relay(now, lease.term);
                }
            }
            Some(LeaseStep::Renew(lease)) if shared::cas(keys::LEASE, &lease, number) => {}
            Some(LeaseStep::Take(lease)) if shared::cas(keys::LEASE, &lease, number) => {
                self.become_relay(now, lease.term)
            }
            Some(LeaseStep::Wait | LeaseStep::Renew(_) | LeaseStep::Take(_)) | None => self.step_down(),
        }
    }

    fn step_down(&self) {
        if self.relaying.take().is_some() {
            host::warn("holdfast: this root context is no longer the relay");
        }
    }

    fn become_relay(&self, now: Time, term: u64) {
        let Some(incarnation) = shared::incarnation() else {
            return;
        };
        let (head, head_number) = shared::get::<Head>(keys::HEAD);
        let mut slots = Vec::new();
        let mut numbers = Vec::new();
        // Past the head's own count as well: a relay that stepped down between slot and head has left slots there.
        for slot in (0..).map(Slot) {
            let (record, number) = shared::slot(slot);
            if number == host::CREATE && slot.0 >= head.as_ref().map_or(0, |head| head.slots) {
                break;
            }
            numbers.push(number);
            slots.push((slot, record));
        }
        let place = if self.config.service {
            "the singleton service"
        } else {
            "a filter's root context"
        };
        host::info(&format!(
            "holdfast: relay of this Envoy: {place}, term {term}, incarnation {incarnation}"
        ));
        let relay = Relay::new(
            RelayStart {
                id: host::node_id(),
                incarnation,
                term,
                heartbeat_interval: self.config.ticks.heartbeat_interval(),
                silent_after: SILENCE.max(self.config.ticks.heartbeat_interval() * SILENT_HEARTBEATS),
                head,
                slots,
            },
            now,
        );
        self.metrics.takeover();
        self.shown.set(None);
        self.relaying.replace(Some(Relaying {
            relay,
            head: head_number,
            slots: numbers,
            rows: Vec::new(),
            members: None,
            buried: Vec::new(),
        }));
    }

    pub(crate) fn with_relay<T>(&self, f: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        self.relaying
            .borrow_mut()
            .as_mut()
            .map(|relaying| f(&mut relaying.relay))
    }

    /// Everything that is due for the relay, from a root callback: publish, read the rows, sync, report.
    pub(crate) fn run_relay(&self, now: Time) {
        if self.relaying.borrow().is_none() {
            return;
        }
        self.read_rows(now);
        self.with_relay(|relay| relay.handle_timeout(now));
        while let Some(command) = self.with_relay(|relay| relay.poll_command(now)).flatten() {
            match command {
                RelayCommand::Publish { slots, head } => {
                    // What the gates say to this is looked for soon.
                    self.urgent(now);
                    if !self.publish(&slots, &head) {
                        // Somebody else has written: this is no longer the relay.
                        self.step_down();
                        return;
                    }
                    self.ring_gates();
                    self.follow_own_news(now);
                    self.read_rows(now);
                }
                RelayCommand::Sync { request } => calls::sync(self, now, &request),
                RelayCommand::ForgetSync => calls::forget_sync(self),
                RelayCommand::Free(member) => self.owe(member, false),
                RelayCommand::Forget(member) => self.owe(member, true),
            }
        }
        self.bury();
        if let Some(report) = self.with_relay(|relay| relay.poll_report(now)).flatten() {
            calls::report(self, now, &report);
        }
        if let Some(gauges) = self.with_relay(|relay| relay.gauges(now)) {
            self.show(gauges);
        }
        while let Some(warning) = self.with_relay(Relay::poll_warning).flatten() {
            host::warn(&format!("holdfast: {warning}"));
        }
    }

    /// Notes that the accounts of a member have to be closed, and whether it is to be taken off the list then.
    fn owe(&self, member: Member, forget: bool) {
        if let Some(relaying) = self.relaying.borrow_mut().as_mut() {
            relaying.buried.retain(|(other, _)| *other != member);
            relaying.buried.push((member, forget));
        }
    }

    /// Closes the accounts of members that are no more. One that could not be closed keeps its member on the list, and is tried again
    /// at the next tick: the list is what tells another relay of it.
    fn bury(&self) {
        let dead = match self.relaying.borrow_mut().as_mut() {
            Some(relaying) if !relaying.buried.is_empty() => std::mem::take(&mut relaying.buried),
            _ => return,
        };
        let slots = shared::head().map_or(0, |head| head.slots);
        for (member, forget) in dead {
            let closed = close_accounts(&shared::Ledgers, member, slots);
            if !closed || (forget && !shared::leave(member)) {
                self.owe(member, forget);
            }
        }
    }

    /// Accounts of whoever is not listed are nobody's.
    pub(crate) fn close_strangers(&self) {
        if self.relaying.borrow().is_some() {
            for stranger in strangers(&shared::Ledgers, shared::members) {
                self.owe(stranger, false);
            }
        }
    }

    /// Only what has changed since the last look.
    fn show(&self, mut gauges: Gauges) {
        let shown = self.shown.get();
        if let Some(shown) = shown
            && gauges.sync_age_ms.abs_diff(shown.sync_age_ms) < SHOW_AGE_MS
        {
            // It changes all the time.
            gauges.sync_age_ms = shown.sync_age_ms;
        }
        self.metrics.show(&gauges, shown.as_ref());
        self.shown.set(Some(gauges));
    }

    /// The relay's own gate follows a publication at once, without a message to itself.
    fn follow_own_news(&self, now: Time) {
        self.look(now);
        while let Some(output) = self.with_gate(Gate::poll_output).flatten() {
            // The rows are read right after this, and then the gate decides.
            if output != Output::NotifyRelay {
                self.carry_out(now, output);
            }
        }
    }

    fn publish(&self, slots: &[(Slot, SlotRecord)], head: &Head) -> bool {
        for (slot, record) in slots {
            let Some(number) = shared::put(&keys::slot(*slot), record, self.slot_number(*slot)) else {
                return false;
            };
            if let Some(relaying) = self.relaying.borrow_mut().as_mut() {
                relaying.set_slot(*slot, number);
            }
        }
        let Some(number) = self.relaying.borrow().as_ref().map(|relaying| relaying.head) else {
            return false;
        };
        let Some(number) = shared::put(keys::HEAD, head, number) else {
            return false;
        };
        if let Some(relaying) = self.relaying.borrow_mut().as_mut() {
            relaying.head = number;
        }
        true
    }

    fn slot_number(&self, slot: Slot) -> u32 {
        self.relaying
            .borrow()
            .as_ref()
            .and_then(|relaying| relaying.slots.get(slot.0 as usize).copied())
            .unwrap_or(host::CREATE)
    }

    fn ring_gates(&self) {
        for member in self.with_relay(|relay| relay.gates_to_ring()).unwrap_or_default() {
            if Some(member) != self.member() {
                self.ring(member);
            }
        }
    }

    /// Gives the relay every row that has changed since the last look.
    fn read_rows(&self, now: Time) {
        let (members, number) = shared::get::<Members>(keys::MEMBERS);
        let members = members.unwrap_or_default();
        let known = self
            .relaying
            .borrow()
            .as_ref()
            .and_then(|relaying| relaying.members.as_ref())
            .is_some_and(|(known, _)| *known == number);
        if !known && let Some(relaying) = self.relaying.borrow_mut().as_mut() {
            relaying.relay.members(now, &members);
            relaying.rows.clear();
            relaying.members = Some((number, members.clone()));
        }
        for member in members.live.iter().filter(|member| member.gate) {
            let Some((bytes, number)) = host::shared_get(&keys::row(member.id)) else {
                continue;
            };
            let mut relaying = self.relaying.borrow_mut();
            let Some(relaying) = relaying.as_mut() else { return };
            match relaying.rows.iter_mut().find(|(id, _)| *id == member.id) {
                Some((_, known)) if *known == number => continue,
                Some((_, known)) => *known = number,
                None => relaying.rows.push((member.id, number)),
            }
            if let Some(row) = Row::decode(&bytes) {
                relaying.relay.row(now, *member, row);
            }
        }
    }
}
