//! Whether another manager keeps undoing our wakes, and how long the next one waits then.

use super::{Facts, Lifecycle, Phase, backoff};
use crate::time::Time;

/// Wakes in a row that others undid: they set the replicas to zero soon after we had raised them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// How many.
    pub times: u32,
    /// When the last one was.
    pub last: Time,
    /// By whom, if it is known.
    pub by: Option<String>,
    /// Until then nothing is started but for a person.
    pub held_until: Time,
}

impl Undone {
    /// One more after `before`. Once contended it stays so, however long the waits have become.
    fn again(before: Option<&Self>, by: Option<String>, facts: &Facts) -> Self {
        let (now, policy) = (facts.now, &facts.policy);
        let in_a_row = before.filter(|one| one.is_contended() || now.since(one.last) <= policy.undone_within);
        let times = in_a_row.map_or(0, |one| one.times).saturating_add(1);
        let wait = match times {
            // A person who sets it to zero while a request waits is no manager that insists.
            1 => std::time::Duration::ZERO,
            _ => backoff(policy, times - 1, facts.jitter),
        };
        Self {
            times,
            last: now,
            by: by.or_else(|| in_a_row.and_then(|one| one.by.clone())),
            held_until: now + wait,
        }
    }

    /// True from the second on: another manager insists.
    pub fn is_contended(&self) -> bool {
        self.times > 1
    }
}

impl Lifecycle {
    /// Others have set it to zero: takes note if that undid a wake of ours.
    pub(super) fn note_undone(&mut self, facts: &Facts) {
        let within = facts.policy.undone_within;
        let fresh = self.started.take().is_some_and(|at| facts.now.since(at) < within);
        if fresh {
            self.undone = Some(Undone::again(
                self.undone.as_ref(),
                self.seen.set_by.clone(),
                facts,
            ));
        }
    }

    /// Forgets what was undone once it has stayed up for long enough.
    pub(super) fn note_lasting(&mut self, facts: &Facts) {
        if self.forgives_at(facts).is_some_and(|at| facts.now >= at) {
            self.undone = None;
        }
    }

    /// When what was undone is forgotten, if it stays up.
    pub(super) fn forgives_at(&self, facts: &Facts) -> Option<Time> {
        let undone = self.undone.as_ref()?;
        let on = matches!(
            self.phase,
            Phase::Waking { .. } | Phase::Ready | Phase::Draining { .. }
        );
        let up = on && self.obeyed() && self.seen.replicas > 0;
        let since = self.started.map_or(undone.last, |at| at.max(undone.last));
        up.then_some(since + facts.policy.undone_within)
    }

    /// Until when a start waits because others undid those before.
    pub(super) fn held_until(&self, facts: &Facts) -> Option<Time> {
        let until = self.undone.as_ref()?.held_until;
        (until > facts.now).then_some(until)
    }
}
