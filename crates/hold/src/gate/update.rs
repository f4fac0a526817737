//! Takes in what the relay has published, and says what has to be read for that. Never reads shared data itself.

use crate::gate::Gate;
use crate::gate::targets::Surroundings;
use crate::{Manifest, Slot, SlotRecord, Time};

/// What a gate must read to follow a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotsToRead {
    /// Nothing: it has followed it.
    Nothing,
    /// Every slot below `Manifest::slots`.
    All,
    /// These.
    Slots(Vec<Slot>),
}

/// A manifest and the slots that were read for it.
#[derive(Debug)]
pub struct Update {
    /// As it was read, before the slots.
    pub manifest: Manifest,
    /// True if every slot was read.
    pub full: bool,
    /// What stood in the slots that were read; if they are all, in order.
    pub slots: Vec<(Slot, SlotRecord)>,
}

impl Gate {
    /// What must be read to follow `manifest`. Returned and not an output, because the shell reads it before it can give anything to
    /// [`Gate::apply`].
    pub fn slots_to_read(&self, manifest: &Manifest) -> SlotsToRead {
        match self.version {
            Some(version) if manifest.version <= version => SlotsToRead::Nothing,
            Some(version) if version >= manifest.floor => {
                let mut slots = Vec::new();
                // At most `Manifest::CHANGES` of them.
                for (_, slot) in manifest.changes.iter().filter(|(change, _)| *change > version) {
                    if !slots.contains(slot) {
                        slots.push(*slot);
                    }
                }
                SlotsToRead::Slots(slots)
            }
            _ => SlotsToRead::All,
        }
    }

    /// Takes in an update. One that is older than what has been applied changes nothing.
    pub fn apply(&mut self, now: Time, update: Update) {
        let Update {
            manifest,
            full,
            slots,
        } = update;
        if self.version.is_some_and(|version| manifest.version <= version) {
            return;
        }
        self.advance(now);
        let lost_changed = self.lost != manifest.lost;
        self.lost = manifest.lost;
        let around = Surroundings {
            now,
            me: self.me.id,
            lost: self.lost,
        };
        let (mut next, mut rekeyed) = (0, Vec::new());
        for (slot, record) in slots {
            if full {
                // In order, so what lies between two of them is there no more.
                (next..slot.0).for_each(|gone| self.retire(Slot(gone)));
                next = slot.0 + 1;
            }
            let applied = self.targets.apply_slot(around, slot, record);
            rekeyed.extend(applied.rekeyed);
            self.status.hurry(applied.drains);
            if let Some(retired) = applied.retired {
                self.drop_if_spent(retired);
            }
        }
        if full {
            (next..self.targets.slots()).for_each(|gone| self.retire(Slot(gone)));
        }
        if lost_changed {
            self.targets.follow(around);
        }
        self.targets.block_queues();
        // The warm path must not allocate when it notes that a target is in use.
        self.status.reserve(self.targets.places());
        self.claim_strays(&rekeyed);
        for heir in self.targets.find_heirs() {
            self.status.list(heir);
        }
        if manifest.known && !self.early.is_over() {
            self.begin_known();
        }
        self.version = Some(manifest.version);
        self.status.change();
    }

    fn retire(&mut self, slot: Slot) {
        if let Some(ix) = self.targets.retire(slot) {
            self.drop_if_spent(ix);
        }
    }

    /// Streams that are older than these targets, or than their keys, are in flight.
    fn claim_strays(&mut self, rekeyed: &[crate::gate::TargetIx]) {
        for (ix, count) in self.strays.claim(rekeyed, &self.targets) {
            if let Some(entry) = self.targets.get_mut(ix) {
                entry.usage_mut().begin(count);
            }
            self.status.list(ix);
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
    use crate::gate::testing::{find, hold, mk_gate, mk_record, mk_target, publish, run, status};
    use crate::gate::{Output, Ticket, WarmDecision};

    #[test]
    fn what_is_held_and_in_flight_stays_so_under_another_name() {
        let mut gate = mk_gate();
        name(&mut gate, mk_named("a", State::Ready));
        let ix = find(&gate, "web");
        let passed = gate.pass(ix, b"web");
        assert_eq!(
            passed,
            WarmDecision::Pass(Ticket::Passed(ix)),
            "must pass: it is preconfirmed_epoch"
        );
        name(&mut gate, mk_named("a", State::Asleep));
        hold(&mut gate, Time::ZERO, 1, "web");

        name(&mut gate, mk_named("b", State::Asleep));
        let decisions = run(&mut gate, Time::ZERO).decisions;
        assert_eq!(decisions, [], "must not be let go to what sleeps");
        let entries = status(&mut gate, Time::ZERO).entries;
        let used: Vec<_> = entries.iter().map(|one| (one.held, one.in_flight)).collect();
        assert_eq!(used, [(1, 1)], "must be known as its use");

        let elsewhere = Target {
            clusters: vec!["elsewhere".to_owned()],
            ..mk_named("c", State::Asleep)
        };
        name(&mut gate, elsewhere);
        let entries = status(&mut gate, Time::ZERO).entries;
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
        let decisions = run(&mut gate, Time::ZERO).decisions;
        assert_eq!(decisions, [Output::Resume(StreamId(1))], "must be let go");
        assert!(
            status(&mut gate, Time::ZERO).entries.is_empty(),
            "must be no target's"
        );
        name(&mut gate, mk_named("a", State::Ready));
        let used: Vec<_> = status(&mut gate, Time::ZERO)
            .entries
            .iter()
            .map(|one| one.in_flight)
            .collect();
        assert_eq!(used, [1], "must be its own again");
        gate.ended(Time::ZERO, StreamId(1), ticket);
        let entries = status(&mut gate, Time::ZERO).entries;
        assert!(entries.iter().all(|one| one.in_flight == 0), "must end");
    }

    #[test]
    fn what_was_confirmed_of_one_name_says_nothing_of_another() {
        let mut gate = mk_gate();
        name(&mut gate, mk_named("a", State::Ready));
        let ix = find(&gate, "web");
        assert!(
            matches!(gate.pass(ix, b"web"), WarmDecision::Pass(_)),
            "must pass: it is preconfirmed_epoch"
        );
        publish(&mut gate, 0, mk_record(mk_named("b", State::Ready)));
        assert_eq!(
            gate.pass(ix, b"web"),
            WarmDecision::Arrive,
            "must be confirmed first"
        );
    }

    fn mk_named(id: &str, state: State) -> Target {
        Target {
            id: TargetId::new(id),
            state,
            epoch: 1,
            ..mk_target("web")
        }
    }

    /// It is preconfirmed_epoch if it is ready.
    fn name(gate: &mut Gate, target: Target) {
        let record = SlotRecord {
            preconfirmed_epoch: (target.state == State::Ready).then_some(1),
            ..mk_record(target)
        };
        publish(gate, 0, record);
    }
}
