//! Runs the relay on shared data: publishes, reads the statuses of the gates, closes accounts, records the gauges.
//!
//! Makes no calls and wakes no other root context: `FilterRoot` carries out those commands.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use envoy_share::{Gauges, Members, Record as _, Relay, RelayStart, close_accounts, keys, strangers};
use hold::{Config, GateId, GateStatus, Manifest, Member, Slot, SlotRecord, Time};

use crate::host;
use crate::metrics::Metrics;
use crate::shared;

/// How long a gate may be silent before it is taken for dead, and never fewer than 20 heartbeats.
const SILENCE: Duration = Duration::from_secs(10);
const SILENT_HEARTBEATS: u32 = 20;

/// The age of the last sync is recorded when it has changed by this.
const SHOW_AGE_MS: u64 = 500;

/// The relay of one term, and the compare-and-swap numbers of all that it alone writes.
#[derive(Debug)]
pub(crate) struct Relaying {
    relay: RefCell<Relay>,
    manifest: Cell<u32>,
    /// By slot: they are dense.
    slots: RefCell<Vec<u32>>,
    /// One for each gate: dozens at most.
    statuses: RefCell<Vec<(GateId, u32)>>,
    /// Number of the list of members that the relay knows.
    members: Cell<Option<u32>>,
    /// Members whose accounts have to be closed, and whether each is to be taken off the list of members then.
    to_close: RefCell<Vec<(Member, bool)>>,
    /// The gauges as they were recorded last.
    shown: Cell<Option<Gauges>>,
}

impl Relaying {
    /// Begins a term: takes over what stands in shared data. `None` if the incarnation could not be written.
    pub(crate) fn take_over(config: &Config, term: u64, now: Time) -> Option<Self> {
        let incarnation = shared::incarnation()?;
        let (manifest, manifest_number) = shared::get::<Manifest>(keys::MANIFEST);
        let mut slots = Vec::new();
        let mut numbers = Vec::new();
        // Past the manifest's own count as well: a relay that stepped down between slot and manifest has left slots there.
        for slot in (0..).map(Slot) {
            let (record, number) = shared::slot(slot);
            if number == host::CREATE && slot.0 >= manifest.as_ref().map_or(0, |manifest| manifest.slots) {
                break;
            }
            numbers.push(number);
            slots.push((slot, record));
        }
        let place = if config.service {
            "the singleton service"
        } else {
            "a filter's root context"
        };
        host::info(&format!(
            "holdfast: relay of this Envoy: {place}, term {term}, incarnation {incarnation}"
        ));
        let heartbeat_interval = config.ticks.heartbeat_interval();
        let start = RelayStart {
            id: host::node_id(),
            incarnation,
            term,
            heartbeat_interval,
            silent_after: SILENCE.max(heartbeat_interval * SILENT_HEARTBEATS),
            manifest,
            slots,
        };
        Some(Self {
            relay: RefCell::new(Relay::new(start, now)),
            manifest: Cell::new(manifest_number),
            slots: RefCell::new(numbers),
            statuses: RefCell::default(),
            members: Cell::new(None),
            to_close: RefCell::default(),
            shown: Cell::new(None),
        })
    }

    /// Gives the relay an input, or takes an output of it. Makes no host call meanwhile.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Relay) -> T) -> T {
        f(&mut self.relay.borrow_mut())
    }

    /// Writes the slots, then the manifest. False if another relay has written one of them: then this one must step down.
    pub(crate) fn publish(&self, slots: &[(Slot, SlotRecord)], manifest: &Manifest) -> bool {
        for (slot, record) in slots {
            let known = self.slots.borrow().get(slot.0 as usize).copied();
            let written = shared::put(&keys::slot(*slot), record, known.unwrap_or(host::CREATE));
            let Some(number) = written else { return false };
            self.set_slot(*slot, number);
        }
        let written = shared::put(keys::MANIFEST, manifest, self.manifest.get());
        written.is_some_and(|number| {
            self.manifest.set(number);
            true
        })
    }

    fn set_slot(&self, slot: Slot, number: u32) {
        let at = slot.0 as usize;
        let mut slots = self.slots.borrow_mut();
        if at >= slots.len() {
            slots.resize(at + 1, host::CREATE);
        }
        if let Some(place) = slots.get_mut(at) {
            *place = number;
        }
    }

    /// Gives the relay the list of members and every status, as far as they have changed since the last call.
    pub(crate) fn read_statuses(&self, now: Time) {
        let (members, number) = shared::get::<Members>(keys::MEMBERS);
        let members = members.unwrap_or_default();
        if self.members.replace(Some(number)) != Some(number) {
            self.with(|relay| relay.members(now, &members));
            self.statuses.borrow_mut().clear();
        }
        for member in members.live.iter().filter(|member| member.gate) {
            let Some((bytes, number)) = host::shared_get(&keys::status(member.id)) else {
                continue;
            };
            if self.is_news(member.id, number)
                && let Some(status) = GateStatus::decode(&bytes)
            {
                self.with(|relay| relay.status(now, *member, status));
            }
        }
    }

    /// True if the status of that number has not been read yet.
    fn is_news(&self, gate: GateId, number: u32) -> bool {
        let mut statuses = self.statuses.borrow_mut();
        match statuses.iter_mut().find(|(id, _)| *id == gate) {
            Some((_, known)) => std::mem::replace(known, number) != number,
            None => {
                statuses.push((gate, number));
                true
            }
        }
    }

    /// Notes that the accounts of a member have to be closed, and whether it is to be taken off the list of members then.
    pub(crate) fn close_later(&self, member: Member, forget: bool) {
        let mut to_close = self.to_close.borrow_mut();
        to_close.retain(|(other, _)| *other != member);
        to_close.push((member, forget));
    }

    /// Notes the accounts of members that are not listed.
    pub(crate) fn close_strangers_later(&self) {
        for stranger in strangers(&shared::Quotas, shared::members) {
            self.close_later(stranger, false);
        }
    }

    /// Closes the accounts that were noted. One that cannot be closed keeps its member on the list, which tells another relay of it, and
    /// is tried again at the next tick.
    pub(crate) fn close_accounts(&self) {
        let to_close = self.to_close.take();
        if to_close.is_empty() {
            return;
        }
        let slots = shared::manifest().map_or(0, |manifest| manifest.slots);
        for (member, forget) in to_close {
            let closed = close_accounts(&shared::Quotas, member, slots);
            if !closed || (forget && !shared::leave(member)) {
                self.close_later(member, forget);
            }
        }
    }

    /// Records the gauges that have changed since the last call.
    pub(crate) fn show(&self, now: Time, metrics: &Metrics) {
        let mut gauges = self.with(|relay| relay.gauges(now));
        let shown = self.shown.get();
        if let Some(shown) = shown
            && gauges.sync_age_ms.abs_diff(shown.sync_age_ms) < SHOW_AGE_MS
        {
            // It changes all the time.
            gauges.sync_age_ms = shown.sync_age_ms;
        }
        metrics.show(&gauges, shown.as_ref());
        self.shown.set(Some(gauges));
    }

    /// The next [`Relaying::show`] records all gauges: another `vm_id` may have recorded the same ones.
    pub(crate) fn show_all(&self) {
        self.shown.set(None);
    }
}
