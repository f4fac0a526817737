//! Decides which root context runs the relay. Only decides: the shell writes the lease by compare-and-swap.

use std::time::Duration;

use hold::{Member, Time};

/// Says which root context runs the relay. Its owner raises `heartbeat` once each heartbeat interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `None` once the owner has signed off.
    pub owner: Option<Member>,
    /// Raised at every change of owner.
    pub term: u64,
    /// Raised by the owner as long as it lives.
    pub heartbeat: u64,
}

/// One root context's view of the lease.
#[derive(Debug)]
pub struct Candidate {
    me: Member,
    preferred: bool,
    /// From one heartbeat of the owner to the next.
    interval: Duration,
    /// What the last look found.
    found: Found,
    /// When the last look was.
    looked: Time,
    /// When the look was that found a change.
    changed: Time,
    /// How long the lease has not changed, as far as it counts: see [`Candidate::look`].
    silence: Duration,
    /// The owner has been seen to raise its heartbeat.
    owner_lives: bool,
}

/// What a look at the lease found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// There has been no look.
    NotLooked,
    /// The lease has not been written.
    NoLease,
    /// The lease, at this heartbeat.
    Lease { term: u64, heartbeat: u64 },
}

/// What the shell has to do after a look at the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: another root context has the lease, or may still have it.
    Wait,
    /// Write this: the lease is vacant or its owner has died. If the write fails, another candidate was faster.
    Take(Lease),
    /// Write this at the next heartbeat: the lease is ours. If the write fails, it is not ours any more.
    Renew(Lease),
}

impl Candidate {
    /// Heartbeats that an owner may miss. Three of half a second are long enough that a worker that is busy keeps the lease. A candidate
    /// looks once an interval at least, so a dead owner is replaced after four intervals, which is two seconds, and a tick.
    const MISSED: u32 = 3;

    /// `preferred` takes a vacant lease at once: the singleton service, which outlives every listener. Others wait for one interval.
    pub fn new(me: Member, preferred: bool, interval: Duration) -> Self {
        Self {
            me,
            preferred,
            interval,
            found: Found::NotLooked,
            looked: Time::ZERO,
            changed: Time::ZERO,
            silence: Duration::ZERO,
            owner_lives: false,
        }
    }

    /// True if the lease is this candidate's own.
    pub fn owns(&self, lease: &Lease) -> bool {
        lease.owner == Some(self.me)
    }

    /// Takes in how the lease stands at `now`. Call it once an interval at least.
    pub fn tick(&mut self, now: Time, lease: Option<&Lease>) -> Step {
        self.look(now, lease);
        if let Some(lease) = lease.filter(|lease| self.owns(lease)) {
            return Step::Renew(Lease {
                heartbeat: lease.heartbeat + 1,
                ..lease.clone()
            });
        }
        let vacant = lease.is_none_or(|lease| lease.owner.is_none());
        let patience = match vacant {
            true if self.preferred => Duration::ZERO,
            true => self.interval,
            false => self.interval * Self::MISSED,
        };
        if self.silence < patience {
            return Step::Wait;
        }
        self.silence = Duration::ZERO;
        Step::Take(Lease {
            owner: Some(self.me),
            term: lease.map_or(0, |lease| lease.term) + 1,
            heartbeat: 0,
        })
    }

    /// True if the owner may be notified, because it has raised its heartbeat within the last interval. The queue of a dead VM must not
    /// be used: Envoy may deliver the message to another context of the VM that took its place.
    pub fn may_notify_owner(&mut self, now: Time, lease: &Lease) -> bool {
        self.look(now, Some(lease));
        self.owner_lives && now.since(self.changed) <= self.interval
    }

    /// Of each stretch between two looks an interval counts as silence at most. So a process that was stopped as a whole finds no owner
    /// dead when it goes on.
    fn look(&mut self, now: Time, lease: Option<&Lease>) {
        let since = now.since(self.looked).min(self.interval);
        self.looked = now;
        let found = lease.map_or(Found::NoLease, |lease| Found::Lease {
            term: lease.term,
            heartbeat: lease.heartbeat,
        });
        if found == self.found {
            self.silence += since;
            return;
        }
        self.owner_lives = self.found != Found::NotLooked;
        self.found = found;
        self.silence = Duration::ZERO;
        self.changed = now;
    }
}

#[cfg(test)]
mod tests {
    use hold::GateId;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);
    const TICK: Duration = Duration::from_millis(100);

    fn mk(id: u32, preferred: bool) -> Candidate {
        let me = Member {
            id: GateId(id),
            nonce: 7,
            gate: true,
        };
        Candidate::new(me, preferred, INTERVAL)
    }

    fn mk_lease() -> Lease {
        match mk(1, true).tick(Time::ZERO, None) {
            Step::Take(lease) => lease,
            other => panic!("must take a vacant lease: {other:?}"),
        }
    }

    /// How long it takes the candidate, which looks so often, to take the lease.
    fn taken_after(
        candidate: &mut Candidate,
        from: Time,
        lease: Option<&Lease>,
        every: Duration,
    ) -> Duration {
        let mut now = from;
        for _ in 0..100 {
            if matches!(candidate.tick(now, lease), Step::Take(_)) {
                return now.since(from);
            }
            now += every;
        }
        panic!("must take the lease");
    }

    #[test]
    fn the_preferred_candidate_takes_a_vacant_lease_at_once() {
        assert_eq!(mk_lease().term, 1);
    }

    #[test]
    fn others_wait_for_an_interval() {
        assert_eq!(
            taken_after(&mut mk(2, false), Time::new(TICK), None, TICK),
            INTERVAL
        );
    }

    #[test]
    fn a_lease_that_is_renewed_is_left_alone_and_a_dead_owner_is_replaced_within_four_intervals() {
        for every in [TICK, INTERVAL] {
            let (mut owner, mut other) = (mk(1, true), mk(2, false));
            let mut lease = mk_lease();
            let mut now = TICK;
            let mut renewed = now;
            for _ in 0..50 {
                if now >= renewed + INTERVAL {
                    renewed = now;
                    let Step::Renew(next) = owner.tick(Time::new(now), Some(&lease)) else {
                        panic!("must be its own")
                    };
                    lease = next;
                }
                assert_eq!(other.tick(Time::new(now), Some(&lease)), Step::Wait);
                now += every;
            }
            let waited = now - renewed + taken_after(&mut other, Time::new(now), Some(&lease), every);
            assert!(waited >= INTERVAL * 3, "must not be in a hurry: {waited:?}");
            assert!(waited <= INTERVAL * 4, "must be replaced in time: {waited:?}");
        }
    }

    #[test]
    fn a_process_that_was_stopped_finds_no_owner_dead() {
        let mut other = mk(2, false);
        let lease = mk_lease();
        assert_eq!(other.tick(Time::new(TICK), Some(&lease)), Step::Wait);
        for hour in 1..=2 {
            let now = Duration::from_secs(3600) * hour;
            assert_eq!(
                other.tick(Time::new(now), Some(&lease)),
                Step::Wait,
                "at hour {hour}"
            );
        }
    }

    #[test]
    fn an_owner_is_notified_within_an_interval_of_a_heartbeat() {
        let mut other = mk(2, false);
        let mut lease = mk_lease();
        assert!(
            !other.may_notify_owner(Time::new(TICK), &lease),
            "no heartbeat has been seen"
        );
        lease.heartbeat += 1;
        assert!(other.may_notify_owner(Time::new(TICK * 2), &lease));
        assert!(other.may_notify_owner(Time::new(TICK * 2 + INTERVAL), &lease));
        let late = TICK * 3 + INTERVAL;
        assert!(
            !other.may_notify_owner(Time::new(late), &lease),
            "a dead VM must not be notified"
        );
        lease.heartbeat += 1;
        assert!(other.may_notify_owner(Time::new(late), &lease));
    }

    #[test]
    fn a_new_user_of_the_owners_id_does_not_own_the_lease() {
        let heir = Member {
            id: GateId(1),
            nonce: 8,
            gate: true,
        };
        assert!(!Candidate::new(heir, true, INTERVAL).owns(&mk_lease()));
    }
}
