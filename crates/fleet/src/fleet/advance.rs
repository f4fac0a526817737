//! Advances the life of one target, and publishes and carries on what follows from it.

use std::sync::Arc;

use protocol::TargetId;

use super::wakes::Told;
use super::{Effect, Fleet, FleetEvent};
use crate::command::Command;
use crate::lifecycle::{self, Event, Failure, Phase, deadline, step};
use crate::time::{Time, millis};
use crate::view::Publication;

/// Longest chain of phases one event can lead through (stopping, asleep, waking, ready, ..) with room to spare. What
/// is left over is done at the next event or deadline.
const MAX_STEPS: usize = 16;

impl Fleet {
    /// Steps one life until nothing moves, publishing after each step: a drain must have its own revision before
    /// a proxy is asked whether it has confirmed it.
    pub(super) fn advance(&mut self, id: &TargetId, event: Event, now: Time) {
        if self.closing {
            return;
        }
        let mut event = event;
        for _ in 0..MAX_STEPS {
            let Some(facts) = self.facts(id, now) else { return };
            let Some(entry) = self.targets.get(id) else { return };
            let taken = step(&entry.life, event, &facts);
            let caller = taken.moved.and_then(|_| self.caller(id));
            let Some(entry) = self.targets.get_mut(id) else {
                return;
            };
            let before = std::mem::replace(&mut entry.life, taken.life);
            entry.deadline = deadline(&entry.life, &facts);
            if let Some(why) = taken.moved {
                let unix_ms = self.unix_zero + millis(now.as_duration());
                let told = entry.follow_wake(why, caller.as_deref(), now, unix_ms);
                let event = moved(id, &before, &entry.life, why, now, told);
                self.effects.push(Effect::Emit(event));
            }
            if let Some(event) = contended(id, &before, &entry.life) {
                self.effects.push(Effect::Emit(event));
            }
            self.publish_if_changed(id);
            self.mark(id);
            for effect in taken.effects {
                if self.carry_out(id, effect) {
                    return;
                }
            }
            if taken.moved.is_none() {
                return;
            }
            event = Event::Tick;
        }
    }

    pub(super) fn publish_if_changed(&mut self, id: &TargetId) {
        let Some(entry) = self.targets.get(id) else { return };
        let closing = self.closing && self.settings.workloads_end_with_us;
        if !closing && entry.is_told() {
            return;
        }
        let target = entry.wire(closing);
        if *entry.published == target {
            return;
        }
        let n = self.next_revision();
        let target = Arc::new(target);
        if let Some(entry) = self.targets.get_mut(id) {
            let passed = passes(entry.published.state);
            // Under a key that is new requests may still pass, however long they have been held under the others.
            let (before, now) = (&entry.published, &target);
            let rekeyed = before.hosts != now.hosts || before.clusters != now.clusters;
            if (passed || rekeyed) && !passes(target.state) {
                entry.held_since = n;
            }
            entry.published = Arc::clone(&target);
        }
        self.publish(Publication {
            n,
            changed: vec![target],
            removed: Vec::new(),
        });
    }

    /// True if the target is gone.
    fn carry_out(&mut self, id: &TargetId, effect: lifecycle::Effect) -> bool {
        let id = id.clone();
        let command = match effect {
            lifecycle::Effect::Start { command, cause } => Command::Start { id, command, cause },
            lifecycle::Effect::Stop { command, from } => Command::Stop { id, command, from },
            lifecycle::Effect::Drop => {
                self.drop_target(&id);
                return true;
            }
        };
        self.effects.push(Effect::Backend(command));
        false
    }

    /// Ends the publication of a retired target; its workload goes on.
    pub(super) fn drop_target(&mut self, id: &TargetId) {
        let Some(entry) = self.targets.remove(id) else {
            return;
        };
        self.unmark(id, entry.marks);
        self.proxies.drop_target(id);
        let n = self.next_revision();
        self.publish(Publication {
            n,
            changed: Vec::new(),
            removed: vec![id.clone()],
        });
        self.effects
            .push(Effect::Backend(Command::Release { id: id.clone() }));
        self.emit(FleetEvent::Dropped(id.clone()));
    }
}

pub(super) fn passes(state: protocol::State) -> bool {
    matches!(state, protocol::State::Ready | protocol::State::Suspended)
}

/// Said once for each wake that was undone, from the second in a row on.
fn contended(
    id: &TargetId,
    before: &lifecycle::Lifecycle,
    after: &lifecycle::Lifecycle,
) -> Option<FleetEvent> {
    let undone = after.undone.as_ref().filter(|one| one.is_contended())?;
    let news = before.undone.as_ref() != Some(undone);
    news.then(|| FleetEvent::Contended {
        target: id.clone(),
        by: undone.by.clone(),
        times: undone.times,
        wait: undone.held_until.since(undone.last),
    })
}

fn moved(
    id: &TargetId,
    before: &lifecycle::Lifecycle,
    after: &lifecycle::Lifecycle,
    why: lifecycle::Reason,
    now: Time,
    told: Told,
) -> FleetEvent {
    let failure = match &after.phase {
        Phase::Failed { class, reason, .. } => Some(Failure::new(*class, reason.as_str())),
        _ => None,
    };
    let Told { woke_in, by } = told;
    FleetEvent::Moved {
        target: id.clone(),
        from: before.phase.name(),
        to: after.phase.name(),
        why,
        after: now.since(before.since),
        woke_in,
        by,
        failure,
    }
}
