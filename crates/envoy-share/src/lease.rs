//! Which root context runs the relay. Decides only; the shell writes by compare-and-swap.

use hold::Member;

/// Who runs the relay. Its owner raises `beat` every `stride` ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `None` once the owner has ended well.
    pub owner: Option<Member>,
    /// Raised at every change of owner.
    pub term: u64,
    /// Raised by the owner as long as it lives.
    pub beat: u64,
    /// Ticks from this beat to the next, at most: 1, and more while the owner rests.
    pub stride: u32,
}

/// One root context's view of the lease, looked at once a tick.
#[derive(Debug)]
pub struct Candidate {
    me: Member,
    preferred: bool,
    /// Term and beat at the last look, if there has been one.
    seen: Option<Option<(u64, u64)>>,
    /// Looks without a new beat since the last one, or since the owner has been needed.
    unchanged: u32,
    /// Ticks since the last new beat that was seen.
    silent: u32,
    /// The owner has been seen to beat.
    beaten: bool,
    /// Of the owner's last beat to the next, in ticks.
    stride: u32,
    /// Looks without a new beat after which the lease is taken.
    patience: u32,
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
    /// keeps it, short enough that a held request does not notice. An owner at rest has two and a half strides if those are more;
    /// three ticks more than its stride once it is needed; and none of that once it is rung.
    pub const PATIENCE: u32 = 5;

    /// Ticks from one beat to the next of an owner to which nothing happens: two and a half of them are the patience.
    pub const QUIET_TICKS: u32 = 2;

    /// Ticks from one beat to the next of an owner that nobody needs: no row names a target.
    pub const REST_TICKS: u32 = 5;

    /// `preferred` takes a vacant lease at once: the singleton service, which outlives every listener.
    pub fn new(me: Member, preferred: bool) -> Self {
        Self {
            me,
            preferred,
            seen: None,
            unchanged: 0,
            silent: 0,
            beaten: false,
            stride: 1,
            patience: Self::PATIENCE,
        }
    }

    /// True if the lease is this candidate's own.
    pub fn owns(&self, lease: &Lease) -> bool {
        lease.owner == Some(self.me)
    }

    /// Somebody here needs the owner, so many ticks after the last look, when the lease stands so. True if the owner may be rung,
    /// because it has beaten lately: the queue of a dead VM must not be, as Envoy may deliver the message to another context of
    /// the VM that took its place.
    pub fn need_owner(&mut self, lease: &Lease, ticks: u32) -> bool {
        let silent = if self.look(Some(lease)) {
            0
        } else {
            self.silent.saturating_add(ticks)
        };
        // One that must not be rung beats when its rest is over.
        let patience = Self::PATIENCE.max(self.stride.saturating_add(3));
        if self.patience > patience {
            self.patience = patience;
            self.unchanged = 0;
        }
        self.beaten && silent <= self.stride.max(Self::QUIET_TICKS)
    }

    /// The owner that is needed has been rung: it beats within a tick, or is dead.
    pub fn owner_was_rung(&mut self) {
        self.patience = Self::PATIENCE;
    }

    /// True if the owner had beaten anew at the last look.
    pub fn owner_beats(&self) -> bool {
        self.beaten && self.silent == 0
    }

    /// Looks at the lease as it stands in shared data, so many ticks after the last look. `stride` is how many ticks from now this
    /// candidate will beat again at the latest, should the lease be its own.
    pub fn tick(&mut self, lease: Option<&Lease>, ticks: u32, stride: u32) -> Step {
        if let Some(lease) = lease.filter(|lease| self.owns(lease)) {
            self.unchanged = 0;
            return Step::Beat(Lease {
                beat: lease.beat + 1,
                stride,
                ..lease.clone()
            });
        }
        if !self.look(lease) {
            self.unchanged = self.unchanged.saturating_add(1);
            self.silent = self.silent.saturating_add(ticks);
        }
        let vacant = lease.is_none_or(|lease| lease.owner.is_none());
        let patience = if vacant { Self::PATIENCE } else { self.patience };
        if self.unchanged < patience && !(vacant && self.preferred) {
            return Step::Wait;
        }
        self.unchanged = 0;
        Step::Take(Lease {
            owner: Some(self.me),
            term: lease.map_or(0, |lease| lease.term) + 1,
            beat: 0,
            stride: 1,
        })
    }

    /// True if the owner has beaten since the last look.
    fn look(&mut self, lease: Option<&Lease>) -> bool {
        let now = Some(lease.map(|lease| (lease.term, lease.beat)));
        if now == self.seen {
            return false;
        }
        self.beaten = self.seen.is_some();
        self.seen = now;
        self.unchanged = 0;
        self.silent = 0;
        self.stride = lease.map_or(1, |lease| lease.stride);
        // Two and a half strides.
        self.patience = Self::PATIENCE.max(self.stride.saturating_mul(5) / 2);
        true
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use hold::GateId;

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
        let Step::Take(lease) = mk(1, true).tick(None, 1, 1) else {
            panic!("must take")
        };
        assert_eq!(lease.term, 1);
    }

    #[test]
    fn others_wait_five_ticks() {
        let mut candidate = mk(2, false);
        for _ in 0..Candidate::PATIENCE {
            assert_eq!(candidate.tick(None, 1, 1), Step::Wait);
        }
        assert!(
            matches!(candidate.tick(None, 1, 1), Step::Take(_)),
            "must take after five unchanged ticks"
        );
    }

    #[test]
    fn a_beating_lease_is_left_alone() {
        let mut owner = mk(1, true);
        let mut other = mk(2, true);
        let Step::Take(mut lease) = owner.tick(None, 1, 1) else {
            panic!("must take")
        };
        for _ in 0..20 {
            assert_eq!(other.tick(Some(&lease), 1, 1), Step::Wait);
            let Step::Beat(next) = owner.tick(Some(&lease), 1, 1) else {
                panic!("must beat")
            };
            lease = next;
        }
        let mut waits = 0;
        while other.tick(Some(&lease), 1, 1) == Step::Wait {
            waits += 1;
            assert!(waits <= Candidate::PATIENCE, "must take a dead owner's lease");
        }
    }

    #[test]
    fn an_owner_at_rest_may_be_rung_until_it_has_missed_a_beat() {
        for stride in [Candidate::QUIET_TICKS, Candidate::REST_TICKS] {
            // By a candidate that rests itself and has not looked since, and by one that has looked at every tick but the last.
            for ticks in 1..=3 * stride {
                let (mut other, lease) = rested(stride);
                assert_eq!(
                    other.need_owner(&lease, ticks),
                    ticks <= stride,
                    "{ticks} of {stride} ticks later"
                );
            }
            for ticks in 1..stride * 5 / 2 {
                let (mut other, lease) = rested(stride);
                for _ in 1..ticks {
                    assert_eq!(other.tick(Some(&lease), 1, 1), Step::Wait);
                }
                assert_eq!(
                    other.need_owner(&lease, 1),
                    ticks <= stride,
                    "{ticks} of {stride} ticks later"
                );
            }
        }
    }

    #[test]
    fn an_owner_that_has_beaten_since_the_last_look_may_be_rung() {
        let (mut other, mut lease) = rested(Candidate::REST_TICKS);
        lease.beat += 1;
        assert!(other.need_owner(&lease, 10));
    }

    #[test]
    fn an_owner_that_has_not_been_seen_to_beat_is_not_rung_and_has_three_ticks_more_than_its_stride() {
        let (_, lease) = rested(Candidate::REST_TICKS);
        let mut other = mk(3, false);
        assert_eq!(other.tick(Some(&lease), 1, 1), Step::Wait);
        assert!(!other.need_owner(&lease, 0));
        assert_eq!(ticks_until_taken(&mut other, &lease), Candidate::REST_TICKS + 3);
    }

    #[test]
    fn an_owner_that_ended_well_at_rest_is_replaced_after_five_ticks() {
        let (mut other, lease) = rested(Candidate::REST_TICKS);
        let vacant = Lease { owner: None, ..lease };
        assert_eq!(ticks_until_taken(&mut other, &vacant), Candidate::PATIENCE);
    }

    #[test]
    fn an_owner_that_died_at_rest_loses_its_lease_after_two_and_a_half_strides() {
        for stride in [Candidate::QUIET_TICKS, Candidate::REST_TICKS] {
            let (mut other, lease) = rested(stride);
            assert_eq!(
                ticks_until_taken(&mut other, &lease),
                stride * 5 / 2,
                "with a stride of {stride}"
            );
        }
    }

    #[test]
    fn an_owner_that_is_rung_at_rest_has_five_ticks() {
        let (mut other, lease) = rested(Candidate::REST_TICKS);
        for _ in 0..3 {
            assert_eq!(other.tick(Some(&lease), 1, 1), Step::Wait);
        }
        assert!(other.need_owner(&lease, 0));
        other.owner_was_rung();
        for tick in 1..Candidate::PATIENCE {
            assert_eq!(other.tick(Some(&lease), 1, 1), Step::Wait, "at tick {tick}");
            // Whoever needs it may say so again: it has no more time for that.
            other.need_owner(&lease, 0);
        }
        assert!(
            matches!(other.tick(Some(&lease), 1, 1), Step::Take(_)),
            "must take after five ticks"
        );
    }

    #[test]
    fn an_owner_that_beats_when_it_is_rung_rests_again() {
        let (mut other, mut lease) = rested(Candidate::REST_TICKS);
        assert!(other.need_owner(&lease, 0));
        other.owner_was_rung();
        lease.beat += 1;
        for tick in 0..2 * Candidate::REST_TICKS {
            assert_eq!(other.tick(Some(&lease), 1, 1), Step::Wait, "at tick {tick}");
        }
    }

    fn ticks_until_taken(candidate: &mut Candidate, lease: &Lease) -> u32 {
        let mut ticks = 1;
        while candidate.tick(Some(lease), 1, 1) == Step::Wait {
            ticks += 1;
            assert!(ticks < 100, "must take the lease");
        }
        ticks
    }

    /// A candidate that has just seen a beat of an owner with such a stride, and the lease.
    fn rested(stride: u32) -> (Candidate, Lease) {
        let mut owner = mk(1, true);
        let mut other = mk(2, false);
        let Step::Take(mut lease) = owner.tick(None, 1, 1) else {
            panic!("must take")
        };
        other.tick(Some(&lease), 1, 1);
        for _ in 0..20 {
            let Step::Beat(next) = owner.tick(Some(&lease), 1, stride) else {
                panic!("must beat")
            };
            lease = next;
            for tick in 0..stride {
                assert_eq!(other.tick(Some(&lease), 1, 1), Step::Wait);
                assert_eq!(other.owner_beats(), tick == 0, "at tick {tick} of {stride}");
            }
        }
        let Step::Beat(last) = owner.tick(Some(&lease), 1, stride) else {
            panic!("must beat")
        };
        assert_eq!(other.tick(Some(&last), 1, 1), Step::Wait);
        (other, last)
    }

    #[test]
    fn a_new_user_of_the_owners_id_does_not_own_the_lease() {
        let Step::Take(lease) = mk(1, true).tick(None, 1, 1) else {
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
