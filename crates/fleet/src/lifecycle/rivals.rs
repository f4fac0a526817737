//! A life against a simulated workload that others scale as well.

use std::time::Duration;

use proptest::prelude::*;

use super::tests::mk_facts;
use super::*;

/// Most starts in any minute. Undone at once each time, they come after waits of 0, 0, 0.8, 1.6, 3.2, 6.4, 12.8 and
/// 25.6 s; one more may come from before a wake that lasted.
const STARTS_A_MINUTE: usize = 9;
const WAKE_REPLICAS: u32 = 2;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// However others scale, starts are bounded.
    #[test]
    fn a_rival_meets_no_write_loop(actions in prop::collection::vec(action(), 1..300)) {
        let mut play = Play::new();
        for action in actions {
            play.act(&action)?;
        }
    }

    /// Once the rival lets go, held requests are served within the longest wait.
    #[test]
    fn who_waits_is_served_once_the_rival_lets_go(actions in prop::collection::vec(action(), 1..100)) {
        let mut play = Play::new();
        for action in actions {
            play.act(&action)?;
        }
        play.act(&Action::Want(true))?;
        for _ in 0..90 {
            play.act(&Action::Carry)?;
            play.act(&Action::Come)?;
            play.act(&Action::Wait(1_000))?;
        }
        prop_assert_eq!(&play.life.phase, &Phase::Ready, "must serve the requests that wait");
        play.act(&Action::Wait(60_000))?;
        prop_assert_eq!(&play.life.undone, &None, "must forget the quarrel in the end");
    }
}

#[test]
fn one_who_insists_is_answered_less_and_less() {
    let mut play = Play::new();
    play.act(&Action::Want(true)).unwrap();
    for _ in 0..6_000 {
        for action in [Action::Carry, Action::Set(0), Action::Come, Action::Wait(100)] {
            play.act(&action).unwrap();
        }
    }
    let starts = play.starts.len();
    assert!(
        (14..=22).contains(&starts),
        "must start about once a minute in the end: {starts} in ten minutes"
    );
}

#[derive(Clone, Debug)]
enum Action {
    /// A request waits, or none does any more.
    Want(bool),
    /// Another manager sets the replicas.
    Set(u32),
    /// The backend carries out what it was told last.
    Carry,
    /// Pods become ready, and those that were to go are gone.
    Come,
    Wait(u64),
}

struct Play {
    life: Lifecycle,
    now: Time,
    wanted: bool,
    told: Option<Effect>,
    seen: Observed,
    starts: Vec<Time>,
}

impl Play {
    fn new() -> Self {
        Self {
            life: Lifecycle::asleep(Time::default()),
            now: Time::default(),
            wanted: false,
            told: None,
            seen: Observed::default(),
            starts: Vec::new(),
        }
    }

    fn act(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match *action {
            Action::Want(wanted) => self.wanted = wanted,
            Action::Set(replicas) => {
                self.scale(replicas);
                self.seen.set_by = Some("rival".to_owned());
            }
            Action::Carry => self.carry(),
            Action::Come => (self.seen.ready, self.seen.left) = (self.seen.replicas, self.seen.replicas),
            Action::Wait(ms) => return self.wait(Duration::from_millis(ms)),
        }
        self.step(Event::Observed(self.seen.clone()))
    }

    fn scale(&mut self, replicas: u32) {
        self.seen.replicas = replicas;
        self.seen.ready = self.seen.ready.min(replicas);
        self.seen.left = self.seen.left.max(replicas);
    }

    fn carry(&mut self) {
        match self.told.take() {
            Some(Effect::Start { command, .. }) => {
                self.seen.command = command;
                if self.seen.replicas == 0 {
                    self.scale(WAKE_REPLICAS);
                    self.seen.set_by = None;
                }
            }
            Some(Effect::Stop { command, from }) => {
                self.seen.command = command;
                if self.seen.replicas == from {
                    self.scale(0);
                    self.seen.set_by = None;
                }
            }
            Some(Effect::Drop) | None => {}
        }
    }

    fn wait(&mut self, wait: Duration) -> Result<(), TestCaseError> {
        let end = self.now + wait;
        loop {
            let due = deadline(&self.life, &self.facts()).filter(|at| *at <= end);
            if let Some(at) = due {
                prop_assert!(at > self.now, "must not spin in {:?}", self.life);
            }
            self.now = due.unwrap_or(end);
            self.step(Event::Tick)?;
            if due.is_none() {
                return Ok(());
            }
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            now: self.now,
            held: u64::from(self.wanted),
            idle_after: Duration::from_secs(20),
            jitter: 0,
            ..mk_facts(0)
        }
    }

    fn step(&mut self, event: Event) -> Result<(), TestCaseError> {
        let mut event = event;
        loop {
            let taken = step(&self.life, event, &self.facts());
            for effect in taken.effects {
                if matches!(effect, Effect::Start { .. }) {
                    self.start()?;
                }
                self.told = Some(effect);
            }
            self.life = taken.life;
            if taken.moved.is_none() {
                return Ok(());
            }
            event = Event::Tick;
        }
    }

    fn start(&mut self) -> Result<(), TestCaseError> {
        if self.life.seen.replicas > 0 {
            // Nothing is written: what is up is looked for again.
            return Ok(());
        }
        self.starts.push(self.now);
        let minute = self
            .starts
            .iter()
            .filter(|at| self.now.since(**at) < Duration::from_secs(60));
        let starts = minute.count();
        prop_assert!(
            starts <= STARTS_A_MINUTE,
            "must not start {starts} times in a minute"
        );
        Ok(())
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => any::<bool>().prop_map(Action::Want),
        3 => Just(Action::Set(0)),
        1 => (1u32..6).prop_map(Action::Set),
        6 => Just(Action::Carry),
        4 => Just(Action::Come),
        3 => (0u64..3_000).prop_map(Action::Wait),
        1 => (0u64..90_000).prop_map(Action::Wait),
    ]
}
