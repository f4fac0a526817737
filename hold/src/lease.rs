//! Which root context runs the relay. Decides only; the shell writes by compare-and-swap.

use crate::{Lease, Member};

/// One root context's view of the lease, looked at once a tick.
#[derive(Debug)]
pub struct Candidate {
    me: Member,
    preferred: bool,
    /// Term and beat at the last look, if there has been one.
    seen: Option<Option<(u64, u64)>>,
    unchanged: u32,
    /// The owner has been seen to beat.
    beaten: bool,
}

/// What to do at this tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody else has it, or may still.
    Wait,
    /// Write this: the lease is vacant or its owner has died. If the write fails, somebody was faster.
    Take(Lease),
    /// Write this: it is ours and lives on. If the write fails, it is not ours any more.
    Beat(Lease),
}

impl Candidate {
    /// Ticks without a new beat after which the lease is taken: long enough that a worker that is busy for a few ticks
    /// keeps it, short enough that a held request does not notice.
    pub const PATIENCE: u32 = 5;

    /// Ticks from one beat to the next of an owner at rest: two and a half of them are the others' patience.
    pub const REST_TICKS: u32 = 2;

    /// `preferred` takes a vacant lease at once: the singleton service, which outlives every listener.
    pub fn new(me: Member, preferred: bool) -> Self {
        Self {
            me,
            preferred,
            seen: None,
            unchanged: 0,
            beaten: false,
        }
    }

    /// True if the lease is this candidate's own.
    pub fn owns(&self, lease: &Lease) -> bool {
        lease.owner == Some(self.me)
    }

    /// True if the owner has beaten lately. The queue of a dead VM must not be rung: Envoy may deliver the message to
    /// another context of the VM that took its place.
    pub fn owner_is_fresh(&self) -> bool {
        self.beaten && self.unchanged <= Self::REST_TICKS
    }

    /// True if the owner had beaten anew at the last look.
    pub fn owner_beats(&self) -> bool {
        self.beaten && self.unchanged == 0
    }

    /// Looks at the lease as it stands in shared data.
    pub fn tick(&mut self, lease: Option<&Lease>) -> Step {
        if let Some(lease) = lease.filter(|lease| self.owns(lease)) {
            self.unchanged = 0;
            return Step::Beat(Lease {
                beat: lease.beat + 1,
                ..lease.clone()
            });
        }
        let now = Some(lease.map(|lease| (lease.term, lease.beat)));
        if now == self.seen {
            self.unchanged = self.unchanged.saturating_add(1);
        } else {
            self.beaten = self.seen.is_some();
            self.seen = now;
            self.unchanged = 0;
        }
        let vacant = lease.is_none_or(|lease| lease.owner.is_none());
        if self.unchanged < Self::PATIENCE && !(vacant && self.preferred) {
            return Step::Wait;
        }
        self.unchanged = 0;
        Step::Take(Lease {
            owner: Some(self.me),
            term: lease.map_or(0, |lease| lease.term) + 1,
            beat: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::GateId;

    fn mk(id: u32, preferred: bool) -> Candidate {
        Candidate::new(
            Member {
                id: GateId(id),
                nonce: 7,
                gate: true,
            },
            preferred,
        )
    }

    #[test]
    fn the_preferred_candidate_takes_a_vacant_lease_at_once() {
        let Step::Take(lease) = mk(1, true).tick(None) else {
            panic!("must take")
        };
        assert_eq!(lease.term, 1);
    }

    #[test]
    fn others_wait_five_ticks() {
        let mut candidate = mk(2, false);
        for _ in 0..Candidate::PATIENCE {
            assert_eq!(candidate.tick(None), Step::Wait);
        }
        assert!(
            matches!(candidate.tick(None), Step::Take(_)),
            "must take after five unchanged ticks"
        );
    }

    #[test]
    fn a_beating_lease_is_left_alone() {
        let mut owner = mk(1, true);
        let mut other = mk(2, true);
        let Step::Take(mut lease) = owner.tick(None) else {
            panic!("must take")
        };
        for _ in 0..20 {
            assert_eq!(other.tick(Some(&lease)), Step::Wait);
            let Step::Beat(next) = owner.tick(Some(&lease)) else {
                panic!("must beat")
            };
            lease = next;
        }
        let mut waits = 0;
        while other.tick(Some(&lease)) == Step::Wait {
            waits += 1;
            assert!(waits <= Candidate::PATIENCE, "must take a dead owner's lease");
        }
    }

    #[test]
    fn an_owner_at_rest_keeps_its_lease_and_may_be_rung() {
        let mut owner = mk(1, true);
        let mut other = mk(2, false);
        let Step::Take(mut lease) = owner.tick(None) else {
            panic!("must take")
        };
        // Known to beat once it has been seen to.
        for tick in 0..Candidate::REST_TICKS * 20 {
            assert_eq!(other.tick(Some(&lease)), Step::Wait);
            assert_eq!(
                other.owner_is_fresh(),
                tick >= Candidate::REST_TICKS,
                "at tick {tick}"
            );
            if (tick + 1).is_multiple_of(Candidate::REST_TICKS)
                && let Step::Beat(next) = owner.tick(Some(&lease))
            {
                lease = next;
            }
        }
        // One tick may come late.
        other.tick(Some(&lease));
        for _ in 0..Candidate::REST_TICKS {
            other.tick(Some(&lease));
            assert!(other.owner_is_fresh());
        }
        other.tick(Some(&lease));
        assert!(
            !other.owner_is_fresh(),
            "must not be rung once it has missed a beat"
        );
    }

    #[test]
    fn a_new_user_of_the_owners_id_does_not_own_the_lease() {
        let Step::Take(lease) = mk(1, true).tick(None) else {
            panic!("must take")
        };
        let heir = Candidate::new(
            Member {
                id: GateId(1),
                nonce: 8,
                gate: true,
            },
            true,
        );
        assert!(!heir.owns(&lease));
    }
}
