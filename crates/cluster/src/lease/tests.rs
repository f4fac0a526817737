//! The election, request by request. What holds whatever happens is in `model`.

use std::time::Duration;

use super::*;
use fleet::time::Time;

const LEASE: Duration = Duration::from_secs(15);
/// Some moment in µs since 1970.
const WALL: i64 = 1_700_000_000_000_000;

/// One candidate and the Lease.
struct Scenario {
    election: Election,
    now: Time,
    stored: Option<Stored>,
    version: u64,
}

#[test]
fn takes_a_lease_that_is_not_there() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    scenario.check_leads(true);
    let record = scenario.record();
    assert_eq!(
        (record.holder.as_deref(), record.seconds, record.transitions),
        (Some("me"), 15, 0),
        "must say who holds it and for how long"
    );
}

#[test]
fn takes_a_lease_that_no_replica_holds() {
    let mut scenario = Scenario::new(Some(mk_record(None)));
    scenario.run();
    scenario.check_leads(true);
    assert_eq!(scenario.record().transitions, 8, "must count the transition");
}

#[test]
fn waits_until_the_lease_has_not_changed_for_its_length() {
    let mut scenario = Scenario::new(Some(mk_record(Some("other"))));
    scenario.run_for(LEASE - Duration::from_millis(1));
    scenario.check_leads(false);
    scenario.touch();
    scenario.run_for(LEASE);
    scenario.check_leads(false);
    scenario.run_for(LEASE / 3);
    scenario.check_leads(true);
}

#[test]
fn waits_longer_for_a_holder_with_a_longer_lease() {
    let mut scenario = Scenario::new(Some(Record {
        seconds: 60,
        ..mk_record(Some("other"))
    }));
    scenario.run_for(Duration::from_secs(59));
    scenario.check_leads(false);
    scenario.run_for(Duration::from_secs(1));
    scenario.check_leads(true);
}

#[test]
fn a_lease_of_less_than_a_second_is_one_in_the_api() {
    let mut scenario = Scenario::new(Some(Record {
        seconds: 1,
        ..mk_record(Some("other"))
    }));
    scenario.election = Election::new("me".to_owned(), Duration::from_millis(300));
    scenario.run_for(Duration::from_millis(299));
    scenario.check_leads(false);
    scenario.run_for(Duration::from_millis(1));
    scenario.check_leads(true);
    assert_eq!(scenario.record().seconds, 1, "must be rounded up in the object");
}

#[test]
fn renews_every_third_and_counts_from_the_sending() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    let before = scenario.record();
    scenario.run_for(LEASE / 3 - Duration::from_millis(1));
    assert_eq!(scenario.record(), before, "must not renew yet");
    scenario.now = scenario.now + Duration::from_millis(1);
    let (sent, order) = (scenario.now, scenario.order().unwrap());
    assert!(
        matches!(order.command, Command::Update(..)),
        "must renew: {order:?}"
    );
    scenario.now = scenario.now + Duration::from_secs(2);
    scenario.answer(order);
    let end = sent + Election::usable(LEASE);
    assert!(
        scenario.election.leading(end).is_none() && scenario.leads_just_before(end),
        "must count from the sending"
    );
}

#[test]
fn stops_before_its_lease_is_over_when_it_cannot_renew() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    let end = scenario.now + Election::usable(LEASE);
    let mut tries = 0;
    while scenario.election.leading(scenario.now).is_some() {
        if let Some(order) = scenario.order() {
            tries += 1;
            scenario.now = scenario.now + order.within;
            assert!(scenario.now <= end, "must not wait beyond the lease");
            scenario.election.handle_outcome(Outcome::Failed, scenario.now);
        }
        scenario.sleep();
    }
    assert!(tries >= 3, "must try more than once: {tries}");
}

#[test]
fn a_renewal_whose_answer_was_lost_counts_once_it_is_read() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    scenario.now = scenario.now + LEASE / 3;
    let (sent, order) = (scenario.now, scenario.order().unwrap());
    scenario.carry_out(order.command);
    scenario.now = scenario.now + order.within;
    scenario.election.handle_outcome(Outcome::Failed, scenario.now);
    scenario.sleep();
    let order = scenario.order().unwrap();
    assert_eq!(order.command, Command::Read, "must look what has become of it");
    scenario.answer(order);
    assert!(
        scenario.leads_just_before(sent + Election::usable(LEASE)),
        "must count from its sending"
    );
}

#[test]
fn stops_at_once_when_another_is_seen_to_hold_it() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    scenario.store(mk_record(Some("other")));
    scenario.election.hear("another version");
    scenario.run();
    scenario.check_leads(false);
    assert_eq!(scenario.election.holder(), Some("other"), "must say who leads");
}

#[test]
fn a_lease_deleted_under_its_holder_is_stored_again() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    scenario.stored = None;
    scenario.election.hear("");
    scenario.run();
    scenario.check_leads(true);
    assert!(scenario.stored.is_some(), "must be stored again");
}

#[test]
fn a_lease_deleted_under_another_is_not_free_yet() {
    let mut scenario = Scenario::new(Some(mk_record(Some("other"))));
    scenario.run();
    scenario.stored = None;
    scenario.election.hear("");
    scenario.run_for(LEASE - Duration::from_millis(1));
    scenario.check_leads(false);
    scenario.run_for(Duration::from_millis(1));
    scenario.check_leads(true);
}

#[test]
fn a_former_leader_takes_what_no_other_took_as_a_new_leadership() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    let first = scenario.election.leading(scenario.now).unwrap().term;
    scenario.now = scenario.now + 2 * LEASE;
    assert!(
        scenario.election.leading(scenario.now).is_none(),
        "must know at once that it is over"
    );
    scenario.run();
    let second = scenario.election.leading(scenario.now).unwrap().term;
    assert_eq!((first, second), (1, 2), "must be told apart");
}

#[test]
fn gives_the_lease_back_when_it_resigns() {
    let mut scenario = Scenario::new(None);
    scenario.run();
    scenario.election.resign();
    scenario.check_leads(false);
    scenario.run();
    assert_eq!(scenario.record().holder, None, "must be given back");
    assert!(scenario.election.is_finished(), "must be done");
}

#[test]
fn resigning_leaves_anothers_lease_alone() {
    let mut scenario = Scenario::new(Some(mk_record(Some("other"))));
    scenario.run();
    let before = scenario.record();
    scenario.election.resign();
    scenario.run();
    assert_eq!(scenario.record(), before, "must be left alone");
    assert!(scenario.election.is_finished(), "must be done");
}

#[test]
fn one_who_may_not_write_backs_off() {
    let mut scenario = Scenario::new(None);
    let mut tries = Vec::new();
    while scenario.now.as_duration() < 4 * LEASE {
        match scenario.order() {
            Some(Order {
                command: Command::Create(_),
                ..
            }) => {
                tries.push(scenario.now);
                scenario.election.handle_outcome(Outcome::Failed, scenario.now);
            }
            Some(order) => scenario.answer(order),
            None => scenario.sleep(),
        }
    }
    let pauses: Vec<_> = tries.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(pauses.is_sorted(), "must wait longer each time: {pauses:?}");
    assert_eq!(pauses.last(), Some(&(LEASE / 3)), "must be bounded");
}

impl Scenario {
    fn new(record: Option<Record>) -> Self {
        let mut new = Self {
            election: Election::new("me".to_owned(), LEASE),
            now: Time::default(),
            stored: None,
            version: 0,
        };
        if let Some(record) = record {
            new.store(record);
        }
        new
    }

    fn store(&mut self, record: Record) {
        self.version += 1;
        let version = self.version.to_string();
        self.stored = Some(Stored { record, version });
    }

    /// Its holder renews it.
    fn touch(&mut self) {
        let record = self.record();
        self.store(Record {
            renewed: record.renewed + 1,
            ..record
        });
    }

    fn record(&self) -> Record {
        self.stored.clone().unwrap().record
    }

    fn order(&mut self) -> Option<Order> {
        self.election.poll_order(self.now, WALL)
    }

    fn carry_out(&mut self, command: Command) -> Outcome {
        match command {
            Command::Create(record) if self.stored.is_none() => self.store(record),
            Command::Update(record, version)
                if self
                    .stored
                    .as_ref()
                    .is_some_and(|stored| stored.version == version) =>
            {
                self.store(record);
            }
            Command::Read => {}
            Command::Create(_) | Command::Update(..) => return Outcome::Conflict,
        }
        Outcome::Stored(self.stored.clone())
    }

    fn answer(&mut self, order: Order) {
        let outcome = self.carry_out(order.command);
        self.election.handle_outcome(outcome, self.now);
    }

    fn sleep(&mut self) {
        let wake = self.election.poll_timeout(self.now).unwrap();
        self.now = self.now.max(wake);
        self.election.handle_timeout(self.now);
    }

    /// Answers all that it asks now.
    fn run(&mut self) {
        while let Some(order) = self.order() {
            self.answer(order);
        }
    }

    /// Answers all that it asks until then, and then.
    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.run();
            match self.election.poll_timeout(self.now) {
                Some(wake) if wake <= end => self.now = wake,
                _ => break,
            }
        }
        self.now = end;
    }

    fn leads_just_before(&self, end: Time) -> bool {
        let before = end.checked_before(Duration::from_micros(1)).unwrap();
        self.election.leading(before).is_some()
    }

    fn check_leads(&self, leads: bool) {
        assert_eq!(
            self.election.leading(self.now).is_some(),
            leads,
            "must {}lead: {:?}",
            if leads { "" } else { "not " },
            self.election
        );
    }
}

fn mk_record(holder: Option<&str>) -> Record {
    Record {
        holder: holder.map(ToOwned::to_owned),
        seconds: 15,
        acquired: 1,
        renewed: 2,
        transitions: 7,
    }
}
