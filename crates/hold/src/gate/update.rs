//! Taking in what the relay has published.

use protocol::State;

use crate::gate::entry::Entry;
use crate::gate::{Gate, TargetIx};
use crate::{Head, Slot, SlotRecord, Time};

/// What a gate must read to follow a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// Every slot below `Head::slots`.
    All,
    /// These.
    Slots(Vec<Slot>),
}

/// A head and the slots that were read for it.
#[derive(Debug)]
pub struct Update {
    /// As it was read, before the slots.
    pub head: Head,
    /// True if every slot was read.
    pub full: bool,
    /// What stood in the slots that were read; if they are all, in order.
    pub slots: Vec<(Slot, SlotRecord)>,
}

impl Gate {
    /// What must be read to follow `head`. A head that is no newer than what has been applied wants nothing.
    pub fn wants(&self, head: &Head) -> Wants {
        match self.version {
            Some(version) if head.version <= version => Wants::Nothing,
            Some(version) if version >= head.floor => {
                let mut slots = Vec::new();
                // At most `Head::CHANGES` of them.
                for (_, slot) in head.changes.iter().filter(|(change, _)| *change > version) {
                    if !slots.contains(slot) {
                        slots.push(*slot);
                    }
                }
                Wants::Slots(slots)
            }
            _ => Wants::All,
        }
    }

    /// Takes in an update. One that is older than what has been applied changes nothing.
    pub fn apply(&mut self, now: Time, update: Update) {
        let Update { head, full, slots } = update;
        if self.version.is_some_and(|version| head.version <= version) {
            return;
        }
        let first = !self.known;
        let lost_changed = self.lost != head.lost;
        self.lost = head.lost;
        let (mut next, mut rekeyed) = (0, Vec::new());
        for (slot, record) in slots {
            if full {
                // In order, so what lies between two of them is there no more.
                (next..slot.0).map(Slot).for_each(|gone| self.retire(gone));
                next = slot.0 + 1;
            }
            rekeyed.extend(self.apply_slot(now, slot, record));
        }
        if full {
            let all = u32::try_from(self.by_slot.len()).unwrap_or(u32::MAX);
            (next..all).map(Slot).for_each(|gone| self.retire(gone));
        }
        if lost_changed {
            self.take_stances(now);
        }
        self.settle_claims();
        self.claim_strays(&rekeyed);
        self.known |= head.known;
        if first && self.known {
            self.settle_early();
        }
        self.version = Some(head.version);
        self.row_changed = true;
        // The warm path must not allocate when it notes that a target is in use.
        self.active
            .reserve(self.entries.len().saturating_sub(self.active.len()));
    }

    /// Takes a slot in. Returns its target if that has keys that are new.
    fn apply_slot(&mut self, now: Time, slot: Slot, mut record: SlotRecord) -> Option<TargetIx> {
        let Some(target) = record.target.take() else {
            self.retire(slot);
            return None;
        };
        if let Some(ix) = self.at(slot)
            && let Some(entry) = self.entry_mut(ix)
            && entry.target.id != target.id
        {
            if entry.target.has_same_keys(&target) {
                entry.serve_anew();
            } else {
                self.retire(slot);
            }
        }
        let known = self.at(slot);
        let is_new = known.is_none();
        let ix = known.unwrap_or_else(|| self.insert(slot, &target));
        let me = self.me.id;
        let lost = self.lost;
        let mut rekeyed = is_new;
        let entry = self.entries.get_mut(ix.0 as usize).and_then(Option::as_mut)?;
        if entry.target.hosts != target.hosts || entry.target.clusters != target.clusters {
            self.table.remove(ix, &entry.target);
            self.table.add(ix, &target);
            rekeyed = true;
        }
        let drains = target.state == State::Draining && entry.target.state != State::Draining;
        entry.update(now, me, &record, target, lost);
        // The control plane waits for word of a drain.
        self.row_urgent |= drains;
        self.queue(ix);
        rekeyed.then_some(ix)
    }

    fn insert(&mut self, slot: Slot, target: &protocol::Target) -> TargetIx {
        if let Some(ix) = self.revive(slot, target) {
            return ix;
        }
        let at = self.free.pop().map_or(self.entries.len(), |ix| ix.0 as usize);
        let ix = TargetIx(u32::try_from(at).unwrap_or(u32::MAX));
        let entry = Entry::new(slot, target.clone());
        match self.entries.get_mut(at) {
            Some(place) => *place = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.move_in(slot, ix);
        self.table.add(ix, target);
        ix
    }

    /// A target that was removed and is back: its streams of before are its own again. Not while credits of its former
    /// slot are out.
    fn revive(&mut self, slot: Slot, target: &protocol::Target) -> Option<TargetIx> {
        let is_back = |ix: &TargetIx| {
            self.entry(*ix)
                .is_some_and(|entry| entry.target.id == target.id && entry.held == 0 && entry.back.0 == 0)
        };
        let ix = self.retired.iter().copied().find(is_back)?;
        self.retired.retain(|other| *other != ix);
        let entry = self.entry_mut(ix)?;
        entry.slot = slot;
        entry.retired = false;
        entry.stance = crate::gate::entry::Stance::Hold;
        entry.target = target.clone();
        self.move_in(slot, ix);
        self.table.add(ix, target);
        Some(ix)
    }

    fn at(&self, slot: Slot) -> Option<TargetIx> {
        self.by_slot.get(slot.0 as usize).copied().flatten()
    }

    fn move_in(&mut self, slot: Slot, ix: TargetIx) {
        let at = slot.0 as usize;
        if at >= self.by_slot.len() {
            self.by_slot.resize(at + 1, None);
        }
        if let Some(place) = self.by_slot.get_mut(at) {
            *place = Some(ix);
        }
    }

    fn retire(&mut self, slot: Slot) {
        let Some(ix) = self.by_slot.get_mut(slot.0 as usize).and_then(Option::take) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(ix.0 as usize).and_then(Option::as_mut) {
            entry.retire();
            self.table.remove(ix, &entry.target);
        }
        self.retired.push(ix);
        self.queue(ix);
        self.drop_if_spent(ix);
    }

    fn take_stances(&mut self, now: Time) {
        let lost = self.lost;
        for entry in self.entries.iter_mut().flatten().filter(|entry| !entry.retired) {
            entry.take_stance(now, lost);
        }
        for ix in self.waiting.iter().map(|(_, ix)| ix).collect::<Vec<_>>() {
            self.queue(TargetIx(ix));
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{State, Target, TargetId};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::StreamId;
    use crate::gate::testing::{find, hold, mk_gate, mk_record, mk_target, publish};
    use crate::gate::{Ticket, Warm};

    #[test]
    fn what_is_held_and_in_flight_stays_so_under_another_name() {
        let mut gate = mk_gate();
        name(&mut gate, mk_named("a", State::Ready));
        let ix = find(&gate, "web");
        let passed = gate.pass(ix, b"web");
        assert_eq!(passed, Warm::Pass(Ticket::Passed(ix)), "must pass: it is trusted");
        name(&mut gate, mk_named("a", State::Asleep));
        hold(&mut gate, Time::ZERO, 1, "web");

        name(&mut gate, mk_named("b", State::Asleep));
        assert_eq!(
            gate.poll_command(Time::ZERO),
            None,
            "must not be let go to what sleeps"
        );
        let entries = gate.row(Time::ZERO).entries;
        let used: Vec<_> = entries.iter().map(|one| (one.held, one.in_flight)).collect();
        assert_eq!(used, [(1, 1)], "must be known as its use");

        let elsewhere = Target {
            clusters: vec!["elsewhere".to_owned()],
            ..mk_named("c", State::Asleep)
        };
        name(&mut gate, elsewhere);
        let entries = gate.row(Time::ZERO).entries;
        assert!(
            entries.is_empty(),
            "must not be taken for the use of what has other keys"
        );
    }

    #[test]
    fn what_is_let_go_because_its_target_goes_is_in_flight_once_that_is_back() {
        let mut gate = mk_gate();
        name(&mut gate, mk_named("a", State::Asleep));
        let ticket = hold(&mut gate, Time::ZERO, 1, "web");
        publish(&mut gate, 0, SlotRecord::default());
        assert!(gate.poll_command(Time::ZERO).is_some(), "must be let go");
        assert!(gate.let_go(Time::ZERO, StreamId(1), b"a").is_some(), "and go");
        gate.take_credits();
        assert!(gate.row(Time::ZERO).entries.is_empty(), "must be nobody's");
        name(&mut gate, mk_named("a", State::Ready));
        let used: Vec<_> = gate
            .row(Time::ZERO)
            .entries
            .iter()
            .map(|one| one.in_flight)
            .collect();
        assert_eq!(used, [1], "must be its own again");
        gate.ended(Time::ZERO, StreamId(1), ticket);
        let entries = gate.row(Time::ZERO).entries;
        assert!(entries.iter().all(|one| one.in_flight == 0), "must end");
    }

    #[test]
    fn what_was_confirmed_of_one_name_says_nothing_of_another() {
        let mut gate = mk_gate();
        name(&mut gate, mk_named("a", State::Ready));
        let ix = find(&gate, "web");
        assert!(
            matches!(gate.pass(ix, b"web"), Warm::Pass(_)),
            "must pass: it is trusted"
        );
        publish(&mut gate, 0, mk_record(mk_named("b", State::Ready)));
        assert_eq!(gate.pass(ix, b"web"), Warm::Ask, "must be confirmed first");
    }

    fn mk_named(id: &str, state: State) -> Target {
        Target {
            id: TargetId::new(id),
            state,
            epoch: 1,
            ..mk_target("web")
        }
    }

    /// It is trusted if it is ready.
    fn name(gate: &mut Gate, target: Target) {
        let record = SlotRecord {
            trusted: (target.state == State::Ready).then_some(1),
            ..mk_record(target)
        };
        publish(gate, 0, record);
    }
}
